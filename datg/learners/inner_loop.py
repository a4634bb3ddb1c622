"""What learners that adapt to each task by gradient steps share.

Per task, with phi the adapted parameters (the blocks above L_S and the head):

    phi_0 = their meta-parameters,    phi_{t+1} = phi_t - inner_lr * grad_phi CE(support; phi_t).

Every set is normalised by its own batch statistics, in training and in evaluation: evaluation is
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

from datg.backbones.backbone import Backbone, PreNormActivations, initialise, with_channels_last
from datg.backbones.batch_norm import WHOLE, NormMode, by_runs
from datg.data.episodes import DeviceTable
from datg.learners.learner import LearnerOptions, MakeBackbone, NamedLearner
from datg.learners.prediction import Predictor, examples_at_once, own_rows, row_places, shares
from datg.runtime.gpu import buffer_bytes, wants_few_kernels
from datg.runtime.precision import to_float32

Parameters = dict[str, Tensor]
MOST_PRECOMPUTED_BYTES = 2 << 30
BYTES_ADAPTED_AT_ONCE = 1_280_000_000  # 5,000 examples, 62 tasks of 5 ways with 16 examples each
BYTES_AN_EXAMPLE = 256_000  # that an inner loop holds for an example of an 84 x 84 picture


@dataclass(frozen=True, kw_only=True)
class InnerLoopOptions(LearnerOptions):
    """Hold the options of an inner loop.

    Attributes:
        inner_lr: learning rate of a step.
        inner_steps: steps in training.
        inner_steps_test: steps in evaluation.
    """

    inner_lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.01
    inner_steps: Annotated[int, Field(ge=1)] = 5
    inner_steps_test: Annotated[int, Field(ge=1)] = 10


class InnerLoop(NamedLearner, ABC):
    """Adapt the blocks of a backbone above L_S, and a linear head, to each task."""

    def __init__(self, backbone: Backbone, options: Any, *, ways: int, generator: torch.Generator) -> None:
        """Add a classifier of ``ways`` outputs to ``backbone``, which keeps no running statistics."""
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
        """Return False: batch statistics differ from task to task."""
        return False

    @property
    def first_order(self) -> bool:
        """Return whether inner gradients are constants to the outer one."""
        return False

    def set_sizes(self, shots: int, queries: int) -> tuple[int, ...]:
        """Normalise support and query each by itself."""
        return shots, queries

    @property
    def ways(self) -> int:
        """Return the number of outputs of the classifier."""
        return self.head.out_features

    def classify(self, examples: Tensor, shots: int) -> Tensor:
        """Return query logits `(B, N * Q, N)` of learners adapted to each support set."""
        return self._query_logits(examples, shots, self.inner.inner_steps)

    def predict(self, examples: Tensor, shots: int, labels: Tensor | None = None) -> Tensor:
        """See :meth:`Learner.predict`."""
        return self.predict_encoded(self.encode(examples, shots, 0, self.last_shared), shots, labels)

    def predictor(self, classes: DeviceTable, shots: int) -> Predictor:
        """See :meth:`Learner.predictor`."""
        return _predictor_by_adapting(self, classes, shots) or super().predictor(classes, shots)

    def predict_encoded(self, examples: Tensor, shots: int, labels: Tensor | None = None) -> Tensor:
        """Return query logits `(B, N * Q, N)` as :meth:`predict` does, from examples at layer L_S."""
        return self._query_logits(examples, shots, self.inner.inner_steps_test, labels)

    def unadapted_logits(self, examples: Tensor) -> Tensor:
        """Return logits `(B, n, N)` of `(B, n, *shape)` examples at layer L_S under the meta-parameters, each n one batch."""
        features = to_float32(self.backbone(examples[:, None], self.last_shared)[:, 0].flatten(2))
        logits: Tensor = self.head(features)
        return logits

    def forward(self, examples: Tensor, mode: NormMode = WHOLE) -> Tensor:
        """Return logits `(n, N)` of one set of `(n, *shape)` examples at layer L_S: the part that is adapted."""
        for block in self.backbone.blocks[self.last_shared :]:
            examples = block(examples, mode)
        logits: Tensor = self.head(examples.flatten(1))
        return logits

    def logits(self, parameters: Parameters, examples: Tensor, mode: NormMode = WHOLE) -> Tensor:
        """Return logits `(n, N)` as :meth:`forward` does, with adapted ``parameters`` in the place of the meta-parameters."""
        logits: Tensor = functional_call(self, parameters, (examples, mode))
        return logits

    def adapted_parameters(self) -> Parameters:
        """Return the meta-parameters from which the inner loop starts, by name."""
        indices = range(self.last_shared, self.backbone.depth)
        prefixes = ("head.", *(f"backbone.blocks.{index}." for index in indices))
        return {name: value for name, value in self.named_parameters() if name.startswith(prefixes)}

    def adapt(self, loss: Callable[..., Tensor], draw: Callable[[], tuple[Tensor, ...]], steps: int) -> Parameters:
        """Return the inner loop of all tasks at once.

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

    def adapt_to(self, support: Tensor, steps: int, labels: Tensor | None = None) -> Parameters:
        """Adapt to `(B, N, K, *shape)` support sets at layer L_S by their cross-entropy, the mean over classes of their means.

        With `(S,)` ``labels`` the support sets are `(B, 1, S, *shape)`.
        """
        support_loss = support_cross_entropy(support, labels)
        examples = support.flatten(1, 2)

        def loss(parameters: Parameters, examples: Tensor) -> Tensor:
            return support_loss(self.logits(parameters, examples))

        return self.adapt(loss, lambda: (examples,), steps)

    def logits_of_queries(self, parameters: Parameters, query: Tensor) -> Tensor:
        """Return logits `(B, N * Q, N)` of `(B, N, Q, *shape)` queries at layer L_S, each task with its own parameters."""
        return logits_of_each(self.logits, parameters, query)

    def _query_logits(self, examples: Tensor, shots: int, steps: int, labels: Tensor | None = None) -> Tensor:
        support, query = self.sets(to_float32(examples), shots)
        return self.logits_of_queries(self.adapt_to(support, steps, labels), query)


def support_cross_entropy(support: Tensor, labels: Tensor | None) -> Callable[[Tensor], Tensor]:
    """Return the loss of `(N * K, N)` logits of a support set, every class with the same weight.

    Args:
        support: `(B, N, K, ...)`, or `(B, 1, S, ...)` with labels.
        labels: `(S,)`, where classes have unequal numbers of examples.
    """
    if labels is None:
        own = torch.arange(support.shape[1], device=support.device).repeat_interleave(support.shape[2])
        return lambda logits: cross_entropy(logits, own)
    weights = shares(labels).sum(0) / (labels.max() + 1)
    return lambda logits: (weights * cross_entropy(logits, labels, reduction="none")).sum()


def _predictor_by_adapting(learner: InnerLoop, classes: DeviceTable, shots: int) -> Predictor | None:
    """Precompute the first shared layer once, pass the others in small blocks of tasks, adapt many tasks at once."""
    precomputed = _precompute_all(learner, classes)
    if precomputed is None:
        return None
    places, at_once = row_places(classes), examples_at_once(classes.examples)

    def logits(rows: Tensor) -> Tensor:
        sets = learner.set_sizes(shots, rows.shape[2] - shots)
        parts = places[rows].split(max(1, at_once // rows[0].numel()))
        encoded = [learner.backbone.apply_norm(precomputed, part, learner.last_shared, sets=sets) for part in parts]
        return learner.predict_encoded(torch.cat([to_float32(part) for part in encoded]), shots)

    adapted = buffer_bytes(classes.examples.device, on_cpu=BYTES_ADAPTED_AT_ONCE) // BYTES_AN_EXAMPLE
    return Predictor(logits, max(at_once, adapted))


def _precompute_all(learner: InnerLoop, classes: DeviceTable) -> PreNormActivations | None:
    """Return what the first block makes of every example by itself; None where no layer is shared, or memory would not do."""
    if learner.last_shared == 0:
        return None
    rows, at_once = own_rows(classes), examples_at_once(classes.examples)
    most = buffer_bytes(classes.examples.device, on_cpu=MOST_PRECOMPUTED_BYTES)
    parts = []
    for part in rows.split(at_once):
        parts.append(learner.backbone.precompute(classes.gather(part)))
        if parts[0].values[0].nbytes * len(rows) > most:
            return None
    return PreNormActivations(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def logits_of_each(
    logits: Callable[[Parameters, Tensor, NormMode], Tensor], parameters: Parameters, query: Tensor
) -> Tensor:
    """Return logits `(B, N * Q, N)` of `(B, N, Q, *shape)` queries under the adapted parameters of their tasks, each `(B, ...)`.

    On CPUs one task after the other: under vmap their convolutions would be groups of one, which takes five times as long. Only
    first derivatives go through here, so that the library's normalisation and pooling are right. On a GPU all at once: there the
    number of kernels costs more.
    """
    ways, number = query.shape[1:3]
    if wants_few_kernels(query):
        examples = query.transpose(1, 2).flatten(1, 2)
        outputs = vmap(lambda values, task: logits(values, task, WHOLE), randomness="different")(parameters, examples)
        return _class_by_class(outputs, ways, number)
    unbound = zip(*(value.unbind() for value in parameters.values()), strict=True)
    one_by_one = []
    for values, task in zip(unbound, query, strict=True):
        examples = with_channels_last(task.transpose(0, 1).flatten(0, 1))  # a view of what passed a backbone
        one_by_one.append(logits(dict(zip(parameters, values, strict=True)), examples, by_runs(len(examples))))
    return _class_by_class(torch.stack(one_by_one), ways, number)


def _class_by_class(logits: Tensor, ways: int, number: int) -> Tensor:
    """Return `(B, N * Q, N)` logits of queries that stand one of each class after the other so that they stand class by class."""
    return logits.unflatten(1, (number, ways)).transpose(1, 2).flatten(1, 2)
