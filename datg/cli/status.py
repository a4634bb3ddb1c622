"""`datg status`: what a search is doing, or did before it died."""

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from datg.cli.options import OUTPUT, Json, Output, Verbose
from datg.report.status import Status, read_status, trial_rows
from datg.runtime.called import RUNS
from datg.runtime.progress import format_duration
from datg.storage.disk_size import format_size

if TYPE_CHECKING:
    from datg.search.state.folder import SearchFolder

SECONDS_BETWEEN_LOOKS = 2.0


def status(
    search: Annotated[str | None, typer.Argument(help="Name or folder of the search.", show_default="all")] = None,
    output: Output = RUNS,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Keep refreshing while SEARCH runs.", rich_help_panel=OUTPUT),
    ] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show what SEARCH is doing, or did before it died; reads its folder alone. Without SEARCH every search gets a line.

    With --json, SEARCH's trials are listed, too.

    Example: datg status dermnet-20261122-1

    Example: datg status dermnet-20261122-1 --watch
    """
    from datg.errors import ConfigError, DatgError
    from datg.search.state.folder import find_folder, folders_in

    if watch and (search is None or as_json):
        raise ConfigError("`--watch` shows one search on a terminal: name it, and leave --json out.")
    if watch and search is not None:
        _watch(find_folder(output, search))
        return
    if search is not None:
        folder = find_folder(output, search)
        search_status = read_status(folder)
        if as_json:
            print(json.dumps({**search_status.as_json(), "trials": trial_rows(folder)}))
        else:
            print("\n".join(format_status(search_status)))
        return
    every, lines = [], []
    for name in sorted(folders_in(output)):
        try:
            every.append(read_status(find_folder(output, name)))
            lines.append(summary_line(every[-1]))
        except DatgError as error:  # one of them must not hide the others
            lines.append(f"{name}: {error}")
    if as_json:
        print(json.dumps([search_status.as_json() for search_status in every]))
    else:
        print("\n".join(lines) if lines else f"there is no search in {output}")


def _watch(folder: "SearchFolder") -> None:
    """Print the status again and again, in place on a terminal, until nobody drives the search."""
    from datg.cli.console import say, show_status

    out = Console(highlight=False, markup=False)
    known = [read_status(folder)]
    with show_status(lambda: "\n".join(format_status(known[-1])), out):
        while known[-1].driver:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            known[:] = [read_status(folder)]
    say(out, "\n".join(format_status(known[-1])))


def format_status(status: Status) -> list[str]:
    """Return all lines of one search."""
    lines = [summary_line(status)]
    for trial in status.running:
        validating = ", validating" if trial["validating"] else ""
        silent = "" if trial["silent"] is None else f", last sign {format_duration(trial['silent'])} ago"
        lines.append(f"  trial {trial['trial']}: {trial['done']:.0%} done{validating}, {trial['where']}{silent}")
    lines += [f"  {line}" for line in status.causes]
    lines += [f"  waiting request: {request}" for request in status.requests]
    lines += [f"  {_describe_reference(reference)}" for reference in status.references]
    if status.searches:
        every, missing = status.searches["all"], status.searches["missing"]
        lines.append(
            f"  begins with {len(every)} searches, {len(every) - len(missing)} of them done: {', '.join(every)}"
        )
    lines.append(f"  MLflow: {'has everything' if status.unsent is None else f'lacks {status.unsent}'}")
    lines.append(f"  disk: {format_size(status.bytes)}")
    if status.resume:
        lines.append(f"  go on with: {status.resume}")
    return lines


def _describe_reference(reference: dict[str, Any]) -> str:
    scores = {"validation": reference["validation"], "novel classes": reference["test"]}
    told = "".join(f", {part} {value:.4f}" for part, value in scores.items() if value is not None)
    return f"reference {reference['name']}: {reference['outcome'] or 'not done'}{told}"


def summary_line(status: Status) -> str:
    """Return the most important of a search in one line, for a list of searches."""
    driven = f"driven by {status.driver}" if status.driver else "stopped" if status.resume else "done"
    ended = ", ".join(f"{outcome} {count}" for outcome, count in sorted(status.outcomes.items())) or "nothing ended"
    parts = [f"{status.search}: {driven}", f"{sum(status.outcomes.values())} of {status.asked} trials ended ({ended})"]
    if status.running:
        parts.append(f"{len(status.running)} {'running' if status.driver else 'interrupted'}")
    parts.append(f"evaluated {status.evaluated}")
    if status.best:
        best = status.best
        ties = f", {len(best['ties'])} tie with it" if best["ties"] else ""
        parts.append(
            f"best of {best['of']} {best['validation']:.4f} ± {best['ci95']:.4f} (trial {best['trial']}{ties})"
        )
        if best["fresh validation"] is not None:
            parts.append(f"on fresh tasks {best['fresh validation']:.4f}")
    return "; ".join(parts)
