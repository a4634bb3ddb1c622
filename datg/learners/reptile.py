"""Reptile (Nichol et al. 2018): the outer step goes towards where plain training on a task leads. Not in the paper's Table 1.

All layers are adapted. The last of the T + 1 steps of a task is taken on its queries, the others on its support set, so
that the outer gradient is

    (theta - phi_{T+1}) / inner_lr  =  sum_t grad CE(support; phi_t)  +  grad CE(query; phi_T),

averaged over tasks. The last term is the first-order gradient of the query loss, which the strategy's loss brings; the
others are added to it on its way back. That is right for any loss that is the mean over tasks of query losses.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from datg.learners.inner_loop import InnerLoop, InnerLoopOptions
from datg.learners.learner import LearnerOptions
from datg.runtime.precision import to_float32


@dataclass(frozen=True, kw_only=True)
class ReptileOptions(InnerLoopOptions):
    """Hold the options of the inner loop, whose gradients are always constants to the outer step."""

    name: ClassVar[str] = "reptile"


class Reptile(InnerLoop):
    """Share nothing: adapt every block and the head."""

    options: ClassVar[type[LearnerOptions]] = ReptileOptions

    @staticmethod
    def shared_layers(depth: int) -> int:
        """Share nothing but the input: L_S = 0."""
        return 0

    def classify(self, examples: Tensor, shots: int) -> Tensor:
        """Return query logits `(B, N * Q, N)` after adaptation to each support set; see the module for the gradient."""
        support, query = self.sets(to_float32(examples), shots)
        with torch.no_grad():
            reached = self.adapt_to(support, self.inner.inner_steps)
        parameters = {}
        for name, start in self.adapted_parameters().items():
            way = reached[name] - start.detach()  # (B, ...): -inner_lr times the sum of the inner gradients
            parameters[name] = start + way
            if parameters[name].requires_grad:
                inner_gradients = -way / (self.inner.inner_lr * len(way))
                parameters[name].register_hook(lambda gradient, extra=inner_gradients: gradient + extra)
        return self.logits_of_queries(parameters, query)
