"""Tasks, and how whole meta-batches of them are drawn by index, on the device that holds the examples.

Letters: B tasks, N ways, K shots, Q queries, C classes, R examples of the largest class.

A task is N distinct classes in random order (the label of an example is its place on that axis) with K + Q distinct
examples each; the first K are the support set. Everything is drawn by ranking random keys: the N smallest of C keys
choose the classes, the K + Q smallest of R keys the examples of a class. Training takes its keys from a generator,
evaluation from a counter-based one, so that task i depends on (seed, i) alone.
"""

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from datg.data.class_table import ClassTable
from datg.runtime.random_streams import derive_seed, to_device_async

PHILOX_WORDS = 4  # numpy's Philox makes four 64-bit words for each step of its counter
KEYS_AT_ONCE = 1 << 24  # bounds the memory of drawing many tasks: 128 MiB of keys


def as_network_inputs(examples: Tensor) -> Tensor:
    """Return float32 of the same shape; uint8 is scaled to [0, 1]."""
    return examples.float().div_(255) if examples.dtype == torch.uint8 else examples


@dataclass(frozen=True)
class DeviceTable:
    """Hold some classes of a class table as tensors on one device.

    Attributes:
        examples: `(n, *shape)` uint8 or float32, all examples of the table.
        starts: `(C,)` int64, the row where each class begins.
        counts: `(C,)` int64, how many examples it has.
    """

    examples: Tensor
    starts: Tensor
    counts: Tensor

    @classmethod
    def from_table(
        cls, table: ClassTable, *, device: torch.device | str = "cpu", sharing: "DeviceTable | None" = None
    ) -> "DeviceTable":
        """Return the classes of ``table``; on the CPU its examples are shared and not copied.

        Args:
            table: class table or a selection of it.
            device: where the examples go.
            sharing: another selection of the same table that is on the device already.
        """
        with warnings.catch_warnings():
            # The table is mapped read-only; nothing here writes to it.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            examples = torch.from_numpy(table.examples)
        starts, counts = torch.from_numpy(table.starts.copy()), torch.from_numpy(table.counts.copy())
        return cls(examples.to(device) if sharing is None else sharing.examples, starts.to(device), counts.to(device))

    def __len__(self) -> int:
        """Return the number of classes."""
        return len(self.starts)

    @cached_property
    def largest(self) -> int:
        """Return how many examples the largest class has; asked for the first time it waits for the device."""
        return int(self.counts.max())

    @cached_property
    def total(self) -> int:
        """Return how many examples all classes have; asked for the first time it waits for the device."""
        return int(self.counts.sum())

    def gather(self, rows: Tensor) -> Tensor:
        """Return the examples at ``rows`` `(...)`, as float32 `(..., *shape)`; uint8 is scaled to [0, 1]."""
        return as_network_inputs(self.examples[rows])

    def gather_tasks(self, rows: Tensor) -> Tensor:
        """Gather `(B, N, M)` rows as :meth:`gather` does, with the memory in the order of `flatten_tasks`."""
        return self.gather(rows.transpose(1, 2)).transpose(1, 2)


@dataclass(frozen=True)
class Tasks:
    """Hold B tasks by index.

    Attributes:
        classes: `(B, N)` int64, which class stands at each label.
        rows: `(B, N, K + Q)` int64, rows of the examples; the first K are the support set.
        shots: K.
    """

    classes: Tensor
    rows: Tensor
    shots: int

    def permuted(self, order: Tensor) -> "Tasks":
        """Return the same tasks with their classes rearranged: label r becomes what was label ``order[:, r]``, `(B, N)`."""
        rows = self.rows.gather(1, order[..., None].expand_as(self.rows))
        return Tasks(self.classes.gather(1, order), rows, self.shots)


@dataclass(frozen=True)
class TaskSampler:
    """Draw tasks of one geometry from some classes.

    Attributes:
        classes: where tasks are drawn from; every class needs at least ``shots + queries`` examples.
        ways: N.
        shots: K.
        queries: Q.
    """

    classes: DeviceTable
    ways: int
    shots: int
    queries: int

    @cached_property
    def _keys_a_task(self) -> int:
        return len(self.classes) + self.ways * self.classes.largest

    def draw(self, number: int, *, generator: torch.Generator, within: Tensor | None = None) -> Tasks:
        """Draw ``number`` independent tasks.

        Args:
            number: B.
            generator: on the device of the classes.
            within: `(C,)` bool, the classes that tasks may hold (at least N); None allows all.
        """
        keys = torch.rand(number, self._keys_a_task, generator=generator, device=self.classes.starts.device)
        return self._tasks(keys, within)

    def draw_numbered(self, first: int, number: int, *, seed: int) -> Tasks:
        """Return the tasks ``first`` to ``first + number - 1`` of ``seed``; task i does not depend on how they are batched."""
        steps = -(-self._keys_a_task // PHILOX_WORDS)
        at_once = max(1, KEYS_AT_ONCE // (steps * PHILOX_WORDS))
        parts = []
        for start in range(first, first + number, at_once):
            count = min(at_once, first + number - start)
            philox = np.random.Philox(key=derive_seed(seed, "numbered tasks"))
            words = philox.advance(start * steps).random_raw(count * steps * PHILOX_WORDS)
            # 53 random bits as a float64 in [0, 1), as numpy itself does it.
            keys = (words >> np.uint64(11)).reshape(count, -1)[:, : self._keys_a_task] * 2.0**-53
            parts.append(self._tasks(to_device_async(keys, self.classes.starts.device), None))
        return Tasks(torch.cat([p.classes for p in parts]), torch.cat([p.rows for p in parts]), self.shots)

    def _tasks(self, keys: Tensor, within: Tensor | None) -> Tasks:
        """Rank `(B, C + N * R)` keys into tasks."""
        class_keys, example_keys = keys.split([len(self.classes), self.ways * self.classes.largest], dim=1)
        if within is not None:
            class_keys = class_keys.masked_fill(~within, torch.inf)
        classes = class_keys.topk(self.ways, dim=1, largest=False).indices
        places = torch.arange(self.classes.largest, device=keys.device)
        absent = places >= self.classes.counts[classes][..., None]
        example_keys = example_keys.view(-1, self.ways, self.classes.largest).masked_fill(absent, torch.inf)
        chosen = example_keys.topk(self.shots + self.queries, dim=2, largest=False).indices
        return Tasks(classes, self.classes.starts[classes][..., None] + chosen, self.shots)
