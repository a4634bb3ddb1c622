"""Evaluates best weights on tasks of novel classes.

python launchers/evaluate.py runs/dermnet-20261122-1/trials/4 --episodes 20000 --shots 5
python launchers/evaluate.py runs/dermnet-20261122-1          # its best trial by validation
python launchers/evaluate.py best.safetensors --json
"""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from datg.command_line import DataRoot, Json, TestDataset, Verbose, run_command


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run's folder (trial, search or final training) or a checkpoint.")],
    episodes: Annotated[int | None, typer.Option(min=2, help="Tasks.", show_default="20000")] = None,
    shots: Annotated[int | None, typer.Option(min=1, help="K.", show_default="as trained")] = None,
    test_dataset: TestDataset = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.", show_default="cuda if there is one")] = None,
    data_root: DataRoot = None,
    save: Annotated[Path | None, typer.Option(help="Parquet file for the accuracy of every task.")] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Evaluates RUN on novel classes."""
    from datg.display import console, progress_bar
    from datg.final_evaluation import evaluate_best
    from datg.memory import keep_freed_memory
    from datg.search.find_weights import find_weights, novel_classes

    keep_freed_memory()
    path = find_weights(run)
    config, novel = novel_classes(path, data_root, shots=shots, test_dataset=test_dataset)
    total, started = episodes or config.evaluation.test_tasks, time.perf_counter()
    with progress_bar(console()) as show:
        found = evaluate_best(
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
    result = {"checkpoint": str(path), "accuracy": found.mean, "ci95": found.ci95, "episodes": total, **trained, **task}
    if as_json:
        print(json.dumps({**result, "seconds": seconds}))
    else:
        print(
            f"{path}: {config.strategy_name}, {config.learner_name} trained on {config.dataset}, tested on {tested_on}"
        )
        print(
            f"{task['ways']}-way {task['shots']}-shot, {total} tasks of novel classes: "
            f"{found.mean:.4f} ± {found.ci95:.4f} (95 %), {seconds:.1f} s"
        )


if __name__ == "__main__":
    run_command(evaluate)
