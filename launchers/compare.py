"""Compares strategies with several seeds under one preset on the same tasks, through the search's own machinery.

python launchers/compare.py --dataset glyphs --strategies all --learner protonet --seeds 3
python launchers/compare.py --dataset dermnet --strategies vanilla,mlti,datg --learner protonet,maml --shots 5
python launchers/compare.py --dataset dermnet --tuned configs/dermnet-20261122-1-top1.yaml
python launchers/compare.py --resume glyphs-comparison-20261122-1
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


def compare(
    dataset: Annotated[str | None, typer.Option(help="Data set to compare on.")] = None,
    strategies: Annotated[
        str | None, typer.Option(help=f"all, or some of {STRATEGY_NAMES}, with commas.", show_default="all")
    ] = None,
    learner: Annotated[
        str | None, typer.Option(help=f"all, or some of {LEARNER_NAMES}, with commas.", show_default="protonet")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many training seeds: 0, 1, ...", show_default="3")
    ] = None,
    tuned: Annotated[
        list[Path] | None, typer.Option(metavar="CONFIG", help="Exported configuration in the place of defaults.")
    ] = None,
    shots: Shots = None,
    space: Space = None,
    max_concurrent: MaxConcurrent = None,
    cpus_per_trial: CpusPerTrial = 1,
    gpus_per_trial: GpusPerTrial = None,
    address: Address = None,
    study_storage: StudyStorage = None,
    max_failures: MaxFailures = 2,
    trial_timeout: TrialTimeout = None,
    time_budget: TimeBudget = None,
    disk_budget: DiskBudget = None,
    final_episodes: FinalEpisodes = None,
    test_dataset: TestDataset = None,
    resume: Annotated[str | None, typer.Option(metavar="COMPARISON", help="Goes on with a comparison.")] = None,
    allow_change: AllowChange = False,
    settings: Settings = None,
    data_root: DataRoot = None,
    output: Output = Path("runs"),
    tracking_uri: TrackingUri = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compares strategies on a data set."""
    if resume:
        refuse_second_driver(output, resume)
    from datg.config import parse_settings
    from datg.display import console
    from datg.search.comparison import OWN_SECTIONS, Comparison
    from datg.search.comparison_table import compare as rows_of
    from datg.search.comparison_table import flat, shown
    from datg.search.conduct import prepare, resume_search, show_settings
    from datg.search.request import Request, Resources, parse_gpus
    from datg.search.watch import watch
    from datg.sizes import parse_size

    flags: dict[str, object] = {
        "task.shots": shots,
        "evaluation.test_tasks": final_episodes,
        "evaluation.test_dataset": test_dataset,
    }
    comparison, shared = None, settings or []
    if resume:
        flags |= {"strategies": strategies, "learner": learner, "seeds": seeds, "tuned": tuned}
    else:
        comparison = Comparison.of(
            learner or "protonet", strategies or "all", seeds or 3, settings=parse_settings(shared), tuned=tuned or []
        )
        shared = [text for text in shared if text.partition(".")[0].strip() not in OWN_SECTIONS]
    request = Request(
        dataset=dataset,
        space_file=space,
        spaces=SPACES,
        settings=shared,
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
        comparison=comparison,
    )
    for line in comparison.left_out() if comparison else []:
        console().print(line)
    if dry_run:
        show_settings(request, resume)
        return
    prepared = resume_search(request, resume, comparison=True) if resume else prepare(request)
    form = flat if as_json else shown
    leave(watch(prepared, tracking_uri, lambda done: [form(row) for row in rows_of(done.records())], as_json=as_json))


if __name__ == "__main__":
    run_command(compare)
