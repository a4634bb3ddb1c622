"""Searches DATG's hyperparameters: Ray runs trials, Optuna suggests and prunes them, MLflow shows them.

python launchers/search.py --dataset glyphs
python launchers/search.py --dataset dermnet --address auto --gpus-per-trial 0.25
python launchers/search.py --dataset dermnet --learner maml --strategy metamix    # searches what metamix has
python launchers/search.py --dataset dermnet --trials 6 --set training.iterations=200 --set training.eval_every=50
python launchers/search.py --dataset mini_imagenet --test-dataset dermnet         # cross-domain: final evaluations on dermnet
python launchers/search.py --resume dermnet-20261122-1
"""

from pathlib import Path
from typing import Annotated

import typer

from datg.command_line import (
    LEARNER_NAMES,
    STRATEGY_NAMES,
    Address,
    AllowChange,
    CpusPerTrial,
    DataRoot,
    DiskBudget,
    DryRun,
    FinalEpisodes,
    GpusPerTrial,
    Json,
    MaxConcurrent,
    MaxFailures,
    Output,
    Settings,
    Shots,
    Space,
    StudyStorage,
    TestDataset,
    TimeBudget,
    TrackingUri,
    TrialTimeout,
    Verbose,
    leave,
    run_command,
)
from datg.search.folder import refuse_second_driver

SPACES = Path(__file__).resolve().parent.parent / "search_spaces"


def search(
    dataset: Annotated[str | None, typer.Option(help="Data set to search on.")] = None,
    learner: Annotated[str | None, typer.Option(help=f"{LEARNER_NAMES}.")] = None,
    shots: Shots = None,
    strategy: Annotated[str | None, typer.Option(help=f"{STRATEGY_NAMES}.")] = None,
    space: Space = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials in all; more on --resume prolong the search.")
    ] = None,
    max_concurrent: MaxConcurrent = None,
    cpus_per_trial: CpusPerTrial = 1,
    gpus_per_trial: GpusPerTrial = None,
    address: Address = None,
    study_storage: StudyStorage = None,
    sampler: Annotated[str | None, typer.Option(help="tpe, gp, cmaes, random, qmc.", show_default="tpe")] = None,
    pruner: Annotated[
        str | None, typer.Option(help="halving, hyperband, median, none.", show_default="halving")
    ] = None,
    max_failures: MaxFailures = 2,
    trial_timeout: TrialTimeout = None,
    time_budget: TimeBudget = None,
    disk_budget: DiskBudget = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of sampler and training.", show_default="0")] = None,
    final_episodes: FinalEpisodes = None,
    test_dataset: TestDataset = None,
    resume: Annotated[str | None, typer.Option(metavar="SEARCH", help="Goes on with a search.")] = None,
    allow_change: AllowChange = False,
    settings: Settings = None,
    data_root: DataRoot = None,
    output: Output = Path("runs"),
    tracking_uri: TrackingUri = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Searches hyperparameters on a data set."""
    if resume:
        refuse_second_driver(output, resume)
    from datg.search.conduct import prepare, resume_search, show_settings
    from datg.search.request import Request, Resources, parse_gpus
    from datg.search.results import leaderboard
    from datg.search.watch import watch
    from datg.sizes import parse_size

    flags = {
        "learner.name": learner,
        "strategy.name": strategy,
        "task.shots": shots,
        "search.trials": trials,
        "search.sampler": sampler,
        "search.pruner": pruner,
        "search.seed": seed,
        "evaluation.test_tasks": final_episodes,
        "evaluation.test_dataset": test_dataset,
    }
    request = Request(
        dataset=dataset,
        space_file=space,
        spaces=SPACES,
        settings=settings or [],
        flags={key: value for key, value in flags.items() if value is not None},
        output=output,
        data_root=data_root,
        study_storage=study_storage,
        time_budget=time_budget,
        resources=Resources(
            address=address,
            cpus_per_trial=cpus_per_trial,
            gpus_per_trial=parse_gpus(gpus_per_trial),
            max_concurrent=max_concurrent,
            max_failures=max_failures,
            trial_timeout=trial_timeout,
            disk_budget=parse_size(disk_budget),
        ),
        allow_change=allow_change,
    )
    if dry_run:
        show_settings(request, resume)
        return
    prepared = resume_search(request, resume) if resume else prepare(request)
    leave(watch(prepared, tracking_uri, lambda done: leaderboard(done.records()), as_json=as_json))


if __name__ == "__main__":
    run_command(search)
