"""How fast is the final evaluation, against embedding the pictures of every task anew?

    python -m benchmarks.evaluation_speed dermnet

Both ways classify the same tasks of the data set's novel classes with the same (untrained) ProtoNet. The slow way is what
published few-shot code does: one forward pass a task. It is timed on fewer tasks, and the two must agree on them.
"""

import json
import time
from typing import Annotated

import numpy as np
import torch
import typer

from datg.command_line import DataRoot, run_command
from datg.data.catalog import data_root as find_root
from datg.data.catalog import open_dataset
from datg.evaluation import evaluate
from datg.learners.learner import Learner
from datg.memory import keep_freed_memory
from datg.network import build_learner
from datg.seeding import derive_seed
from datg.tasks import TaskSampler
from datg.trial import make_sampler
from datg.trial_config import TrialConfig


def evaluation_speed(
    dataset: Annotated[str, typer.Argument(help="An imported or built-in data set.")] = "glyphs",
    tasks: Annotated[int, typer.Option(min=2)] = 20_000,
    slow_tasks: Annotated[int, typer.Option(min=2)] = 200,
    shots: Annotated[int, typer.Option(min=1)] = 1,
    data_root: DataRoot = None,
) -> None:
    """Times both ways in one run and prints one JSON line."""
    keep_freed_memory()
    data = open_dataset(dataset, find_root(data_root))
    config = TrialConfig.of({"dataset": dataset, "task": {"shots": shots}, "strategy": {"name": "vanilla"}})
    learner = build_learner(config, data.table.shape).eval()
    sampler = make_sampler(config, data.part("novel"), torch.device("cpu"))
    one_by_one(learner, sampler, 5)  # warm-up
    began = time.perf_counter()
    slow = one_by_one(learner, sampler, slow_tasks)
    slow_seconds = (time.perf_counter() - began) / slow_tasks
    began = time.perf_counter()
    fast = evaluate(learner, sampler, tasks=tasks, seed=0, purpose="test").accuracies
    fast_seconds = time.perf_counter() - began
    assert np.abs(slow - fast[:slow_tasks]).mean() < 0.01, "the two evaluations disagree"
    result = {
        "dataset": dataset,
        "shape": list(data.table.shape),
        "tasks": tasks,
        "seconds": round(fast_seconds, 2),
        "milliseconds a task, embedded anew": round(1000 * slow_seconds, 2),
        "times faster": round(slow_seconds / (fast_seconds / tasks)),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(result))


def one_by_one(learner: Learner, sampler: TaskSampler, tasks: int) -> np.ndarray:
    """Accuracy of each task, its pictures embedded anew."""
    found = []
    labels = torch.arange(sampler.ways).repeat_interleave(sampler.queries)
    with torch.inference_mode():
        for number in range(tasks):
            rows = sampler.draw_numbered(number, 1, seed=derive_seed(0, "test")).rows
            embedded = learner.backbone(sampler.classes.gather(rows), running=True).flatten(3)
            guesses = learner.predict(embedded, sampler.shots)[0].argmax(1)
            found.append((guesses == labels).float().mean().item())
    return np.array(found)


if __name__ == "__main__":
    run_command(evaluation_speed)
