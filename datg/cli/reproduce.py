"""`datg reproduce`: the paper's tables and figures on the data that are at hand."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datg.cli.options import STOPPING, WHAT, takes
from datg.cli.search_options import BEGINNING, Name, RunOptions
from datg.errors import ConfigError
from datg.runtime.exit_codes import ExitCode
from datg.runtime.signals import leave, raise_on_signals

if TYPE_CHECKING:
    from rich.console import Console

    from datg.search.reproduction.folder import Reproduction
    from datg.search.reproduction.plan import Unit
    from datg.search.request import Request
    from datg.search.state.folder import SearchFolder

PREFIX = "reproduction"


@takes(RunOptions)
def reproduce(
    options: RunOptions,
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WHAT...", help="Some of table1, table2, table3, figure4a, figure4b; or all.", show_default=False
        ),
    ] = None,
    datasets: Annotated[
        str | None,
        typer.Option(
            help="Data sets, with commas.", show_default="those of the paper that are imported", rich_help_panel=WHAT
        ),
    ] = None,
    learners: Annotated[
        str | None,
        typer.Option(help="Learners, with commas: protonet, maml.", show_default="protonet,maml", rich_help_panel=WHAT),
    ] = None,
    shots: Annotated[
        str | None,
        typer.Option(
            help="Numbers of support examples per class (K), with commas.", show_default="1,5", rich_help_panel=WHAT
        ),
    ] = None,
    strategies: Annotated[
        str | None,
        typer.Option(
            help="Rows of the tables, with commas; what a table lacks is no row of it.",
            show_default="all",
            rich_help_panel=WHAT,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Number of training seeds.", show_default="3; 2 with --quick", rich_help_panel=WHAT),
    ] = None,
    tune: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Search N trials for each row, and add a row that trains the best with fresh seeds.",
            show_default="defaults alone",
            rich_help_panel=WHAT,
        ),
    ] = None,
    tune_strategies: Annotated[
        str | None,
        typer.Option(help="Strategies that are tuned, with commas.", show_default="all rows", rich_help_panel=WHAT),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="At most 200 iterations, 2 seeds and 500 test tasks: a look at how it works, as every table then says.",
            rich_help_panel=WHAT,
        ),
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option(metavar="REPRODUCTION", help="Name of one to go on with.", rich_help_panel=STOPPING),
    ] = None,
    name: Name = None,
) -> None:
    """Run the paper's experiments on your data, and print the results beside the paper's numbers.

    Each comparison is like one of `datg compare`: parallel, resumable, shown in MLflow. What several tables share is run once.
    With --dry-run it tells what it costs, timed from a few iterations of each kind.

    Example: datg reproduce all --dry-run

    Example: datg reproduce table1 --datasets dermnet --learners protonet --shots 1

    Example: datg reproduce all --quick --datasets glyphs

    Example: datg reproduce --resume reproduction-20261126-1
    """
    from datg.cli.console import console

    out = console()
    given = {
        "what": what or None,
        "datasets": datasets,
        "learners": learners,
        "shots": shots,
        "strategies": strategies,
        "seeds": seeds,
        "tune": tune,
        "tune-strategies": tune_strategies,
        "quick": quick or None,
        "final-episodes": options.final_episodes,
        "set": options.settings or None,
    }
    begun = _begun(options.output, resume, name)
    if begun is not None:
        from datg.search.reproduction.folder import Reproduction

        reproduction = Reproduction.load(begun)
        asked = given if name is not None else {key: value for key, value in given.items() if value is not None}
        reproduction.check_asked(asked)
        options = replace(
            options,
            settings=reproduction.asked["set"],
            final_episodes=reproduction.asked["final-episodes"],
            data_root=options.data_root or Path(reproduction.data_root),
        )
    else:
        reproduction = _plan(options, given)
    general = options.request(None, {}, settings=[])
    if options.dry_run:
        _show_bill(reproduction, general, options.settings or [], out)
        return
    out.print(BEGINNING)
    folder = begun if begun is not None else _make_folder(reproduction, general, options, name)
    leave(_run(folder, reproduction, general, options))


def _begun(output: Path, resume: str | None, name: str | None) -> "SearchFolder | None":
    """Return the folder of the reproduction that is gone on with; None if a new one begins."""
    from datg.search.reproduction.folder import begun_as, find_reproduction

    if name is not None and resume:
        raise ConfigError("`--name` and `--resume` both name the reproduction; give one of them.")
    if resume:
        return find_reproduction(output, resume)
    return find_reproduction(output, name) if name is not None and begun_as(output, name) else None


def _plan(options: RunOptions, given: dict[str, Any]) -> "Reproduction":
    """Return what is to be run for what is asked for.

    Raises:
        ConfigError: something of it cannot be run.
        DataError: a data set is missing.
    """
    from datg.data import search_spaces
    from datg.data.catalog import data_root
    from datg.search.comparison.grid import parse_names
    from datg.search.reproduction.paper import DATASETS, LEARNERS, ORDER, TARGETS
    from datg.search.reproduction.plan import Wanted
    from datg.search.reproduction.prepare import QUICK_SEEDS, SEEDS, find_datasets, make_reproduction

    if not given["what"]:
        raise ConfigError(f"say what to reproduce: some of {', '.join(TARGETS)}, or all.")
    everything = "all" in given["what"]
    targets = parse_names("table or figure", "all" if everything else ",".join(given["what"]), list(TARGETS))
    named = tuple(_parts("--datasets", given["datasets"]))
    wanted = Wanted(
        targets=tuple(target for target in TARGETS if target in targets),
        all_of_them=everything,
        datasets=named or DATASETS,
        learners=tuple(parse_names("learner of the paper's tables", given["learners"] or "all", list(LEARNERS))),
        shots=_numbers(given["shots"]),
        strategies=tuple(parse_names("strategy", given["strategies"] or "all", list(ORDER))),
        tune=given["tune"] or 0,
        tune_strategies=tuple(parse_names("strategy", given["tune-strategies"] or "all", list(ORDER))),
    )
    if given["tune-strategies"] and not given["tune"]:
        raise ConfigError("`--tune-strategies` says what --tune searches for; give --tune N, too.")
    root = data_root(options.data_root)
    found, missing = find_datasets(named, root)
    return make_reproduction(
        wanted,
        found,
        missing,
        seeds=given["seeds"] or (QUICK_SEEDS if given["quick"] else SEEDS),
        quick=bool(given["quick"]),
        given=options.settings or [],
        asked=given,
        spaces=search_spaces(),
        root=root,
        command=options.request(None, {}).command,
    )


def _parts(flag: str, text: str | None) -> list[str]:
    """Return what stands between commas, each once; nothing where nothing was given.

    Raises:
        ConfigError: commas alone were given.
    """
    if text is None:
        return []
    parts = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not parts:
        raise ConfigError(f"`{flag}` must list something with commas, got {text!r}.")
    return parts


def _numbers(text: str | None) -> tuple[int, ...]:
    """Return K of every column.

    Raises:
        ConfigError: something is no number of examples.
    """
    from datg.search.reproduction.paper import SHOTS

    parts = _parts("--shots", text)
    for part in parts:
        if not part.isdecimal() or int(part) < 1:
            raise ConfigError(f"`--shots` must list numbers from 1 on with commas, such as 1,5, got {part!r}.")
    return tuple(int(part) for part in parts) or SHOTS


def _make_folder(
    reproduction: "Reproduction", general: "Request", options: RunOptions, name: str | None
) -> "SearchFolder":
    """Check every comparison, and the room for all of them, before the first one runs; make the folder."""
    from datg.search.disk_space import check_room
    from datg.search.prepare import bill
    from datg.search.reproduction.prepare import request_for
    from datg.search.state.folder import SearchFolder, named_folder, new_folder

    place, given = SearchFolder(options.output.absolute() / (name or PREFIX)), options.settings or []
    bills = [bill(request_for(unit, reproduction, place, general, given), timed=False) for unit in reproduction.units]
    check_room(options.output, sum(one.size for one in bills))
    folder = new_folder(options.output, PREFIX) if name is None else named_folder(options.output, name)
    reproduction.save(folder)
    return folder


def _show_bill(reproduction: "Reproduction", general: "Request", given: list[str], out: "Console") -> None:
    """Print what every comparison costs, and all of them together."""
    from datg.cli.console import print_rows
    from datg.runtime.progress import format_duration
    from datg.search.prepare import bill
    from datg.search.reproduction.prepare import request_for
    from datg.search.state.folder import SearchFolder
    from datg.storage.disk_size import format_size

    rows, seconds, together, trainings, size = [], 0.0, 0.0, 0, 0
    for number, unit in enumerate(reproduction.units, 1):
        out.print(f"timing {number} of {len(reproduction.units)}: {unit.suffix}", soft_wrap=True)
        raise_on_signals()
        cost = bill(request_for(unit, reproduction, SearchFolder(Path(PREFIX).absolute()), general, given))
        assert cost.length is not None
        rows.append(
            {
                "comparison": unit.suffix,
                "strategies": str(len(unit.strategies)),
                "trainings": str(cost.trainings),
                "iterations": str(cost.iterations),
                "one after the other": format_duration(cost.length.seconds),
                f"{cost.at_once} at once": format_duration(cost.length.at_once(cost.at_once)),
                "disk": format_size(cost.size),
            }
        )
        seconds, together = seconds + cost.length.seconds, together + cost.length.at_once(cost.at_once)
        trainings, size = trainings + cost.trainings, size + cost.size
    print_rows(rows, out)
    for line in [
        *reproduction.left_out,
        *(f"{name} is not at hand; {how}" for name, how in reproduction.missing.items()),
    ]:
        out.print(line, soft_wrap=True)
    print(
        f"{trainings} trainings, {format_duration(seconds)} one after the other, {format_duration(together)} as many at once as "
        f"this machine can, {format_size(size)} (timed here, from a few iterations of each kind)"
    )


def _run(folder: "SearchFolder", reproduction: "Reproduction", general: "Request", options: RunOptions) -> int:
    """Run what is missing of every comparison, and return the exit code."""
    from datg.cli.console import console
    from datg.search.state.folder import DriverLock

    out, code = console(), int(ExitCode.DONE)
    for line in reproduction.left_out:
        out.print(line, soft_wrap=True)
    with DriverLock(folder):
        for number, unit in enumerate(reproduction.units, 1):
            out.print(f"comparison {number} of {len(reproduction.units)}: {unit.suffix}", soft_wrap=True)
            code = _run_unit(folder, unit, reproduction, general, options)
            if code not in (ExitCode.DONE, ExitCode.NO_SUCCESS):
                break
        _show(folder, reproduction, options, finished=code in (ExitCode.DONE, ExitCode.NO_SUCCESS))
    if code not in (ExitCode.DONE, ExitCode.NO_SUCCESS):
        out.print(f"go on with: datg reproduce --resume {folder.name} --output {options.output}", soft_wrap=True)
    return code


def _run_unit(
    folder: "SearchFolder", unit: "Unit", reproduction: "Reproduction", general: "Request", options: RunOptions
) -> int:
    """Run what is missing of one comparison, and return its exit code."""
    from datg.cli.run_comparison import run_comparison
    from datg.report.status import read_status
    from datg.search.reproduction.folder import unit_folder
    from datg.search.reproduction.prepare import request_for
    from datg.search.state.resume import as_begun

    request = request_for(unit, reproduction, folder, general, options.settings or [])
    place = unit_folder(folder, unit)
    if place.settings.exists():
        request = as_begun(request, place.name)
        if read_status(place).done:
            return ExitCode.DONE
    begun = place.name if place.settings.exists() else None
    code = run_comparison(request, begun, options.tracking_uri, as_json=False, report=options.report)
    raise_on_signals()
    return code


def _show(folder: "SearchFolder", reproduction: "Reproduction", options: RunOptions, *, finished: bool) -> None:
    """Write what has been found so far in every form, and print it."""
    from datg.cli.console import console, print_rows
    from datg.report.page.reproduction import write_reproduction
    from datg.search.reproduction.forms import (
        as_json,
        describe_claim,
        describe_conditions,
        describe_rest,
        format_row,
        without_silent,
    )

    out = console()
    reproduced = write_reproduction(folder, running=not finished)
    if options.as_json:
        print(json.dumps(as_json(reproduced)))
        return
    for line in describe_conditions(reproduced.results):
        out.print(line, soft_wrap=True)
    for found in reproduced.tables:
        out.print(f"\n{found.table.title}")
        print_rows(without_silent([format_row(row, between="\n") for row in found.rows]), out)
    for claim in reproduced.claims:
        out.print(describe_claim(claim), soft_wrap=True)
    for line in describe_rest(reproduced.results):
        out.print(line, soft_wrap=True)
    out.print(f"tables and figures: {folder.path}", soft_wrap=True)
