"""DATG, diverse and authentic task generation (paper section 3, Algorithm 1): inter-cluster Mixup plus an MMD term.

Where the paper's text and Algorithm 1 contradict each other, this follows Eq. 1 and the text: the inner loop of MAML sees
the mixed support only, and the MMD stands in the outer loss (lines 10 to 12 would put query labels into the inner loop).
The MMD compares generated tasks, support and query pooled, with all 2B real tasks of the batch, under the meta-parameters.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from datg.generation.mixup import MixedTasks
from datg.generation.mmd import linear_discrepancy, mean_discrepancy
from datg.learners.learner import Learner
from datg.runtime.precision import to_float32
from datg.strategies.clustered_mixup import ClusteredMixup
from datg.strategies.strategy import NO_MIXING, Batch, Losses, Weight, query_losses


@dataclass(frozen=True, kw_only=True)
class Datg(ClusteredMixup):
    """Mix tasks across clusters, and keep the generated tasks close to real ones.

    Attributes:
        mmd_bandwidth: kernel bandwidth as a multiple of the median heuristic.
        mmd_weight: weight of the MMD in the outer loss; 0 leaves it out and is inter-cluster Mixup.
        mmd_kernel: five Gaussians, or linear: the distance of mean points.
        mmd_layer: what is compared: ``embedding``, the output of the last block; ``shared``, layer L_S; ``mixing``, the layer
            at which a task was mixed (no gradient where that is the input).
        mmd_gradient: what the MMD moves: ``generated`` tasks alone, real ones being constants, which need no backward above the
            mixing layers; or ``both``, which also pulls real tasks of different classes together: mean_m ||mu_cr - mu_m||^2 is
            ||mu_cr - mu||^2 plus the spread of the mu_m around their mean mu. The paper does not say.
    """

    name: ClassVar[str] = "datg"

    mmd_bandwidth: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    mmd_weight: Weight = 1.0
    mmd_kernel: Literal["gaussian", "linear"] = "gaussian"
    mmd_layer: Literal["embedding", "shared", "mixing"] = "embedding"
    mmd_gradient: Literal["generated", "both"] = "generated"

    vanilla_settings: ClassVar[tuple[dict[str, Any], ...]] = ({**NO_MIXING, "mmd_weight": 0.0},)

    def ranges(self) -> dict[str, dict[str, list[Any]]]:
        """Return weight and bandwidth of the MMD, too."""
        ranges = super().ranges()
        if self.mmd_kernel == "gaussian":
            ranges["strategy.mmd_bandwidth"] = {"log": [0.1, 10]}
        return ranges | {"strategy.mmd_weight": {"log": [0.001, 10]}}

    def losses(self, learner: Learner, batch: Batch) -> Losses:
        """Return cross-entropy of B tasks + weight * mean of MMD_cr (Eq. 4) over those of them that were generated."""
        tasks = self.generate_across(
            learner, batch, keep_real=self.mmd_weight > 0, real_gradient=self.mmd_gradient == "both"
        )
        cross_entropy = query_losses(learner.classify(tasks.mixed.generated, batch.shots)).mean()
        if self.mmd_weight == 0:
            return Losses(total=cross_entropy, cross_entropy=cross_entropy)
        discrepancies = self._discrepancies(learner, tasks.mixed, batch.shots)
        mmd = (discrepancies * tasks.new).sum() / tasks.new.sum().clamp(min=1)
        return Losses(total=cross_entropy + self.mmd_weight * mmd, cross_entropy=cross_entropy, others={"mmd": mmd})

    def _discrepancies(self, learner: Learner, tasks: MixedTasks, shots: int) -> Tensor:
        """Return MMD_cr of each generated task, `(B,)`."""
        if self.mmd_layer == "mixing":
            mixtures = tasks.mixtures
            return torch.cat([self._compare(_points(m.generated), _points(m.real)) for m in mixtures])
        assert tasks.real is not None
        if self.mmd_layer == "shared":
            return self._compare(_points(tasks.generated), _points(tasks.real))
        with nullcontext() if self.mmd_gradient == "both" else torch.no_grad():
            real = learner.embed(tasks.real, shots)
        return self._compare(learner.embed(tasks.generated, shots), real)

    def _compare(self, generated: Tensor, real: Tensor) -> Tensor:
        if self.mmd_kernel == "linear":
            return linear_discrepancy(generated, real)
        return mean_discrepancy(generated, real, bandwidth=self.mmd_bandwidth)


def _points(examples: Tensor) -> Tensor:
    """Turn `(B, N, M, *shape)` into `(B, N * M, d)`."""
    return to_float32(examples.flatten(3).flatten(1, 2))
