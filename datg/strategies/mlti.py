"""MLTI, meta-learning with task interpolation (Yao et al. 2022), as its code has it and as its paper describes it.

For every task of the batch a coin decides what it is mixed with: the next task of the batch (cross), or itself with its
classes permuted (within). Labels are those of the task. As published (``auto``), pictures are mixed by CutMix at the input,
a box for the support and one for the query set; cells linearly after block 1, where *within* leaves the support alone and
mixes queries with queries, keeping both labels. The paper's own description is ``mixer`` linear with ``layer`` random.

Its label-sharing mode is for tasks that share a label space; here labels are drawn anew for every task.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from datg.generation.mixup import MixPlan, draw_layers, draw_pairings, mix_tasks, task_partners
from datg.learners.learner import Learner
from datg.runtime.random_streams import to_device_async
from datg.strategies.strategy import (
    NO_MIXING,
    Batch,
    BetaParameter,
    Fraction,
    Losses,
    Strategy,
    StrategyContext,
    two_label_losses,
)
from datg.strategies.task_mixup import cutmix_problems, cutmix_weights, draw_cutmix_boxes, linear_weights

Layer = Literal["auto", "input", "random"] | Annotated[int, Field(ge=0)]


@dataclass(frozen=True, kw_only=True)
class Mlti(Strategy):
    """Interpolate tasks within a batch.

    Attributes:
        alpha: first parameter of lambda ~ Beta(alpha, beta), the task's own share.
        beta: second parameter.
        mixer: cutmix or linear; auto is cutmix for pictures, linear for cells.
        layer: input, random (uniform in 0..L_S) or a number; auto is the input for pictures (random if they are mixed linearly),
            1 for cells.
        cross_prob: the probability of a cross-task pair.
        within: what happens to the others: the same operation on the task and its permutation, or query_mix: Mixup of its
            queries alone, with both labels; auto is same_op for pictures, query_mix for cells.
    """

    name: ClassVar[str] = "mlti"

    alpha: BetaParameter = 2.0
    beta: BetaParameter = 2.0
    mixer: Literal["auto", "cutmix", "linear"] = "auto"
    layer: Layer = "auto"
    cross_prob: Fraction = 0.5
    within: Literal["auto", "same_op", "query_mix"] = "auto"

    vanilla_settings: ClassVar[tuple[dict[str, Any], ...]] = (
        NO_MIXING,
        {**NO_MIXING, "mixer": "linear", "layer": "random"},
        {**NO_MIXING, "cross_prob": 0.0},
    )

    def validate(self, context: StrategyContext) -> list[str]:
        """Refuse CutMix elsewhere than on pictures at the input, or with query_mix, and layers that are not shared."""
        shape, last = context.shape, context.shared_layers
        chosen = self if shape is None else self.resolved(shape)
        problems = cutmix_problems(shape) if chosen.mixer == "cutmix" else []
        if chosen.mixer == "cutmix" and chosen.layer not in ("auto", "input", 0):
            problems.append(f"`strategy.layer` must be input where `strategy.mixer` is cutmix, got {chosen.layer}.")
        if chosen.mixer == "cutmix" and chosen.within == "query_mix":
            problems.append("`strategy.within` must be same_op where `strategy.mixer` is cutmix, got query_mix.")
        if isinstance(chosen.layer, int) and chosen.layer > last:
            problems.append(
                f"`strategy.layer` must be at most {last}, the last layer that this learner shares between tasks, "
                f"got {chosen.layer}."
            )
        return problems

    def ranges(self) -> dict[str, dict[str, list[Any]]]:
        """Return the proportion of the mixture, and how often it crosses tasks."""
        return {
            "strategy.alpha": {"log": [0.1, 10]},
            "strategy.beta": {"log": [0.1, 10]},
            "strategy.cross_prob": {"float": [0.0, 1.0]},
        }

    def resolved(self, shape: tuple[int, ...]) -> "Mlti":
        """Return itself with every ``auto`` replaced by what was published for examples of ``shape``."""
        pictures = len(shape) == 3
        published: dict[str, Any] = (
            {"mixer": "cutmix", "layer": "input", "within": "same_op"}
            if pictures
            else {"mixer": "linear", "layer": 1, "within": "query_mix"}
        )
        if self.mixer == "linear" and pictures and self.layer == "auto":
            published["layer"] = "random"  # CutMix is what belongs to the input
        return replace(self, **{name: value for name, value in published.items() if getattr(self, name) == "auto"})

    def losses(self, learner: Learner, batch: Batch) -> Losses:
        """Return cross-entropy of B interpolated tasks."""
        chosen, rng, ways = self.resolved(batch.shape), batch.streams.mixing, batch.sampler.ways
        if chosen.layer == "random":
            layers = draw_layers(batch.size, 0, learner.last_shared, rng)
        else:
            layers = (0 if chosen.layer == "input" else int(chosen.layer),) * batch.size
        mixing_ratios = rng.beta(self.alpha, self.beta, size=batch.size)
        pairing = draw_pairings(batch.size, ways, rng)
        cross = np.ones(batch.size, dtype=bool)
        if self.cross_prob < 1:
            cross = rng.random(batch.size) < self.cross_prob
        weights = (
            cutmix_weights(to_device_async(draw_cutmix_boxes(mixing_ratios, batch), batch.device), batch)
            if chosen.mixer == "cutmix"
            else linear_weights(to_device_async(mixing_ratios.astype(np.float32), batch.device))
        )
        examples = batch.draw()
        numbers = np.arange(batch.size)
        others = torch.from_numpy(np.where(cross, np.roll(numbers, -1), numbers))
        partners = task_partners(others, torch.from_numpy(pairing), examples.shape[2])
        second_labels = np.repeat(np.arange(ways), batch.sampler.queries)[None].repeat(batch.size, axis=0)
        label_ratios = np.ones(batch.size)
        if chosen.within == "query_mix":
            second_labels[~cross] = draw_pairings(batch.size, second_labels.shape[1], rng)[~cross]
            within = query_partners(second_labels, batch.shots, batch.sampler.queries)
            partners = torch.where(torch.from_numpy(cross)[:, None, None], partners, within)
            second_labels[~cross] //= batch.sampler.queries
            label_ratios = np.where(cross, 1.0, mixing_ratios)
            weights = weights.repeat(1, 1, examples.shape[2])
            weights[:, :, : batch.shots].masked_fill_(to_device_async(~cross, batch.device)[:, None, None], 1.0)
        plan = MixPlan(layers, weights, to_device_async(partners, batch.device))
        generated = mix_tasks(learner, examples, None, batch.shots, plan).generated
        losses = two_label_losses(
            learner.classify(generated, batch.shots),
            to_device_async(second_labels, batch.device),
            to_device_async(label_ratios.astype(np.float32), batch.device)[:, None],
        )
        return Losses(total=losses.mean(), cross_entropy=losses.mean())


def query_partners(queries: npt.NDArray[np.int64], shots: int, number: int) -> Tensor:
    """Return partners for a plan: support examples meet themselves, query n meets query ``queries[:, n]``.

    Args:
        queries: `(B, N * Q)`.
        shots: K.
        number: Q.
    """
    tasks, ways, examples = len(queries), queries.shape[1] // number, shots + number
    partners = np.arange(tasks * ways * examples).reshape(tasks, ways, examples)
    position = queries // number * examples + shots + queries % number
    first = np.arange(tasks)[:, None] * ways * examples
    partners[:, :, shots:] = (first + position).reshape(tasks, ways, number)
    return torch.from_numpy(partners)
