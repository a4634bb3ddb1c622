"""`datg evaluate`: evaluate best weights on novel classes."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from datg.cli.options import OUTPUT, WHAT, DataRoot, Device, Json, TestDataset, Verbose


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a trial, a search or a final training, or a checkpoint.")],
    episodes: Annotated[
        int | None, typer.Option(min=2, help="Number of tasks.", show_default="20000", rich_help_panel=WHAT)
    ] = None,
    shots: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of support examples per class (K).",
            show_default="as trained",
            rich_help_panel=WHAT,
        ),
    ] = None,
    test_dataset: TestDataset = None,
    device: Device = None,
    data_root: DataRoot = None,
    save: Annotated[
        Path | None, typer.Option(help="Parquet file for the accuracy of every task.", rich_help_panel=OUTPUT)
    ] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Evaluate the best weights of RUN on tasks of novel classes; of a search, those of its best trial by validation.

    Example: datg evaluate runs/dermnet-20261122-1 --episodes 20000 --shots 5
    """
    from datg.cli.console import console, progress_bar
    from datg.cli.destinations import check_destinations
    from datg.runtime.allocator import keep_freed_memory
    from datg.trial.final_evaluation import evaluate_best
    from datg.trial.find_checkpoint import find_checkpoint, novel_classes

    check_destinations({"--save": (save, "")}, [])
    keep_freed_memory()
    path = find_checkpoint(run)
    config, novel = novel_classes(path, data_root, shots=shots, test_dataset=test_dataset)
    total, started = episodes or config.evaluation.test_tasks, time.perf_counter()
    with progress_bar(console()) as show:
        evaluation = evaluate_best(
            path,
            novel,
            device=device,
            tasks=total,
            shots=shots,
            progress=lambda done: show("novel classes", done, total),
            save_to=save,
        )
    seconds = time.perf_counter() - started
    task = {"ways": config.task.ways, "shots": shots or config.task.shots, "queries": config.task.queries}
    tested_on = test_dataset or config.evaluation.test_dataset or config.dataset
    trained = {"dataset": config.dataset, "tested_on": tested_on}
    result = {
        "checkpoint": str(path),
        "accuracy": evaluation.mean,
        "ci95": evaluation.ci95,
        "episodes": total,
        **trained,
        **task,
    }
    if as_json:
        print(json.dumps({**result, "seconds": seconds}))
        return
    print(f"{path}: {config.strategy_name}, {config.learner_name} trained on {config.dataset}, tested on {tested_on}")
    print(
        f"{task['ways']}-way {task['shots']}-shot, {total} tasks of novel classes: "
        f"{evaluation.mean:.4f} ± {evaluation.ci95:.4f} (95 %), {seconds:.1f} s"
    )
