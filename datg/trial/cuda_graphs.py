"""Meta-batches replayed as CUDA graphs: all kernels of a step are launched at once, which takes the host next to no time.

What the host draws decides which operations follow (:class:`~datg.strategies.strategy.HostDraws`). A structure that is met
again is recorded, and from then on a meta-batch of it is its numbers copied to where the recorded kernels read them. Random
numbers and weights are meant to be the same as without (`python -m benchmarks.gpu_check` compares the losses on a GPU).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from datg.strategies.strategy import HostDraws

MOST_GRAPHS = 256  # 4 tasks mixed at 5 layers have 70 structures; the rarer ones of larger batches go without

# Computes the parts of the loss by name, and leaves the gradients in ``.grad``.
Compute = Callable[[HostDraws], dict[str, Tensor]]


@dataclass(frozen=True)
class Recorded:
    """Hold a meta-batch that can be replayed.

    Attributes:
        replay: computes it anew, from what now stands in ``numbers``.
        numbers: where its kernels read what the host drew.
        parts: where they write the loss.
        gradients: where they write the gradient of each parameter; None for one that has none.
    """

    replay: Callable[[], None]
    numbers: dict[str, Tensor]
    parts: dict[str, Tensor]
    gradients: list[Tensor | None]


class StepGraphs:
    """Compute meta-batches of one training, those of a structure that was met before as a graph."""

    def __init__(
        self,
        compute: Compute,
        parameters: list[nn.Parameter],
        generators: list[torch.Generator],
        *,
        record: Callable[[Callable[[], None], list[torch.Generator]], Callable[[], None]] | None = None,
    ) -> None:
        """Prepare to record.

        Args:
            compute: of a meta-batch; nothing in it waits for the device.
            parameters: that get gradients.
            generators: that it draws from on the device.
            record: runs its first argument and returns what runs it again; a CUDA graph by default.
        """
        self._compute, self._parameters, self._generators = compute, parameters, generators
        self._record = Recorder().record if record is None else record
        self._met: set[tuple[int, ...]] = set()
        self._recorded: dict[tuple[int, ...], Recorded] = {}

    def __call__(self, drawn: HostDraws) -> dict[str, Tensor]:
        """Compute a meta-batch: return the parts of its loss, and leave the gradients in ``.grad``."""
        recorded = self._recorded.get(drawn.structure)
        if recorded is None:
            if drawn.structure not in self._met or len(self._recorded) >= MOST_GRAPHS:
                self._met.add(drawn.structure)
                return self._compute(drawn.to(self._device))
            recorded = self._recorded[drawn.structure] = self._record_step(drawn)
        for name, value in drawn.to(self._device).numbers.items():
            recorded.numbers[name].copy_(value)
        recorded.replay()
        for parameter, gradient in zip(self._parameters, recorded.gradients, strict=True):
            parameter.grad = gradient
        return {name: value.clone() for name, value in recorded.parts.items()}  # the next replay writes over them

    @property
    def _device(self) -> torch.device:
        return self._parameters[0].device

    def _record_step(self, drawn: HostDraws) -> Recorded:
        numbers, parts = dict(drawn.to(self._device).numbers), dict[str, Tensor]()
        replay = self._record(
            lambda: parts.update(self._compute(HostDraws(drawn.structure, numbers))), self._generators
        )
        return Recorded(replay, numbers, parts, [parameter.grad for parameter in self._parameters])


class Recorder:
    """Record CUDA graphs that are replayed one after the other, and so share the memory of what is forgotten within a step."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, action: Callable[[], None], generators: list[torch.Generator]) -> Callable[[], None]:
        """Return a replay of ``action``, which is not run meanwhile."""
        graph = torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            action()
        return graph.replay
