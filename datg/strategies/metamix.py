"""MetaMix (Yao et al. 2021): the queries of a task are mixed with its support set, and channels of classes are exchanged.

Mix: at a random layer h = lambda h_q + (1 - lambda) h_s for a random support example of each query, and the loss is lambda
CE(y_q) + (1 - lambda) CE(y_s); adaptation, or the prototypes, use the support set as it is. Channel Shuffle: for a random half
of the meta-batches after the beginning of the training, at a hidden layer, support and query first exchange a group of channels
between classes; then the queries are mixed as above. For ProtoNet, for which there is no released code, likewise.

The released code pairs queries and support by one permutation and so needs as many of one as of the other; here the partner of a
query is drawn with replacement. Where shuffling begins is a share of the training, since searches train for different lengths.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from datg.generation.channel_shuffle import shuffle_channels
from datg.generation.mixup import draw_cycles, draw_layers, draw_pairings, encode_changed, mix
from datg.learners.learner import Learner
from datg.runtime.random_streams import to_device_async
from datg.strategies.strategy import (
    NO_MIXING,
    NOTHING_SHARED,
    Batch,
    BetaParameter,
    Fraction,
    Losses,
    Strategy,
    StrategyContext,
    two_label_losses,
)


@dataclass(frozen=True, kw_only=True)
class MetaMix(Strategy):
    """Mix queries with the support set, and shuffle channels.

    Attributes:
        alpha: first parameter of lambda ~ Beta(alpha, beta), the query's share.
        beta: second parameter.
        partner: what a query is mixed with: a support example, or another query of the task.
        shuffle: whether there is Channel Shuffle.
        shuffle_start: the share of the training before the first shuffle (5,000 of 50,000 iterations when published).
        groups: into how many groups channels are cut.
    """

    name: ClassVar[str] = "metamix"

    alpha: BetaParameter = 2.0
    beta: BetaParameter = 2.0
    partner: Literal["support", "query"] = "support"
    shuffle: bool = True
    shuffle_start: Fraction = 0.1
    groups: Annotated[int, Field(ge=1)] = 6

    refused_learners: ClassVar[dict[str, str]] = {"reptile": NOTHING_SHARED}
    vanilla_settings: ClassVar[tuple[dict[str, Any], ...]] = (
        {**NO_MIXING, "shuffle": False, "partner": "support"},
        {**NO_MIXING, "shuffle": False, "partner": "query"},
    )

    def validate(self, context: StrategyContext) -> list[str]:
        """Refuse groups without a channel."""
        if self.shuffle and self.groups > context.channels:
            return [
                f"`strategy.groups` must be at most {context.channels}, the channels of a hidden layer, got {self.groups}."
            ]
        return []

    def ranges(self) -> dict[str, dict[str, list[Any]]]:
        """Return the proportion of the mixture, and whether channels are shuffled."""
        return {
            "strategy.alpha": {"log": [0.1, 10]},
            "strategy.beta": {"log": [0.1, 10]},
            "strategy.shuffle": {"choice": [True, False]},
        }

    def losses(self, learner: Learner, batch: Batch) -> Losses:
        """Return cross-entropy of B tasks with mixed queries, with both labels."""
        rng, device = batch.streams.mixing, batch.device
        ways, queries = batch.sampler.ways, batch.sampler.queries
        shuffled = self.shuffle and batch.progress >= self.shuffle_start and rng.random() < 0.5
        layers = draw_layers(batch.size, 1 if shuffled else 0, learner.last_shared, rng)
        mixing_ratios = to_device_async(rng.beta(self.alpha, self.beta, size=batch.size).astype(np.float32), device)
        partners, labels = self._draw_partners(batch)
        cycles = to_device_async(draw_cycles(batch.size, ways, rng), device)
        groups = to_device_async(rng.integers(self.groups, size=batch.size), device)

        def change(examples: Tensor, tasks: slice) -> Tensor:
            if shuffled:
                examples = shuffle_channels(examples, cycles[tasks], groups[tasks], self.groups)
            support, query = examples.split([batch.shots, queries], dim=2)
            flat = query.flatten(1, 2)
            candidates = support.flatten(1, 2) if self.partner == "support" else flat
            other = candidates[torch.arange(len(flat), device=device)[:, None], partners[tasks]]
            mixed = mix(flat, other, mixing_ratios[tasks])
            return torch.cat([support, mixed.unflatten(1, (ways, queries))], dim=2)

        encoded = encode_changed(learner, batch.draw(), batch.shots, layers, change)
        losses = two_label_losses(learner.classify(encoded, batch.shots), labels, mixing_ratios[:, None])
        return Losses(total=losses.mean(), cross_entropy=losses.mean())

    def _draw_partners(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return which support example, or query, each query is mixed with, and its label, `(B, N * Q)` each."""
        rng, ways, queries = batch.streams.mixing, batch.sampler.ways, batch.sampler.queries
        if self.partner == "support":
            drawn, number = rng.integers(ways * batch.shots, size=(batch.size, ways * queries)), batch.shots
        else:
            drawn, number = draw_pairings(batch.size, ways * queries, rng), queries
        partners = to_device_async(np.asarray(drawn), batch.device)
        return partners, partners // number
