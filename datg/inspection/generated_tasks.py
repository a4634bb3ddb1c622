"""A few generated tasks to look at: classes of one cluster mixed with those of another at the input (paper Eq. 3, l = 0)."""

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch

from datg.data.class_table import ClassTable
from datg.data.episodes import DeviceTable, TaskSampler
from datg.generation.clustering import Clusters
from datg.generation.mixup import draw_pairings, mix
from datg.runtime.random_streams import RandomStreams
from datg.strategies.datg import Datg

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class GeneratedTask:
    """Hold one example of each class of a generated task, and what it was made of.

    Attributes:
        first: `(N, *shape)` of T_i; pictures are in [0, 1].
        second: `(N, *shape)` of T_j, in the order of the pairing.
        share: lambda, that of T_i.
        clusters: of T_i and of T_j.
    """

    first: Array
    second: Array
    mixture: Array
    share: float
    clusters: tuple[int, int]


def generate_tasks(base: ClassTable, clusters: Clusters, *, ways: int, number: int, seed: int) -> list[GeneratedTask]:
    """Draw ``number`` tasks as DATG does, with its own Beta distribution."""
    method, streams = Datg(), RandomStreams.from_seed(seed)
    sampler = TaskSampler(DeviceTable.from_table(base), ways=ways, shots=1, queries=0)
    members = torch.from_numpy(clusters.cluster_masks())
    tasks = []
    for _ in range(number):
        one, other = (int(k) for k in streams.mixing.choice(clusters.number, size=2, replace=False))
        share = float(streams.mixing.beta(method.alpha, method.beta))
        order = torch.from_numpy(draw_pairings(1, ways, streams.mixing))
        first = sampler.draw(1, generator=streams.tasks, within=members[one])
        second = sampler.draw(1, generator=streams.partners, within=members[other]).permuted(order)
        examples = [sampler.classes.gather(task.rows[0, :, 0]) for task in (first, second)]
        mixture = mix(examples[0], examples[1], torch.full((ways,), share))
        shown = [values.numpy() for values in (*examples, mixture)]
        tasks.append(GeneratedTask(shown[0], shown[1], shown[2], share, (one, other)))
    return tasks
