"""What strategies that mix pairs of tasks share: the hyperparameters of Eq. 3, and how a meta-batch is generated."""

from abc import ABC
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from datg.generation.boxes import box_masks, cutmix_boxes
from datg.generation.mixup import MixedTasks, MixPlan, draw_layers, draw_pairings, mix_tasks, task_partners
from datg.learners.learner import Learner
from datg.runtime.random_streams import to_device_async
from datg.strategies.strategy import Batch, BetaParameter, Fraction, Strategy, StrategyContext

Layer = Annotated[int, Field(ge=0)]
ClassMasks = tuple[Tensor | None, Tensor | None]


@dataclass(frozen=True)
class Generated:
    """A generated meta-batch, the examples at layer L_S; see :class:`~datg.generation.mixup.MixedTasks`.

    Attributes:
        mixed: what was generated.
        new: `(B,)` bool, which tasks are mixtures and not originals that were kept.
    """

    mixed: MixedTasks
    new: Tensor


@dataclass(frozen=True, kw_only=True)
class TaskMixup(Strategy, ABC):
    """Mixes each task with another one, at a random layer, in a random proportion; subclasses say which and add losses.

    Attributes:
        alpha: of lambda ~ Beta(alpha, beta), the share of the first task.
        beta: likewise.
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
            batch: where they are drawn from.
            class_masks: which classes, `(C,)` bool, T_i and T_j are drawn from; None means all.
            cyclic: T_j is the next task of the batch, and the first one for the last.
            keep_real: also return T_i and T_j at layer L_S and at the mixing layers.
            real_gradient: whether those have a gradient.
        """
        sampler, streams, rng = batch.sampler, batch.streams, batch.streams.mixing
        layers = draw_layers(batch.size, self.mix_low, self.highest_layer(learner), rng)
        mixing_ratios = rng.beta(self.alpha, self.beta, size=batch.size)
        pairing = draw_pairings(batch.size, sampler.ways, rng)
        new = np.ones(batch.size, dtype=bool)
        if self.p_mix < 1:
            new = rng.random(batch.size) < self.p_mix
            mixing_ratios = np.where(new, mixing_ratios, 1.0)
        weights = (
            linear_weights(mixing_ratios, batch) if self.mixer == "linear" else cutmix_weights(mixing_ratios, batch)
        )
        first = sampler.draw(batch.size, generator=streams.tasks, within=class_masks[0])
        partners = second = None
        if cyclic:
            following = np.roll(np.arange(batch.size), -1)
            partners = to_device_async(task_partners(following, pairing, first.rows.shape[2]), batch.device)
        else:
            drawn = sampler.draw(batch.size, generator=streams.partners, within=class_masks[1])
            second = sampler.classes.gather_tasks(drawn.permuted(to_device_async(pairing, batch.device)).rows)
        mixed = mix_tasks(
            learner,
            sampler.classes.gather_tasks(first.rows),
            second,
            batch.shots,
            MixPlan(layers, weights, partners),
            keep_real=keep_real,
            real_gradient=real_gradient,
        )
        return Generated(mixed, to_device_async(new, batch.device))


def cutmix_problems(shape: tuple[int, ...] | None) -> list[str]:
    """Return what is wrong with CutMix on examples of ``shape``."""
    if shape is None or len(shape) == 3:
        return []
    return [f"`strategy.mixer` cutmix cuts boxes out of pictures, but the examples have shape {shape}; use linear."]


def linear_weights(mixing_ratios: npt.NDArray[np.float64], batch: Batch) -> Tensor:
    """Return the share of T_i in each task, `(B, 1, 1)`, from `(B,)`."""
    return to_device_async(mixing_ratios.astype(np.float32), batch.device)[:, None, None]


def cutmix_weights(mixing_ratios: npt.NDArray[np.float64], batch: Batch) -> Tensor:
    """Return 1 where T_i stays and 0 in a box of T_j, `(B, 1, K + Q, 1, height, width)`: one box for support, one for query."""
    _, height, width = batch.shape
    boxes = cutmix_boxes(np.repeat(1 - mixing_ratios[:, None], 2, axis=1), height, width, batch.streams.mixing)
    masks = box_masks(boxes, height, width, batch.device)
    support, query = (~masks).float().split(1, dim=1)
    both = [support.expand(-1, batch.shots, -1, -1), query.expand(-1, batch.sampler.queries, -1, -1)]
    return torch.cat(both, dim=1)[:, None, :, None]
