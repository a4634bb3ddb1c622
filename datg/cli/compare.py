"""`datg compare`: compare strategies with several seeds."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datg.cli.options import STOPPING, WHAT, names, takes
from datg.cli.search_options import BEGINNING, Name, SearchOptions, to_go_on_with
from datg.learners import LEARNERS
from datg.runtime.signals import leave
from datg.strategies import STRATEGIES

if TYPE_CHECKING:
    from datg.trial.records import TrialRecord


@takes(SearchOptions)
def compare(
    options: SearchOptions,
    dataset: Annotated[
        str | None, typer.Option(help="Name of the data set to compare on.", rich_help_panel=WHAT)
    ] = None,
    strategies: Annotated[
        str | None,
        typer.Option(
            help=f"Strategies to compare, with commas: all, or some of {names(STRATEGIES)}.",
            show_default="all",
            rich_help_panel=WHAT,
        ),
    ] = None,
    learner: Annotated[
        str | None,
        typer.Option(
            help=f"Learners to compare, with commas: all, or some of {names(LEARNERS)}.",
            show_default="protonet",
            rich_help_panel=WHAT,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of training seeds: 0, 1, ... without those that a configuration was chosen by.",
            show_default="3",
            rich_help_panel=WHAT,
        ),
    ] = None,
    tuned: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="CONFIG",
            help="Exported configuration that takes the place of defaults; may be repeated.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    tune: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Search N trials for each strategy and learner first, and compare the best of each.",
            show_default="defaults are compared",
            rich_help_panel=WHAT,
        ),
    ] = None,
    repeat_search: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of searches of each, with other seeds, to see how their outcome spreads.",
            show_default="1",
            rich_help_panel=WHAT,
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="COMPARISON", help="Name of a comparison to go on with.", rich_help_panel=STOPPING),
    ] = None,
    name: Name = None,
) -> None:
    """Compare strategies and learners with several seeds, under one preset and on the same tasks.

    Example: datg compare --dataset glyphs --strategies vanilla,mlti,datg --seeds 3

    Example: datg compare --dataset dermnet --strategies vanilla,datg --tune 20

    Example: datg compare --dataset dermnet --tuned configs/dermnet-20261122-1-top1.yaml

    Example: datg compare --resume glyphs-comparison-20261122-1
    """
    begun = to_go_on_with(options.output, resume, name)
    from datg.cli.console import console

    if not options.dry_run:
        console().print(BEGINNING)
    from datg.cli.run_with_display import run_with_display
    from datg.cli.tune import check_tuning, tune_first
    from datg.config import parse_settings
    from datg.search.comparison.forms import format_rows, row_values
    from datg.search.comparison.grid import OWN_SECTIONS, Comparison
    from datg.search.comparison.table import compare as rows_of
    from datg.search.prepare import prepare, prepare_tuned, show_settings
    from datg.search.state.resume import as_begun, resume_search

    comparison, given, flags = None, options.settings or [], {}
    if resume:
        flags = {"strategies": strategies, "learner": learner, "seeds": seeds, "tuned": tuned}
    else:
        comparison = Comparison.parse(
            learner or "protonet",
            strategies or "all",
            seeds or 3,
            settings=parse_settings(given),
            tuned=tuned or [],
            tune=tune or 0,
            repeats=repeat_search,
        )
        given = [text for text in given if text.partition(".")[0].strip() not in OWN_SECTIONS]
    request = replace(options.request(dataset, flags, comparison=comparison, settings=given), name=name)
    if resume:
        check_tuning(request, resume, trials=tune, repeats=repeat_search)
    elif begun:
        request = as_begun(request, begun)
    for line in comparison.left_out() if comparison else []:
        console().print(line)
    if options.dry_run:
        show_settings(request, begun)
        return
    if tune and not begun:
        begun, request = prepare_tuned(request).name, request.going_on()
    if begun:
        request = tune_first(request, begun, options.tracking_uri, report=options.report)
    session = resume_search(request, begun, comparison=True) if begun else prepare(request)

    def rows(records: "list[TrialRecord]") -> list[dict[str, Any]]:
        compared = rows_of(records)
        return [row_values(row) for row in compared] if options.as_json else format_rows(compared)

    leave(run_with_display(session, options.tracking_uri, rows, as_json=options.as_json, report=options.report))
