"""What learners that adapt to each task by gradient steps share.

Per task, with phi the adapted parameters (the blocks above L_S and the head):

    phi_0 = their meta-parameters,    phi_{t+1} = phi_t - inner_lr * grad_phi CE(support; phi_t).

Every set is normalised by its own batch statistics, in training and in evaluation (algorithms 1.4): evaluation is
transductive in the query set. One task is written down plainly; all tasks of a batch take an inner step at once by
`torch.func.vmap`, and classify their queries one after the other.
"""

from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from datg.backbones.backbone import Backbone, initialise, with_channels_last
from datg.backbones.batch_norm import ALONE, Runs
from datg.learners.learner import LearnerOptions, MakeBackbone, NamedLearner
from datg.learners.prediction import Predictor, by_adapting
from datg.precision import widened
from datg.tasks import Classes

Parameters = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class InnerLoopOptions(LearnerOptions):
    """The inner loop.

    Attributes:
        inner_lr: step size.
        inner_steps: steps in training.
        inner_steps_test: steps in evaluation.
    """

    inner_lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.01
    inner_steps: Annotated[int, Field(ge=1)] = 5
    inner_steps_test: Annotated[int, Field(ge=1)] = 10


class InnerLoop(NamedLearner, ABC):
    """A backbone and a linear head, of which the blocks above L_S and the head are adapted to each task.

    Attributes:
        head: the classifier.
        inner: options of the inner loop.
    """

    def __init__(self, backbone: Backbone, options: Any, *, ways: int, generator: torch.Generator) -> None:
        """Adds a classifier of ``ways`` outputs to ``backbone``, which keeps no running statistics."""
        super().__init__()
        self.backbone = backbone
        self.head = nn.utils.skip_init(nn.Linear, backbone.embedding_size, ways)
        initialise(self.head, generator=generator)
        self.inner = options

    @classmethod
    def build(cls, backbone: MakeBackbone, options: Any, *, generator: torch.Generator, ways: int) -> Self:
        """See :meth:`NamedLearner.build`."""
        built = backbone(running_statistics=False, generator=generator)
        return cls(built, options, ways=ways, generator=generator)

    @property
    def embeds_once(self) -> bool:
        """Never: batch statistics differ from task to task."""
        return False

    @property
    def first_order(self) -> bool:
        """Whether inner gradients are constants to the outer one."""
        return False

    def set_sizes(self, shots: int, queries: int) -> tuple[int, ...]:
        """Support and query each by itself."""
        return shots, queries

    def classify(self, examples: Tensor, shots: int) -> Tensor:
        """Adapts to each support set, then classifies its queries."""
        return self._query_logits(examples, shots, self.inner.inner_steps)

    def predict(self, examples: Tensor, shots: int) -> Tensor:
        """As :meth:`classify`, from the input and with the number of steps of a test."""
        return self.predict_encoded(self.encode(examples, shots, 0, self.last_shared), shots)

    def predictor(self, classes: Classes, shots: int) -> Predictor:
        """See :meth:`Learner.predictor`."""
        return by_adapting(self, classes, shots)

    def predict_encoded(self, examples: Tensor, shots: int) -> Tensor:
        """As :meth:`predict`, from examples at layer L_S."""
        return self._query_logits(examples, shots, self.inner.inner_steps_test)

    def unadapted_logits(self, examples: Tensor) -> Tensor:
        """Logits `(B, n, N)` of `(B, n, *shape)` examples at layer L_S under the meta-parameters, each n one batch."""
        features = widened(self.backbone(examples[:, None], self.last_shared)[:, 0].flatten(2))
        logits: Tensor = self.head(features)
        return logits

    def forward(self, examples: Tensor, runs: Runs = ALONE) -> Tensor:
        """Logits `(n, N)` of one set of `(n, *shape)` examples at layer L_S: the part that is adapted."""
        for block in self.backbone.blocks[self.last_shared :]:
            examples = block(examples, runs)
        logits: Tensor = self.head(examples.flatten(1))
        return logits

    def logits(self, parameters: Parameters, examples: Tensor, runs: Runs = ALONE) -> Tensor:
        """As :meth:`forward`, with adapted ``parameters`` in the place of the meta-parameters."""
        logits: Tensor = functional_call(self, parameters, (examples, runs))
        return logits

    def adapted_parameters(self) -> Parameters:
        """The meta-parameters from which the inner loop starts, by name."""
        indices = range(self.last_shared, self.backbone.depth)
        prefixes = ("head.", *(f"backbone.blocks.{index}." for index in indices))
        return {name: value for name, value in self.named_parameters() if name.startswith(prefixes)}

    def adapt(self, loss: Callable[..., Tensor], draw: Callable[[], tuple[Tensor, ...]], steps: int) -> Parameters:
        """The inner loop of all tasks at once.

        Args:
            loss: of one task, called as ``loss(parameters, *inputs)``.
            draw: gives the inputs of a step, each `(B, ...)`; called anew for every step.
            steps: how many, at least one.

        Returns:
            The adapted parameters, each `(B, ...)`.
        """
        parameters, batched = self.adapted_parameters(), None
        for _ in range(steps):
            inputs = draw()
            axes = (batched, *[0] * len(inputs))
            gradients = vmap(grad(loss), in_dims=axes, randomness="different")(parameters, *inputs)
            if self.first_order:
                gradients = {name: gradient.detach() for name, gradient in gradients.items()}
            parameters = {name: value - self.inner.inner_lr * gradients[name] for name, value in parameters.items()}
            batched = 0
        return parameters

    def adapt_to(self, support: Tensor, steps: int) -> Parameters:
        """Adapts to `(B, N, K, *shape)` support sets at layer L_S by their cross-entropy."""
        labels = torch.arange(support.shape[1], device=support.device).repeat_interleave(support.shape[2])
        examples = support.flatten(1, 2)

        def loss(parameters: Parameters, examples: Tensor) -> Tensor:
            return cross_entropy(self.logits(parameters, examples), labels)

        return self.adapt(loss, lambda: (examples,), steps)

    def logits_of_queries(self, parameters: Parameters, query: Tensor) -> Tensor:
        """Logits `(B, N * Q, N)` of `(B, N, Q, *shape)` queries at layer L_S, each task with its own parameters."""
        return logits_of_each(self.logits, parameters, query)

    def _query_logits(self, examples: Tensor, shots: int, steps: int) -> Tensor:
        support, query = self.sets(widened(examples), shots)
        return self.logits_of_queries(self.adapt_to(support, steps), query)


def logits_of_each(
    logits: Callable[[Parameters, Tensor, Runs], Tensor], parameters: Parameters, query: Tensor
) -> Tensor:
    """Logits `(B, N * Q, N)` of `(B, N, Q, *shape)` queries under the adapted parameters of their tasks, each `(B, ...)`.

    One task after the other: under vmap their convolutions would be groups of one, which on CPUs takes five times as long. Only
    first derivatives go through here, so that the library's normalisation and pooling are right.
    """
    unbound = zip(*(value.unbind() for value in parameters.values()), strict=True)
    found = []
    for values, task in zip(unbound, query, strict=True):
        examples = with_channels_last(task.transpose(0, 1).flatten(0, 1))  # a view of what passed a backbone
        found.append(logits(dict(zip(parameters, values, strict=True)), examples, (len(examples),)))
    ways, number = query.shape[1:3]
    return torch.stack(found).unflatten(1, (number, ways)).transpose(1, 2).flatten(1, 2)
