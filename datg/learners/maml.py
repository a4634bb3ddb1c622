"""MAML (Finn et al. 2017; paper Eq. 1), adapting the last block and the classifier only (paper 5.2).

Per task: phi_0 = (last block, head); phi_{t+1} = phi_t - lr * grad CE(support; phi_t). The outer gradient goes through
the steps (second order) unless ``first_order``. Every set is normalised by its own batch statistics, in training and in
evaluation (algorithms 1.4): evaluation is transductive in the query set. One task is written down plainly and all tasks
of a batch run at once by `torch.func.vmap`.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from datg.backbones.backbone import Backbone
from datg.backbones.conv4 import initialise
from datg.checkpoint import take, under
from datg.learners.learner import Learner, LearnerOptions, Sets

Parameters = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class MamlOptions(LearnerOptions):
    """The inner loop.

    Attributes:
        inner_lr: step size.
        inner_steps: steps in training.
        inner_steps_test: steps in evaluation.
        first_order: treat inner gradients as constants (FOMAML).
    """

    inner_lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.01
    inner_steps: Annotated[int, Field(ge=1)] = 5
    inner_steps_test: Annotated[int, Field(ge=1)] = 10
    first_order: bool = False


class Maml(Learner):
    """The first L - 1 blocks are shared, the last one and the head are adapted."""

    options: ClassVar[type[LearnerOptions]] = MamlOptions

    def __init__(self, backbone: Backbone, options: MamlOptions, *, ways: int, generator: torch.Generator) -> None:
        """Adds a classifier of ``ways`` outputs to ``backbone``, which keeps no running statistics."""
        super().__init__()
        self.backbone = backbone
        self.head = nn.utils.skip_init(nn.Linear, backbone.embedding_size, ways)
        initialise(self.head, fan_in=backbone.embedding_size, generator=generator)
        self.inner = options

    @classmethod
    def build(
        cls, backbone_type: Any, options: MamlOptions, *, generator: torch.Generator, ways: int, **backbone: Any
    ) -> Self:
        """See :meth:`Learner.build`."""
        built = backbone_type(**backbone, running_statistics=False, generator=generator)
        return cls(built, options, ways=ways, generator=generator)

    @staticmethod
    def shared_layers(depth: int) -> int:
        """All but the last: L_S = L - 1."""
        return depth - 1

    @property
    def embeds_once(self) -> bool:
        """Never: batch statistics differ from task to task."""
        return False

    def sets(self, examples: Tensor, shots: int) -> Sets:
        """Support and query each by itself."""
        return examples[:, :, :shots], examples[:, :, shots:]

    def embed(self, sets: Sets) -> Tensor:
        """The flattened last block of support and query, under the meta-parameters."""
        encoded = self.encode(sets, self.last_shared, self.backbone.depth)
        return torch.cat([examples.flatten(3).flatten(1, 2) for examples in encoded], dim=1)

    def classify(self, sets: Sets, shots: int) -> Tensor:
        """Adapts to each support set, then classifies its queries."""
        return self._adapt_and_classify(sets, self.inner.inner_steps)

    def predict(self, examples: Tensor, shots: int) -> Tensor:
        """As :meth:`classify`, with the number of steps of a test."""
        encoded = self.encode(self.sets(examples, shots), 0, self.last_shared)
        return self._adapt_and_classify(encoded, self.inner.inner_steps_test)

    def _adapt_and_classify(self, sets: Sets, steps: int) -> Tensor:
        support, query = sets
        ways, shots = support.shape[1:3]
        labels = torch.arange(ways, device=support.device).repeat_interleave(shots)
        block, head = self.backbone.blocks[-1], self.head
        meta = {**under("block", dict(block.named_parameters())), **under("head", dict(head.named_parameters()))}

        def one_task(support: Tensor, query: Tensor) -> Tensor:
            """`(N * K, *shape)` and `(N * Q, *shape)` to `(N * Q, N)`."""
            return self._logits(self._adapt(meta, support, labels, steps), query)

        logits: Tensor = vmap(one_task)(support.flatten(1, 2), query.flatten(1, 2))
        return logits

    def _adapt(self, parameters: Parameters, support: Tensor, labels: Tensor, steps: int) -> Parameters:
        def loss(parameters: Parameters) -> Tensor:
            return cross_entropy(self._logits(parameters, support), labels)

        for _ in range(steps):
            gradients = grad(loss)(parameters)
            if self.inner.first_order:
                gradients = {name: gradient.detach() for name, gradient in gradients.items()}
            parameters = {name: value - self.inner.inner_lr * gradients[name] for name, value in parameters.items()}
        return parameters

    def _logits(self, parameters: Parameters, examples: Tensor) -> Tensor:
        """`(n, *shape)` examples of one set at layer L - 1 to `(n, N)`, with the last block and head in ``parameters``."""
        features = functional_call(self.backbone.blocks[-1], take(parameters, "block"), (examples, 1)).flatten(1)
        logits: Tensor = functional_call(self.head, take(parameters, "head"), (features,))
        return logits
