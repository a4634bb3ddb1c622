"""Meta-MaxUp (Ni et al. 2021): every task is augmented in several ways, and the way that is worst for the learner counts.

Each of m copies of a task draws one entry of a pool of augmentations. The loss is the mean over queries of the largest loss
among the copies (``sample``, the released code) or the largest mean loss (``task``, the paper's wording). A learner with an
inner loop adapts to each copy's own support set. The pool for pictures is the published one; for cells nothing is published.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field

from datg.errors import unknown_name
from datg.generation.augmentation import AUGMENTATIONS, CELL_POOL, PICTURE_POOL, QUERY_MIXERS, Source, augment
from datg.learners.learner import Learner
from datg.strategies.strategy import Batch, BetaParameter, Losses, Strategy, StrategyContext, two_label_losses


@dataclass(frozen=True, kw_only=True)
class MetaMaxup(Strategy):
    """Train on the worst of several augmented copies.

    Attributes:
        copies: m.
        pool: entries that a copy draws from, each one or more augmentations joined by ``+``; None is the published pool for
            pictures, and one of our own for cells.
        reduce: whether the worst copy is chosen for each query or for each task.
        alpha: lambda ~ Beta(alpha, alpha) of query CutMix and query Mixup.
    """

    name: ClassVar[str] = "meta_maxup"

    copies: Annotated[int, Field(ge=1)] = 4
    pool: tuple[str, ...] | None = None
    reduce: Literal["sample", "task"] = "sample"
    alpha: BetaParameter = 2.0

    refused_learners: ClassVar[dict[str, str]] = {
        "reptile": "its outer step follows all copies of a task, not the worst one"
    }
    vanilla_settings: ClassVar[tuple[dict[str, Any], ...]] = (
        {"copies": 1, "pool": ("identity",), "reduce": "sample"},
        {"copies": 1, "pool": ("identity",), "reduce": "task"},
    )

    def validate(self, context: StrategyContext) -> list[str]:
        """Refuse augmentations that are unknown, or impossible for the examples."""
        if self.pool is not None and not self.pool:
            return ["`strategy.pool` must have at least one entry."]
        shape = context.shape
        pool = self.pool if shape is None else self.entries(shape)
        problems = []
        for name in dict.fromkeys(name for entry in pool or () for name in entry.split("+")):
            if name not in AUGMENTATIONS:
                problems.append("`strategy.pool` is wrong: " + unknown_name("augmentation", name, AUGMENTATIONS))
            elif shape is not None and not _possible(AUGMENTATIONS[name].needs, shape):
                problems.append(
                    f"`strategy.pool` has {name}, which needs {AUGMENTATIONS[name].needs}, but the examples have shape {shape}; "
                    "set a pool without it."
                )
        for entry in pool or ():
            if len(QUERY_MIXERS & set(entry.split("+"))) > 1:
                problems.append(
                    f"`strategy.pool` has {entry}, but queries can be mixed once only: choose one of the two."
                )
        return problems

    def ranges(self) -> dict[str, dict[str, list[Any]]]:
        """Return how many copies, how the worst is chosen, and the proportion of query mixtures."""
        return {
            "strategy.copies": {"int": [2, 6]},
            "strategy.reduce": {"choice": ["sample", "task"]},
            "strategy.alpha": {"log": [0.1, 10]},
        }

    def entries(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        """Return the pool for examples of ``shape``."""
        if self.pool is not None:
            return self.pool
        return PICTURE_POOL if len(shape) == 3 else CELL_POOL

    def losses(self, learner: Learner, batch: Batch) -> Losses:
        """Return cross-entropy of B tasks, the worst of their copies."""
        streams, pool = batch.streams, self.entries(batch.shape)
        examples = batch.draw().repeat(self.copies, *[1] * (2 + len(batch.shape)))
        entries = [pool[index] for index in streams.mixing.integers(len(pool), size=len(examples))]
        copies = augment(examples, batch.shots, entries, Source(streams.mixing, streams.noise, self.alpha))
        encoded = learner.encode(copies.examples, batch.shots, 0, learner.last_shared)
        losses = two_label_losses(learner.classify(encoded, batch.shots), copies.second_labels, copies.mixing_ratios)
        losses = losses.unflatten(0, (self.copies, batch.size))
        # One graph over all copies: a second pass over the worst ones would draw another dropout than the one that chose them.
        if self.reduce == "sample":
            worst = losses.amax(0)
        else:
            worst = losses[losses.mean(2).argmax(0), torch.arange(batch.size, device=batch.device)]
        return Losses(total=worst.mean(), cross_entropy=worst.mean())


def _possible(needs: str, shape: tuple[int, ...]) -> bool:
    pictures = len(shape) == 3
    return needs == "any" or (pictures and (needs == "pictures" or shape[1] == shape[2]))
