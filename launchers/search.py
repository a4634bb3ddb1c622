"""Searches DATG's hyperparameters: Ray runs trials, Optuna suggests and prunes them, MLflow shows them.

python launchers/search.py --dataset glyphs
python launchers/search.py --dataset dermnet --address auto --gpus-per-trial 0.25
python launchers/search.py --dataset dermnet --trials 6 --set training.iterations=200 --set training.eval_every=50
python launchers/search.py --resume dermnet-20261122-1
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datg.command_line import DataRoot, Json, Output, Settings, TrackingUri, Verbose, leave, run_command

if TYPE_CHECKING:
    from datg.search.conduct import Prepared

SPACES = Path(__file__).resolve().parent.parent / "search_spaces"


def search(
    dataset: Annotated[str | None, typer.Option(help="Data set to search on.")] = None,
    learner: Annotated[str | None, typer.Option(help="protonet or maml.")] = None,
    shots: Annotated[int | None, typer.Option(min=1, help="K.")] = None,
    strategy: Annotated[str | None, typer.Option(help="vanilla, random_mixup, inter_cluster, datg.")] = None,
    space: Annotated[Path | None, typer.Option(help="YAML.", show_default="search_spaces/<dataset>.yaml")] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials in all; more on --resume prolong the search.")
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option(min=1, help="Trials at once.", show_default="all that fit")
    ] = None,
    cpus_per_trial: Annotated[int, typer.Option(min=1, help="Cores, and threads, of a trial.")] = 1,
    gpus_per_trial: Annotated[
        float | None, typer.Option(min=0.0, help="May be a fraction.", show_default="1 if any")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster, or auto.", show_default="Ray is started here")
    ] = None,
    study_storage: Annotated[str | None, typer.Option(help="URL of an Optuna database.", show_default="sqlite")] = None,
    sampler: Annotated[str | None, typer.Option(help="tpe, gp, cmaes, random, qmc.", show_default="tpe")] = None,
    pruner: Annotated[
        str | None, typer.Option(help="halving, hyperband, median, none.", show_default="halving")
    ] = None,
    time_budget: Annotated[float | None, typer.Option(min=0.0, help="Seconds; then stop, to be resumed.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of sampler and training.", show_default="0")] = None,
    final_episodes: Annotated[int | None, typer.Option(min=2, help="Test tasks.", show_default="20000")] = None,
    resume: Annotated[str | None, typer.Option(metavar="SEARCH", help="Goes on with a search.")] = None,
    settings: Settings = None,
    data_root: DataRoot = None,
    output: Output = Path("runs"),
    tracking_uri: TrackingUri = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Prints every value and where it came from.")] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Searches hyperparameters on a data set."""
    from datg.search.conduct import Request, Resources, prepare, resume_search, show_settings

    flags = {
        "learner.name": learner,
        "strategy.name": strategy,
        "task.shots": shots,
        "search.trials": trials,
        "search.sampler": sampler,
        "search.pruner": pruner,
        "search.seed": seed,
        "evaluation.test_tasks": final_episodes,
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
            address=address, cpus_per_trial=cpus_per_trial, gpus_per_trial=gpus_per_trial, max_concurrent=max_concurrent
        ),
    )
    if dry_run:
        show_settings(request, resume)
        return
    prepared = resume_search(request, resume) if resume else prepare(request)
    leave(_conduct(prepared, tracking_uri, as_json=as_json))


def _conduct(prepared: "Prepared", uri: str | None, *, as_json: bool) -> int:
    """Runs the search with its view and its display; returns the exit code."""
    from datg.display import console, print_rows, status_line
    from datg.search.conduct import conduct, describe, parent_run
    from datg.search.results import leaderboard
    from datg.tracking.view import MlflowView, tracking_uri

    out = console()
    view = MlflowView(
        tracking_uri(uri), parent_run(prepared), prepared.dataset, prepared.records, warn=lambda text: out.print(text)
    )
    out.print(f"search {prepared.folder.name} in {prepared.folder.path}")
    with prepared.lock:
        view.start()
        with status_line(lambda: describe(prepared.driver.situation), out):
            code = conduct(prepared)
        sent = view.close(status="FINISHED" if code == 0 else "KILLED" if code in (75, 130) else "FAILED")
    rows = leaderboard(prepared.records())
    if as_json:
        print(json.dumps({"search": prepared.folder.name, "exit": code, "trials": rows}))
    else:
        print_rows(rows, out)
    for line in prepared.closing_lines(code, tracking_uri(uri), sent=sent):
        out.print(line, soft_wrap=True)
    return code


if __name__ == "__main__":
    run_command(search)
