"""Meta-Reg: meta-learning without memorization, MR-MAML (Yin et al. 2020).

Only what the inner loop adapts may carry information about a task, so there is an information bottleneck on the rest:

* ``weights``: the shared convolutions and linear maps get a Gaussian posterior q = N(mu, sigma^2), sigma = softplus(rho), with
  mu the learner's own weights; the support and the query set each pass a draw of their own. Loss: CE + beta * KL(q || N(0, 1)),
  the KL summed over all weights.
* ``activation``: what enters the first adapted block is z ~ N(mu(h), sigma(h)^2). Loss: CE + beta * KL(z || N(0, 1)), the KL
  averaged over dimensions and queries.

The inner loop sees the cross-entropy alone. For weights, beta is below the published 1e-3 and sigma above 2e-9: else the
KL of 19,392 weights would drown the cross-entropy. Which of the two forms stands in the paper's Table 1 is not known.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from datg.backbones.backbone import Affine, initialise
from datg.data.episodes import DeviceTable
from datg.learners.extension import Extension
from datg.learners.inner_loop import InnerLoop
from datg.learners.learner import Learner
from datg.learners.prediction import Predictor
from datg.runtime.precision import to_float32
from datg.runtime.random_streams import Noise
from datg.strategies.strategy import NO_INNER_LOOP, NOTHING_SHARED, Batch, Losses, Strategy, Weight, query_losses


@dataclass(frozen=True, kw_only=True)
class MetaReg(Strategy):
    """Put an information bottleneck on what is not adapted.

    Attributes:
        mode: whether weights or activations are drawn.
        beta: weight of the KL in the outer loss; None is 1e-6 for weights and 1e-2 for activations.
        rho_init: first value of rho: sigma is 0.0067 at -5.
        sample_at_test: draw in evaluation, too; otherwise means are used.
    """

    name: ClassVar[str] = "meta_reg"

    mode: Literal["weights", "activation"] = "weights"
    beta: Weight | None = None
    rho_init: Annotated[float, Field(ge=-50, le=5)] = -5.0
    sample_at_test: bool = False

    refused_learners: ClassVar[dict[str, str]] = {"protonet": NO_INNER_LOOP, "reptile": NOTHING_SHARED}
    vanilla_settings: ClassVar[tuple[dict[str, Any], ...]] = ({"beta": 0.0, "rho_init": -50.0},)

    def __post_init__(self) -> None:
        """Fill in the beta that goes with the mode."""
        if self.beta is None:
            object.__setattr__(self, "beta", 1e-6 if self.mode == "weights" else 1e-2)

    def ranges(self) -> dict[str, dict[str, list[Any]]]:
        """Return the weight of the KL, and for weights the first deviation."""
        if self.mode == "activation":
            return {"strategy.beta": {"log": [1e-4, 1.0]}}
        return {"strategy.beta": {"log": [1e-7, 1e-3]}, "strategy.rho_init": {"float": [-20.0, -2.0]}}

    def extend(self, learner: Learner, *, generator: torch.Generator) -> Learner:
        """Add the posterior's deviations, or the bottleneck."""
        assert isinstance(learner, InnerLoop)
        if self.mode == "weights":
            return WeightPosterior(learner, rho_init=self.rho_init, sample_at_test=self.sample_at_test)
        return Bottleneck(learner, sample_at_test=self.sample_at_test, generator=generator)

    def losses(self, learner: Learner, batch: Batch) -> Losses:
        """Return cross-entropy of B real tasks + beta * KL."""
        assert isinstance(learner, WeightPosterior | Bottleneck) and self.beta is not None
        examples, shots = batch.draw(), batch.shots
        if isinstance(learner, WeightPosterior):
            logits = learner.classify(learner.encode_drawn(examples, shots), shots)
            divergence = learner.divergence() if self.beta > 0 else None
        else:
            mean, deviation = learner.parts(learner.encode(examples, shots, 0, learner.last_shared))
            logits = learner.classify(mean + deviation * learner.noise.normal(mean), shots)
            divergence = gaussian_divergence(mean[:, :, shots:], deviation[:, :, shots:]).mean()
        cross_entropy = query_losses(logits).mean()
        if divergence is None:
            return Losses(total=cross_entropy, cross_entropy=cross_entropy)
        weighted = self.beta * divergence
        others = {"kl": divergence, "kl_weighted": weighted}
        return Losses(total=cross_entropy + weighted, cross_entropy=cross_entropy, others=others)


def gaussian_divergence(mean: Tensor, deviation: Tensor) -> Tensor:
    """Return KL(N(mean, deviation^2) || N(0, 1)) elementwise: -log sigma + (sigma^2 + mu^2 - 1) / 2."""
    return -deviation.log() + (deviation.square() + mean.square() - 1) / 2


class WeightPosterior(Extension):
    """Draw the shared convolutions and linear maps of an inner-loop learner from a Gaussian around its weights."""

    def __init__(self, learner: InnerLoop, *, rho_init: float, sample_at_test: bool) -> None:
        super().__init__(learner)
        shared = range(learner.last_shared)
        self._names = [f"blocks.{index}.affine.{part}" for index in shared for part in ("weight", "bias")]
        self.rho = nn.ParameterList(torch.full_like(mean, rho_init) for mean in self._means())
        self.noise = Noise()
        self._sample_at_test = sample_at_test

    def _means(self) -> list[Tensor]:
        return [self.backbone.get_parameter(name).detach() for name in self._names]

    def draw(self) -> dict[str, Tensor]:
        """Return one draw of the shared weights, by name: mu + sigma * eps."""
        drawn = {}
        for name, rho in zip(self._names, self.rho, strict=True):
            drawn[name] = self.backbone.get_parameter(name) + softplus(rho) * self.noise.normal(rho)
        return drawn

    def divergence(self) -> Tensor:
        """Return KL(q || N(0, 1)) as a scalar, summed over all weights that are drawn."""
        means = [self.backbone.get_parameter(name) for name in self._names]
        parts = [gaussian_divergence(m, softplus(r)).sum() for m, r in zip(means, self.rho, strict=True)]
        return torch.stack(parts).sum()

    def encode_drawn(self, examples: Tensor, shots: int) -> Tensor:
        """Pass `(B, N, K + Q, *shape)` from the input to L_S, support and query each under a draw of its own."""
        parts = self.sets(examples, shots)
        stop = self.last_shared
        return torch.cat([functional_call(self.backbone, self.draw(), (part, 0, stop)) for part in parts], dim=2)

    def predict(self, examples: Tensor, shots: int, labels: Tensor | None = None) -> Tensor:
        """Return query logits `(B, N * Q, N)` with the means of the weights, or with draws."""
        if not self._sample_at_test:
            return super().predict(examples, shots, labels)
        assert isinstance(self.learner, InnerLoop)
        return self.learner.predict_encoded(self.encode_drawn(examples, shots), shots, labels)

    def predictor(self, classes: DeviceTable, shots: int) -> Predictor:
        """Predict as the learner inside: with the means of the weights, nothing differs from the learner inside."""
        if not self._sample_at_test:
            return self.learner.predictor(classes, shots)
        return super().predictor(classes, shots)


class Bottleneck(Extension):
    """Put a stochastic map before the first adapted block of an inner-loop learner."""

    def __init__(self, learner: InnerLoop, *, sample_at_test: bool, generator: torch.Generator) -> None:
        super().__init__(learner)
        last: Affine = learner.backbone.blocks[learner.last_shared - 1].affine  # type: ignore[assignment]
        self.mean, self.deviation = (_pointwise(last, generator) for _ in range(2))
        self.noise = Noise()
        self._sample_at_test = sample_at_test

    def parts(self, examples: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of z, from `(B, N, M, *shape)` examples at layer L_S."""
        flat = to_float32(examples.flatten(0, 2))
        mean, deviation = self.mean(flat), softplus(self.deviation(flat))
        return mean.unflatten(0, examples.shape[:3]), deviation.unflatten(0, examples.shape[:3])

    def predict(self, examples: Tensor, shots: int, labels: Tensor | None = None) -> Tensor:
        """Return query logits `(B, N * Q, N)` with the mean of z, or with draws."""
        mean, deviation = self.parts(self.encode(examples, shots, 0, self.last_shared))
        drawn = mean + deviation * self.noise.normal(mean) if self._sample_at_test else mean
        assert isinstance(self.learner, InnerLoop)
        return self.learner.predict_encoded(drawn, shots, labels)


def _pointwise(last: Affine, generator: torch.Generator) -> nn.Module:
    """Return a map of the channels that ``last`` puts out onto as many: a 1x1 convolution, or a linear map."""
    channels = len(last.weight)
    if isinstance(last, nn.Conv2d):
        layer: Affine = nn.utils.skip_init(nn.Conv2d, channels, channels, 1)
    else:
        layer = nn.utils.skip_init(nn.Linear, channels, channels)
    initialise(layer, generator=generator)
    return layer
