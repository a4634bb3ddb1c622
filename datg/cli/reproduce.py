"""`datg reproduce`: the paper's tables and figures on the data that are at hand."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datg.cli.options import STOPPING, WHAT, takes
from datg.cli.search_options import BEGINNING, Name, RunOptions
from datg.errors import ConfigError
from datg.runtime.signals import leave

if TYPE_CHECKING:
    from datg.search.reproduction.folder import Reproduction
    from datg.search.state.folder import SearchFolder


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
            help="Rows of the tables, with commas; a table skips those it lacks.",
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
        typer.Option(metavar="REPRODUCTION", help="Reproduction to resume.", rich_help_panel=STOPPING),
    ] = None,
    name: Name = None,
) -> None:
    """Run the paper's experiments on your data, and print the results beside the paper's numbers.

    Each comparison is like one of `datg compare`: parallel, resumable, shown in MLflow. What several tables share is run once.
    --dry-run estimates the cost from a few iterations of each kind.

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
    from datg.cli.run_reproduction import check_and_make_folder, run_reproduction, show_bill

    if begun is None:
        reproduction = _plan(options, given)
        root = Path(reproduction.data_root)
    else:
        reproduction, root = _go_on_with(begun, options, given if resume is None else _told(given))
        options = replace(
            options,
            output=begun.path.parent,
            settings=reproduction.asked.get("set"),
            final_episodes=reproduction.asked.get("final-episodes"),
        )
    general = options.request(None, {}, settings=options.settings or [])
    general = replace(general, data_root=root)
    everything = what is not None and "all" in what
    if options.dry_run:
        show_bill(reproduction, general, out, leaving_out=everything)
        return
    out.print(BEGINNING)
    if begun is None:
        begun, reproduction = check_and_make_folder(reproduction, general, name, leaving_out=everything)
    leave(run_reproduction(begun, reproduction, general, options))


def _told(given: dict[str, Any]) -> dict[str, Any]:
    """Return what was given of what may be."""
    return {key: value for key, value in given.items() if value is not None}


def _go_on_with(folder: "SearchFolder", options: RunOptions, asked: dict[str, Any]) -> "tuple[Reproduction, Path]":
    """Return a reproduction that has begun, and where its data lie now.

    Raises:
        ConfigError: it began otherwise than what is asked for now.
        StateError: it is damaged.
    """
    from datg.data.catalog import data_root
    from datg.search.reproduction.folder import Reproduction

    reproduction = Reproduction.load(folder)
    reproduction.check_asked(asked)
    return reproduction, data_root(options.data_root, saved=reproduction.data_root)


def _begun(output: Path, resume: str | None, name: str | None) -> "SearchFolder | None":
    """Return the folder of the reproduction to resume; None if a new one begins."""
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
    named = [name for name in given["what"] if name != "all"]
    targets = list(TARGETS) if everything else []
    targets += parse_names("table or figure", ",".join(named), list(TARGETS)) if named else []
    chosen = tuple(_parts("--datasets", given["datasets"]))
    wanted = Wanted(
        targets=tuple(target for target in TARGETS if target in targets),
        all_of_them=everything,
        datasets=chosen or DATASETS,
        learners=tuple(parse_names("learner of the paper's tables", given["learners"] or "all", list(LEARNERS))),
        shots=_numbers(given["shots"]),
        strategies=tuple(parse_names("strategy", given["strategies"] or "all", list(ORDER))),
        tune=given["tune"] or 0,
        tune_strategies=tuple(parse_names("strategy", given["tune-strategies"] or "all", list(ORDER))),
    )
    if given["tune-strategies"] and not given["tune"]:
        raise ConfigError("`--tune-strategies` names the rows to tune; give --tune N, too.")
    root = data_root(options.data_root)
    found, missing = find_datasets(chosen, root)
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
        called_by=options.request(None, {}).command,
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
            raise ConfigError(f"`--shots` must list numbers above 0 with commas, such as 1,5, got {part!r}.")
    return tuple(dict.fromkeys(int(part) for part in parts)) or SHOTS
