"""Meta-Dropout (Lee et al. 2020): learned multiplicative noise on the support set makes a task harder to adapt to.

In every block, with m the affine map of theta and a that of the noise generator phi, both of the same input:

    support: n ~ N(a, 1);    query: n = a;    output = pool(relu(norm(m * softplus(n)))),

and on the support set the logits get noise of deviation softplus(h.v + c), one for all classes. The noise is drawn anew in
every inner step, so no activations of the support set can be reused between steps. phi is never adapted: it learns from the
query loss through the inner gradients, which must therefore be of second order. As everywhere here theta is adapted in the last
block and the head alone; the published code adapts all of it.
"""

import copy
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import softplus

from datg.backbones.backbone import Affine, pass_blocks
from datg.backbones.batch_norm import WHOLE, NormMode
from datg.learners.extension import Extension
from datg.learners.inner_loop import InnerLoop, Parameters, logits_of_each, support_cross_entropy
from datg.learners.learner import Learner
from datg.runtime.precision import to_float32
from datg.runtime.random_streams import Noise
from datg.storage.checkpoint import add_prefix
from datg.strategies.strategy import (
    NO_INNER_LOOP,
    NOTHING_SHARED,
    Batch,
    Losses,
    Strategy,
    StrategyContext,
    query_losses,
)

GENERATOR_DEVIATION = 0.02  # of the noise generator's first weights


@dataclass(frozen=True, kw_only=True)
class MetaDropout(Strategy):
    """Learn noise on the support set.

    Attributes:
        samples: draws of the noise in each inner step of training, over which the loss is averaged.
        samples_test: likewise in a final evaluation.
        samples_validation: likewise in a validation, whose cost is in proportion; fewer score a little lower.
        clip: largest absolute value of an entry of the outer gradient; None leaves it as it is.
    """

    name: ClassVar[str] = "meta_dropout"

    samples: Annotated[int, Field(ge=1)] = 1
    samples_test: Annotated[int, Field(ge=1)] = 30
    samples_validation: Annotated[int, Field(ge=1)] = 5
    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = 3.0

    refused_learners: ClassVar[dict[str, str]] = {"protonet": NO_INNER_LOOP, "reptile": NOTHING_SHARED}

    def validate(self, context: StrategyContext) -> list[str]:
        """Refuse first order, with which the noise generator would not learn."""
        if getattr(context.learner, "first_order", False):
            return [
                "`learner.first_order` must be false for strategy meta_dropout: its noise generator learns through the inner "
                "gradients alone."
            ]
        return []

    def ranges(self) -> dict[str, dict[str, list[Any]]]:
        """Return how many draws the inner loop averages, and the clipping."""
        return {"strategy.samples": {"int": [1, 4]}, "strategy.clip": {"log": [0.1, 10]}}

    @property
    def gradient_clip(self) -> float | None:
        """Return ``clip``."""
        return self.clip

    def extend(self, learner: Learner, *, generator: torch.Generator) -> Learner:
        """Add the noise generator."""
        assert isinstance(learner, InnerLoop)
        return NoisySupport(
            learner,
            samples=self.samples,
            samples_validation=self.samples_validation,
            samples_test=self.samples_test,
            generator=generator,
        )

    def losses(self, learner: Learner, batch: Batch) -> Losses:
        """Return cross-entropy of B real tasks after adaptation to noisy support sets."""
        loss = query_losses(learner.classify(batch.draw(), batch.shots)).mean()
        return Losses(total=loss, cross_entropy=loss)


class NoisySupport(Extension):
    """Adapt an inner-loop learner to noisy support sets.

    Since every inner step passes the support set anew, no hidden layer is shared from outside: L_S is 0.
    """

    learner: InnerLoop

    def __init__(
        self,
        learner: InnerLoop,
        *,
        samples: int,
        samples_validation: int,
        samples_test: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__(learner)
        self._samples, self._samples_validation, self._samples_test = samples, samples_validation, samples_test
        self._purpose = "test"
        affines: list[Affine] = [block.affine for block in learner.backbone.blocks]  # type: ignore[misc]
        self.generators = nn.ModuleList(_noise_generator(affine, generator) for affine in affines)
        self.logit_noise = nn.utils.skip_init(nn.Linear, learner.backbone.embedding_size, 1)
        _small(self.logit_noise, generator)
        self.noise = Noise()

    @property
    def last_shared(self) -> int:
        """Return the input."""
        return 0

    def block(self, index: int, inputs: Tensor, mode: NormMode, *, noisy: bool) -> Tensor:
        """Pass `(n, *shape)` through block ``index`` with its multiplicative noise, drawn or (not ``noisy``) at its mean path."""
        block = self.backbone.blocks[index]
        mean = self.generators[index](inputs)
        drawn = mean + self.noise.normal(mean) if noisy else mean
        activated: Tensor = block.activate(block.affine(inputs) * softplus(drawn), mode)  # type: ignore[operator]
        return activated

    def set_purpose(self, purpose: str) -> None:
        """See :meth:`Learner.set_purpose`."""
        self._purpose = purpose

    def pass_shared(self, examples: Tensor, *, noisy: bool) -> Tensor:
        """Return `(b, N, M, *shape)` sets from the input to the first adapted block, each one normalisation batch."""
        blocks = [partial(self.block, index, noisy=noisy) for index in range(self.learner.last_shared)]
        return to_float32(pass_blocks(blocks, examples, precision=self.backbone.precision))

    def forward(self, examples: Tensor, mode: NormMode, noisy: bool) -> Tensor:
        """Return logits `(n, N)` of one set of `(n, *shape)` examples at the first adapted block."""
        for index in range(self.learner.last_shared, self.backbone.depth):
            examples = self.block(index, examples, mode, noisy=noisy)
        features = examples.flatten(1)
        logits: Tensor = self.learner.head(features)
        if not noisy:
            return logits
        return logits + softplus(self.logit_noise(features)) * self.noise.normal(logits)

    def classify(self, examples: Tensor, shots: int) -> Tensor:
        """Return query logits `(B, N * Q, N)` after adaptation to noisy support sets, from the input; queries get no noise."""
        return self._query_logits(examples, shots, self.learner.inner.inner_steps, self._samples)

    def predict(self, examples: Tensor, shots: int, labels: Tensor | None = None) -> Tensor:
        """Return query logits `(B, N * Q, N)` with the steps and the draws of a test."""
        samples = self._samples_validation if self._purpose == "validation" else self._samples_test
        return self._query_logits(examples, shots, self.learner.inner.inner_steps_test, samples, labels)

    def _query_logits(
        self, examples: Tensor, shots: int, steps: int, samples: int, labels: Tensor | None = None
    ) -> Tensor:
        support, query = self.sets(examples, shots)
        tasks = len(support)
        support_loss = support_cross_entropy(support, labels)
        repeated = support.repeat_interleave(samples, dim=0)

        def draw() -> tuple[Tensor]:
            """Return noisy support sets at the first adapted block, `(B, samples, N * K, *shape)`."""
            return (self.pass_shared(repeated, noisy=True).flatten(1, 2).unflatten(0, (tasks, samples)),)

        def loss(parameters: Parameters, sets: Tensor) -> Tensor:
            def of_one(examples: Tensor) -> Tensor:
                return support_loss(self._logits(parameters, examples, WHOLE, noisy=True))

            return vmap(of_one, randomness="different")(sets).mean()

        parameters = self.learner.adapt(loss, draw, steps)
        return logits_of_each(partial(self._logits, noisy=False), parameters, self.pass_shared(query, noisy=False))

    def _logits(self, parameters: Parameters, examples: Tensor, mode: NormMode, *, noisy: bool) -> Tensor:
        logits: Tensor = functional_call(self, add_prefix("learner", parameters), (examples, mode, noisy))
        return logits


def _noise_generator(affine: Affine, generator: torch.Generator) -> Affine:
    """Return a map of the same shape with small weights."""
    twin = copy.deepcopy(affine)
    _small(twin, generator)
    return twin


def _small(layer: Affine, generator: torch.Generator) -> None:
    """Set normal weights, those of convolutions cut off at two deviations, and no bias."""
    with torch.no_grad():
        if isinstance(layer, nn.Conv2d):
            nn.init.trunc_normal_(
                layer.weight,
                std=GENERATOR_DEVIATION,
                a=-2 * GENERATOR_DEVIATION,
                b=2 * GENERATOR_DEVIATION,
                generator=generator,
            )
        else:
            layer.weight.normal_(0, GENERATOR_DEVIATION, generator=generator)
        assert layer.bias is not None
        layer.bias.zero_()
