"""`datg compare`: compare strategies with several seeds."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from datg.cli.options import STOPPING, WHAT, names, takes
from datg.cli.search_options import BEGINNING, Name, SearchOptions, to_go_on_with
from datg.learners import LEARNERS
from datg.runtime.signals import leave
from datg.strategies import STRATEGIES


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
            help="Number of training seeds: 0, 1, ... except those a configuration was chosen with.",
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
    novel_curve: Annotated[
        bool,
        typer.Option(
            "--novel-curve",
            help="Also evaluate novel classes over training, once it has ended; this chooses nothing.",
            rich_help_panel=WHAT,
        ),
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option(metavar="COMPARISON", help="Comparison to resume.", rich_help_panel=STOPPING),
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
    from datg.cli.console import console, say

    if not options.dry_run:
        console().print(BEGINNING)
    from datg.cli.run_comparison import run_comparison
    from datg.cli.tune import check_tuning
    from datg.config import parse_settings
    from datg.search.comparison.grid import Comparison, without_own_sections
    from datg.search.prepare import show_settings
    from datg.search.state.resume import as_begun

    comparison, given = None, options.settings or []
    flags = options.flags | {"evaluation.novel_curve": novel_curve or None}
    if resume:
        flags |= {"strategies": strategies, "learner": learner, "seeds": seeds, "tuned": tuned}
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
        given = without_own_sections(given)
    request = options.request(dataset, flags, comparison=comparison, settings=given, space=options.space)
    request = replace(request, name=name)
    if resume:
        check_tuning(request, resume, trials=tune, repeats=repeat_search)
    elif begun:
        request = as_begun(request, begun)
    for line in comparison.left_out() if comparison else []:
        say(console(), line)
    if options.dry_run:
        show_settings(request, begun)
        return
    leave(run_comparison(request, begun, options.tracking_uri, as_json=options.as_json, report=options.report).code)
