"""`datg search`: search hyperparameters on a data set."""

from dataclasses import replace
from typing import Annotated

import typer

from datg.cli.options import STOPPING, WHAT, names, takes
from datg.cli.search_options import BEGINNING, Name, SearchOptions, to_go_on_with
from datg.learners import LEARNERS
from datg.runtime.signals import leave
from datg.search.study import PRUNERS, SAMPLERS
from datg.strategies import STRATEGIES


@takes(SearchOptions)
def search(
    options: SearchOptions,
    dataset: Annotated[
        str | None, typer.Option(help="Name of the data set to search on.", rich_help_panel=WHAT)
    ] = None,
    learner: Annotated[
        str | None,
        typer.Option(
            help=f"Learner to train: {names(LEARNERS)}.",
            show_default="of the YAML file, else protonet",
            rich_help_panel=WHAT,
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help=f"Strategy whose hyperparameters are searched: {names(STRATEGIES)}.",
            show_default="of the YAML file, else datg",
            rich_help_panel=WHAT,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Trials in all; a larger number with --resume extends the search.",
            show_default="of the YAML file, else 50",
            rich_help_panel=WHAT,
        ),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help=f"What suggests configurations: {names(SAMPLERS)}.", show_default="tpe", rich_help_panel=WHAT
        ),
    ] = None,
    pruner: Annotated[
        str | None,
        typer.Option(
            help=f"What ends unpromising trials: {names(PRUNERS)}.", show_default="halving", rich_help_panel=WHAT
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of the sampler and of training.", show_default="0", rich_help_panel=WHAT),
    ] = None,
    references: Annotated[
        bool | None,
        typer.Option(
            "--references/--no-references",
            help="Train what the best is measured against, too: Vanilla, and the method's own setting if no trial has it.",
            show_default="--references",
            rich_help_panel=WHAT,
        ),
    ] = None,
    enqueue: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|KEY=VALUE,...",
            help="A trial to run first: values of searched keys (the others are suggested), or a YAML file. May be repeated.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    warm_start: Annotated[
        str | None,
        typer.Option(
            metavar="SEARCH",
            help="A search over the same keys, whose finished trials the sampler knows from the beginning.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="SEARCH", help="Search to resume.", rich_help_panel=STOPPING),
    ] = None,
    name: Name = None,
) -> None:
    """Search the hyperparameters of a strategy: Ray runs trials, Optuna suggests and prunes them, MLflow shows them.

    Example: datg search --dataset glyphs --trials 10

    Example: datg search --dataset dermnet --address auto --gpus-per-trial 0.25

    Example: datg search --resume dermnet-20261122-1

    Example: datg search --dataset dermnet --warm-start dermnet-20261122-1 --enqueue strategy.alpha=0.5,strategy.beta=0.5
    """
    resume = to_go_on_with(options.output, resume, name)
    from datg.cli.console import console

    if not options.dry_run:
        console().print(BEGINNING)
    from datg.cli.run_with_display import run_with_display
    from datg.report.leaderboard import format_leaderboard, leaderboard
    from datg.search.prepare import prepare, show_settings
    from datg.search.state.resume import resume_search

    flags = {
        "learner.name": learner,
        "strategy.name": strategy,
        "search.trials": trials,
        "search.sampler": sampler,
        "search.pruner": pruner,
        "search.seed": seed,
    }
    request = options.request(dataset, {**flags, **options.flags}, references=references, space=options.space)
    request = replace(request, name=name, enqueue=tuple(enqueue or ()), warm_start=warm_start)
    if options.dry_run:
        show_settings(request, resume)
        return
    session = resume_search(request, resume) if resume else prepare(request)
    rows = leaderboard if options.as_json else format_leaderboard
    leave(run_with_display(session, options.tracking_uri, rows, as_json=options.as_json, report=options.report))
