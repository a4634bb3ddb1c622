"""Training (Algorithm 1): outer updates of a learner by a strategy's loss, resumable to the bit.

A :class:`Training` holds everything that moves: weights, optimiser, streams, iteration, and the sums of the losses since
they were last asked for. Nothing in its loop waits for the device.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from datg.errors import TrialDiverged
from datg.learners.learner import Learner
from datg.storage.checkpoint import add_prefix, strip_prefix
from datg.strategies.strategy import Batch, Strategy
from datg.trial.cuda_graphs import StepGraphs


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Set the learning rate by iteration: it is multiplied by ``gamma`` at each share of the iterations in ``milestones``."""

    lr: float
    iterations: int
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1

    def at(self, iteration: int) -> float:
        """Return the rate of the update that follows ``iteration`` updates."""
        passed = sum(iteration >= share * self.iterations for share in self.milestones)
        return float(self.lr * self.gamma**passed)


def make_optimiser(
    learner: Learner, name: str, *, lr: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return sgd or adam over all meta-parameters."""
    if name == "sgd":
        return torch.optim.SGD(learner.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    assert name == "adam", name
    return torch.optim.Adam(learner.parameters(), lr=lr, betas=(momentum, 0.999), weight_decay=weight_decay)


@dataclass
class Training:
    """Hold the state of a training run.

    Attributes:
        optimiser: over the learner's parameters.
        graphs: whether steps are replayed as CUDA graphs where they can be (:mod:`datg.trial.cuda_graphs`).
        iteration: updates done.
    """

    learner: Learner
    strategy: Strategy
    batch: Batch
    optimiser: torch.optim.Optimizer
    schedule: Schedule
    graphs: bool = False
    iteration: int = 0
    _sums: dict[str, Tensor] = field(default_factory=dict)
    _summed: int = 0

    def advance(self, to: int, *, between: Callable[[], None] = lambda: None) -> None:
        """Do updates until there are ``to`` of them; ``between`` is called before each and may raise to leave early."""
        self.learner.train()
        self.learner.draw_from(self.batch.streams.noise)
        while self.iteration < to:
            between()
            self._update()

    def mean_losses(self) -> dict[str, float]:
        """Return the mean of each part of the loss since the last :meth:`forget_losses`.

        Raises:
            TrialDiverged: a loss was NaN or infinite.
        """
        means = {name: float(total) / self._summed for name, total in self._sums.items()}
        broken = [name for name, mean in means.items() if not math.isfinite(mean)]
        if broken:
            raise TrialDiverged(
                f"training diverged: `{broken[0]}` was {means[broken[0]]} in the {self._summed} iterations up to "
                f"{self.iteration}."
            )
        return means

    def forget_losses(self) -> None:
        """Begin new means."""
        self._sums, self._summed = {}, 0

    def _update(self) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.at(self.iteration)
        parts = self._losses_and_gradients()
        if self.strategy.gradient_clip is not None:
            torch.nn.utils.clip_grad_value_(self.learner.parameters(), self.strategy.gradient_clip)
        self.optimiser.step()
        self.iteration += 1
        self._summed += 1
        for name, value in parts.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def _losses_and_gradients(self) -> dict[str, Tensor]:
        if self.graphs:
            drawn = self.strategy.draw_on_host(self.learner, self.batch)
            if drawn is not None:
                return self._step_graphs(drawn)
        return self._compute(replace(self.batch, progress=self.iteration / self.schedule.iterations))

    @cached_property
    def _step_graphs(self) -> StepGraphs:
        streams = self.batch.streams
        return StepGraphs(
            lambda drawn: self._compute(replace(self.batch, drawn=drawn)),
            list(self.learner.parameters()),
            [streams.tasks, streams.partners, streams.noise],
        )

    def _compute(self, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of the loss of a meta-batch, and leave its gradients in ``.grad``."""
        self.optimiser.zero_grad(set_to_none=True)
        losses = self.strategy.losses(self.learner, batch)
        losses.total.backward()
        return losses.parts()

    def state(self) -> dict[str, Tensor]:
        """Return everything needed to go on, as tensors."""
        moments = {
            f"{index}.{name}": value
            for index, entries in self.optimiser.state_dict()["state"].items()
            for name, value in entries.items()
            if isinstance(value, Tensor)
        }
        return {
            **add_prefix("learner", self.learner.state_dict()),
            **add_prefix("optimiser", moments),
            **add_prefix("streams", self.batch.streams.state()),
            **add_prefix("sums", {name: total.clone() for name, total in self._sums.items()}),
            "summed": torch.tensor(self._summed),
            "iteration": torch.tensor(self.iteration),
        }

    def restore(self, state: dict[str, Tensor], *, streams_anew: int | None = None) -> None:
        """Go back to where :meth:`state` was taken; see :meth:`RandomStreams.restore` for a device of another kind."""
        self.learner.load_state_dict(strip_prefix(state, "learner"))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in strip_prefix(state, "optimiser").items():
            index, _, name = key.partition(".")
            moments.setdefault(int(index), {})[name] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        self.batch.streams.restore(strip_prefix(state, "streams"), anew=streams_anew)
        device = next(self.learner.parameters()).device
        self._sums = {name: total.to(device) for name, total in strip_prefix(state, "sums").items()}
        self._summed = int(state["summed"])
        self.iteration = int(state["iteration"])
