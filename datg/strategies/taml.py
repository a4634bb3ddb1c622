"""TAML, task-agnostic meta-learning (Jamal & Qi 2019): the initial model must not prefer some tasks over others.

With f the initial model, f_i the one adapted to task i, CE on the queries and l_i the loss of f on task i:

* ``entropy``: mean_i [ CE_i(f_i) + weight * (-H_i(f) + H_i(f_i)) ]: uncertain before, certain after adaptation;
* the others: mean_i CE_i(f_i) + weight * I(l_1 .. l_B), an inequality measure of economics.

There is no released code; which variant stands in the paper's Table 1, and its weight, are not known. Both entropies are taken
on the queries.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax

from datg.learners.inner_loop import InnerLoop
from datg.learners.learner import Learner
from datg.strategies.strategy import (
    NO_INNER_LOOP,
    NOTHING_SHARED,
    Batch,
    HostDraws,
    Losses,
    Strategy,
    StrategyContext,
    Weight,
    query_losses,
)

NEAR_A_LIMIT = 1e-6  # of alpha or eps: nearer than that, the limit is the better number
SMALLEST_LOSS = 1e-8  # below it a logarithm would not be finite


@dataclass(frozen=True, kw_only=True)
class Taml(Strategy):
    """Add entropy or inequality of the initial model to the outer loss.

    Attributes:
        variant: entropy, or the inequality measure: Theil, generalised entropy, Atkinson, Gini, variance of logs.
        weight: of that term.
        entropy_max_only: leave out the entropy of the adapted model.
        ge_alpha: order of the generalised entropy; 1 is Theil's index, 0 the mean log deviation.
        atkinson_eps: aversion of Atkinson's index.
        losses_on: which set l_i is taken on.
    """

    name: ClassVar[str] = "taml"

    variant: Literal["entropy", "theil", "ge", "atkinson", "gini", "vl"] = "entropy"
    weight: Weight = 0.1
    entropy_max_only: bool = False
    ge_alpha: Annotated[float, Field(ge=-10, le=10)] = 2.0
    atkinson_eps: Annotated[float, Field(gt=0, le=10)] = 0.5
    losses_on: Literal["query", "support"] = "query"

    refused_learners: ClassVar[dict[str, str]] = {"protonet": NO_INNER_LOOP, "reptile": NOTHING_SHARED}
    vanilla_settings: ClassVar[tuple[dict[str, Any], ...]] = tuple(
        {"variant": variant, "weight": 0.0} for variant in ("entropy", "theil", "ge", "atkinson", "gini", "vl")
    )

    def validate(self, context: StrategyContext) -> list[str]:
        """Refuse an inequality of one task."""
        if self.variant != "entropy" and context.batch < 2:
            return [
                f"`training.batch` must be at least 2 where `strategy.variant` is {self.variant}, which compares tasks of a "
                f"batch, got {context.batch}."
            ]
        return []

    def ranges(self) -> dict[str, dict[str, list[Any]]]:
        """Return the weight."""
        return {"strategy.weight": {"log": [0.01, 1.0] if self.variant == "entropy" else [0.1, 10.0]}}

    def draw_on_host(self, learner: Learner, batch: Batch) -> HostDraws:
        """Return nothing: tasks are drawn on the device."""
        return HostDraws()

    def losses(self, learner: Learner, batch: Batch) -> Losses:
        """Return cross-entropy of B real tasks + weight * entropies or inequality."""
        assert isinstance(learner, InnerLoop)
        encoded = learner.encode(batch.draw(), batch.shots, 0, learner.last_shared)
        support, query = learner.sets(encoded, batch.shots)
        adapted = learner.classify(encoded, batch.shots)
        cross_entropy = query_losses(adapted).mean()
        if self.variant == "entropy":
            initial = entropy(learner.unadapted_logits(query.flatten(1, 2)))
            others = {"entropy_initial": initial}
            regulariser = -initial
            if not self.entropy_max_only:
                others["entropy_adapted"] = entropy(adapted)
                regulariser = regulariser + others["entropy_adapted"]
        else:
            examples = query if self.losses_on == "query" else support
            tasks = query_losses(learner.unadapted_logits(examples.flatten(1, 2))).mean(1)
            # In double precision: the losses are all near ln N, and the index is a small difference of large terms.
            regulariser = self._inequality()(tasks.double().clamp(min=SMALLEST_LOSS)).to(tasks.dtype)
            others = {"inequality": regulariser}
        return Losses(total=cross_entropy + self.weight * regulariser, cross_entropy=cross_entropy, others=others)

    def _inequality(self) -> Callable[[Tensor], Tensor]:
        if self.variant == "ge":
            return lambda losses: generalised_entropy(losses, self.ge_alpha)
        if self.variant == "atkinson":
            return lambda losses: atkinson(losses, self.atkinson_eps)
        return {"theil": theil, "gini": gini, "vl": variance_of_logs}[self.variant]


def entropy(logits: Tensor) -> Tensor:
    """Return mean entropy, in nats, of the predictions of `(..., N)` logits."""
    logs = log_softmax(logits, dim=-1)
    return -(logs.exp() * logs).sum(-1).mean()


def theil(losses: Tensor) -> Tensor:
    """Return Theil's index of `(B,)` positive losses: mean of (l / mean l) ln (l / mean l)."""
    ratios = losses / losses.mean()
    return (ratios * ratios.log()).mean()


def generalised_entropy(losses: Tensor, alpha: float) -> Tensor:
    """Return the generalised entropy of order ``alpha``: mean of [(l / mean l)^alpha - 1] / (alpha (alpha - 1)), or its limit."""
    if abs(alpha - 1) < NEAR_A_LIMIT:
        return theil(losses)
    ratios = losses / losses.mean()
    if abs(alpha) < NEAR_A_LIMIT:
        return -ratios.log().mean()
    return (ratios.pow(alpha) - 1).mean() / (alpha * (alpha - 1))


def atkinson(losses: Tensor, eps: float) -> Tensor:
    """Return Atkinson's index of `(B,)` losses: 1 - (mean of l^(1 - eps))^(1 / (1 - eps)) / mean l."""
    if abs(eps - 1) < NEAR_A_LIMIT:
        return 1 - losses.log().mean().exp() / losses.mean()
    return 1 - losses.pow(1 - eps).mean().pow(1 / (1 - eps)) / losses.mean()


def gini(losses: Tensor) -> Tensor:
    """Return the Gini coefficient of `(B,)` losses: sum over pairs of |l_i - l_j| / (2 B sum l)."""
    return (losses[:, None] - losses[None]).abs().sum() / (2 * len(losses) * losses.sum())


def variance_of_logs(losses: Tensor) -> Tensor:
    """Return the variance of ln l of `(B,)` losses."""
    return torch.var(losses.log(), correction=0)
