"""What strategies that mix pairs of tasks share: the hyperparameters of Eq. 3, and how a meta-batch is generated."""

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from datg.generation.boxes import box_masks, cutmix_boxes
from datg.generation.mixup import MixedTasks, MixPlan, draw_layers, draw_pairings, mix_tasks, task_partners
from datg.learners.learner import Learner
from datg.strategies.strategy import Batch, BetaParameter, Fraction, HostDraws, Strategy, StrategyContext

Layer = Annotated[int, Field(ge=0)]
ClassMasks = tuple[Tensor | None, Tensor | None]


@dataclass(frozen=True)
class Generated:
    """Hold a generated meta-batch, the examples at layer L_S; see :class:`~datg.generation.mixup.MixedTasks`.

    Attributes:
        mixed: what was generated.
        new: `(B,)` bool, which tasks are mixtures and not originals that were kept.
    """

    mixed: MixedTasks
    new: Tensor


@dataclass(frozen=True, kw_only=True)
class TaskMixup(Strategy, ABC):
    """Mix each task with another one, at a random layer, in a random proportion; subclasses say which and add losses.

    Attributes:
        alpha: first parameter of lambda ~ Beta(alpha, beta), the first task's share.
        beta: second parameter.
        mix_low: the lowest layer that is mixed; 0 is the input.
        mix_high: the highest, at most L_S; None stands for L_S, as in the paper, and with CutMix for the input.
        mixer: linear is Eq. 3; cutmix puts a box of T_j into T_i, at the input, one for the support and one for the query set.
        p_mix: the probability that a task is mixed; the others keep the original T_i.
    """

    alpha: BetaParameter = 2.0
    beta: BetaParameter = 2.0
    mix_low: Layer = 0
    mix_high: Layer | None = None
    mixer: Literal["linear", "cutmix"] = "linear"
    p_mix: Fraction = 1.0

    def validate(self, context: StrategyContext) -> list[str]:
        """Refuse layers that are not ordered or not shared by all tasks, and CutMix elsewhere than on pictures at the input."""
        if self.mixer == "cutmix":
            problems = cutmix_problems(context.shape)
            if (self.mix_low, self.mix_high or 0) != (0, 0):
                problems.append(
                    "`strategy.mixer` cutmix mixes inputs: `strategy.mix_low` and `strategy.mix_high` must be 0."
                )
            return problems
        problems = []
        last = context.shared_layers
        if self.mix_high is not None and self.mix_high > last:
            problems.append(
                f"`strategy.mix_high` must be at most {last}, the last layer that this learner shares between tasks, "
                f"got {self.mix_high}."
            )
        high = last if self.mix_high is None else self.mix_high
        if self.mix_low > high:
            problems.append(f"`strategy.mix_low` must be at most {high}, the highest layer mixed, got {self.mix_low}.")
        return problems

    def ranges(self) -> dict[str, dict[str, list[Any]]]:
        """Return the proportion, and the layers that may be mixed."""
        ranges: dict[str, dict[str, list[Any]]] = {
            "strategy.alpha": {"log": [0.1, 10]},
            "strategy.beta": {"log": [0.1, 10]},
        }
        if self.mixer == "linear":
            ranges["strategy.mix_low"] = {"int": [0, "shared_layers"]}
            ranges["strategy.mix_high"] = {"int": ["strategy.mix_low", "shared_layers"]}
        return ranges

    def highest_layer(self, learner: Learner) -> int:
        """Return the highest layer that is mixed."""
        if self.mix_high is not None:
            return self.mix_high
        return learner.last_shared if self.mixer == "linear" else 0

    def generate(
        self,
        learner: Learner,
        batch: Batch,
        *,
        class_masks: ClassMasks = (None, None),
        cyclic: bool = False,
        keep_real: bool = False,
        real_gradient: bool = True,
    ) -> Generated:
        """Draw B pairs of tasks and mix them.

        Args:
            learner: encodes them.
            batch: where they are drawn from, with what is drawn on the host.
            class_masks: which classes, `(C,)` bool, T_i and T_j are drawn from; None means all.
            cyclic: T_j is the next task of the batch, and the first one for the last.
            keep_real: also return T_i and T_j at layer L_S and at the mixing layers.
            real_gradient: whether those have a gradient.
        """
        sampler, streams, drawn = batch.sampler, batch.streams, batch.drawn
        assert drawn is not None
        first = sampler.draw(batch.size, generator=streams.tasks, within=class_masks[0])
        second = None
        if not cyclic:
            others = sampler.draw(batch.size, generator=streams.partners, within=class_masks[1])
            second = sampler.classes.gather_tasks(others.permuted(drawn.numbers["pairing"]).rows)
        partners = None
        if cyclic:
            following = torch.arange(batch.size, device=batch.device).roll(-1)
            partners = task_partners(following, drawn.numbers["pairing"], first.rows.shape[2])
        mixed = mix_tasks(
            learner,
            sampler.classes.gather_tasks(first.rows),
            second,
            batch.shots,
            MixPlan(drawn.structure, self._weights(drawn.numbers, batch), partners),
            keep_real=keep_real,
            real_gradient=real_gradient,
        )
        return Generated(mixed, drawn.numbers["new"])

    def draw_on_host(self, learner: Learner, batch: Batch) -> HostDraws:
        """Draw layers (the structure), proportions, pairings of classes, and which tasks are mixed."""
        rng = batch.streams.mixing
        layers = draw_layers(batch.size, self.mix_low, self.highest_layer(learner), rng)
        mixing_ratios = rng.beta(self.alpha, self.beta, size=batch.size)
        numbers = {
            "pairing": draw_pairings(batch.size, batch.sampler.ways, rng),
            "new": np.ones(batch.size, dtype=bool),
        }
        if self.p_mix < 1:
            numbers["new"] = rng.random(batch.size) < self.p_mix
            mixing_ratios = np.where(numbers["new"], mixing_ratios, 1.0)
        if self.mixer == "cutmix":
            numbers["boxes"] = draw_cutmix_boxes(mixing_ratios, batch)
        else:
            numbers["mixing_ratios"] = mixing_ratios.astype(np.float32)
        return HostDraws(layers, {name: torch.from_numpy(values) for name, values in numbers.items()})

    def with_draws(self, learner: Learner, batch: Batch) -> Batch:
        """Return ``batch`` with what is drawn on the host, drawn now unless it was before."""
        if batch.drawn is not None:
            return batch
        return replace(batch, drawn=self.draw_on_host(learner, batch).to(batch.device))

    def _weights(self, numbers: Mapping[str, Tensor], batch: Batch) -> Tensor:
        if self.mixer == "cutmix":
            return cutmix_weights(numbers["boxes"], batch)
        return linear_weights(numbers["mixing_ratios"])


def cutmix_problems(shape: tuple[int, ...] | None) -> list[str]:
    """Return what is wrong with CutMix on examples of ``shape``."""
    if shape is None or len(shape) == 3:
        return []
    return [f"`strategy.mixer` cutmix cuts boxes out of pictures, but the examples have shape {shape}; use linear."]


def linear_weights(mixing_ratios: Tensor) -> Tensor:
    """Return the share of T_i in each task, `(B, 1, 1)`, from `(B,)`."""
    return mixing_ratios[:, None, None]


def draw_cutmix_boxes(mixing_ratios: npt.NDArray[np.float64], batch: Batch) -> npt.NDArray[np.int64]:
    """Return `(B, 2, 4)` boxes of 1 - ``mixing_ratios`` of the area: one for the support and one for the query set."""
    _, height, width = batch.shape
    return cutmix_boxes(np.repeat(1 - mixing_ratios[:, None], 2, axis=1), height, width, batch.streams.mixing)


def cutmix_weights(boxes: Tensor, batch: Batch) -> Tensor:
    """Return 1 where T_i stays and 0 in a box of T_j, `(B, 1, K + Q, 1, height, width)`, from `(B, 2, 4)` boxes."""
    support, query = (~box_masks(boxes, *batch.shape[1:])).float().split(1, dim=1)
    both = [support.expand(-1, batch.shots, -1, -1), query.expand(-1, batch.sampler.queries, -1, -1)]
    return torch.cat(both, dim=1)[:, None, :, None]
