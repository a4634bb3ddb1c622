"""Accuracy over many numbered tasks: the same tasks whatever the batch size, device or configuration.

Where a learner normalises by running statistics in evaluation, every example is embedded once and tasks are drawn from the
embeddings; otherwise each task passes the backbone with its own batch statistics.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from datg.files import replacing
from datg.learners.learner import Learner
from datg.seeding import derive_seed, generator
from datg.tasks import Classes, TaskSampler

# Input values through the backbone: 2,000 pictures of 28 x 28, whose activations take 0.2 GB.
VALUES_AT_ONCE = 5_000_000
EMBEDDINGS_AT_ONCE = 8_000  # gathered embeddings stay within a processor's cache
NORMAL_95 = 1.96


@dataclass(frozen=True)
class Evaluation:
    """Accuracies of tasks.

    Attributes:
        accuracies: `(tasks,)` float32, the share of queries classified correctly.
    """

    accuracies: npt.NDArray[np.float32]

    @property
    def mean(self) -> float:
        """Mean accuracy over tasks."""
        return float(self.accuracies.mean(dtype=np.float64))

    @property
    def ci95(self) -> float:
        """Half-width of the 95 % interval of the mean over tasks: 1.96 std / sqrt(tasks)."""
        return NORMAL_95 * float(self.accuracies.std(dtype=np.float64, ddof=1)) / len(self.accuracies) ** 0.5

    def save(self, path: Path, info: dict[str, Any]) -> None:
        """Writes one row a task, with ``info`` in the schema's metadata."""
        table = pa.table({"task": pa.array(range(len(self.accuracies))), "accuracy": self.accuracies})
        metadata = {key: str(value) for key, value in info.items()}
        with replacing(path) as temporary:
            pq.write_table(table.replace_schema_metadata(metadata), temporary)


def load_evaluation(path: Path) -> Evaluation:
    """Reads what :meth:`Evaluation.save` wrote."""
    return Evaluation(pq.read_table(path).column("accuracy").to_numpy())


def evaluate(
    learner: Learner,
    sampler: TaskSampler,
    *,
    tasks: int,
    seed: int,
    purpose: str,
    progress: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Mean accuracy of ``learner`` on the numbered tasks 0 to ``tasks - 1`` of a seed.

    Args:
        learner: left in the mode it was in.
        sampler: of validation or novel classes.
        tasks: how many.
        seed: with ``purpose``, decides the tasks.
        purpose: ``validation`` or ``test``: streams of their own.
        progress: called with the number of tasks done.
    """
    was_training = learner.training
    learner.eval()
    # A training that goes on says again where its noise comes from.
    learner.draw_from(generator(seed, purpose, "noise", device=sampler.classes.starts.device))
    try:
        with torch.inference_mode():
            at_once = _examples_at_once(sampler.classes)
            if learner.embeds_once:
                sampler = replace(sampler, classes=embed_all(learner, sampler.classes))
                at_once = EMBEDDINGS_AT_ONCE
            block = max(1, at_once // (sampler.ways * (sampler.shots + sampler.queries)))
            accuracies = []
            for first in range(0, tasks, block):
                count = min(block, tasks - first)
                drawn = sampler.draw_numbered(first, count, seed=derive_seed(seed, purpose))
                logits = learner.predict(sampler.classes.gather(drawn.rows), sampler.shots)
                accuracies.append(_accuracy(logits))
                progress(first + count)
            return Evaluation(torch.cat(accuracies).cpu().numpy())
    finally:
        learner.train(was_training)


def embed_all(learner: Learner, classes: Classes) -> Classes:
    """The classes with each of their examples replaced by its embedding, from running statistics."""
    device = classes.starts.device
    ends = classes.counts.cumsum(0)
    starts = ends - classes.counts
    # Row i of the result belongs to the class that i falls into.
    owner = torch.repeat_interleave(torch.arange(len(classes), device=device), classes.counts)
    rows = torch.arange(int(ends[-1]), device=device) - starts[owner] + classes.starts[owner]
    embedded = []
    for part in rows.split(_examples_at_once(classes)):
        examples = classes.gather(part)[None, None]
        embedded.append(learner.backbone(examples, running=True)[0, 0].flatten(1))
    return Classes(torch.cat(embedded), starts, classes.counts)


def _examples_at_once(classes: Classes) -> int:
    return max(1, VALUES_AT_ONCE // classes.examples[0].numel())


def _accuracy(logits: Tensor) -> Tensor:
    """`(B,)` share of right answers in `(B, N * Q, N)` logits whose queries stand class by class."""
    _, queries, ways = logits.shape
    labels = torch.arange(ways, device=logits.device).repeat_interleave(queries // ways)
    return (logits.argmax(2) == labels).float().mean(1)
