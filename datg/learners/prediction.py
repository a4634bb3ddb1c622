"""Query logits of many tasks of the same classes: what is the same in every task is computed once.

With running statistics an example's embedding is the same in every task, and distances are sums of scalar products of embeddings.
With batch statistics it is what the first block makes of an example up to the normalisation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from datg.backbones.backbone import Backbone, Begun
from datg.precision import widened
from datg.tasks import Classes

if TYPE_CHECKING:
    from datg.learners.inner_loop import InnerLoop
    from datg.learners.learner import Learner

VALUES_AT_ONCE = 5_000_000  # input values through a backbone: 2,000 pictures of 28 x 28, whose activations take 0.2 GB
EXAMPLES_AT_ONCE = 40_000  # looked up among products of embeddings: at 5 shots 6 million numbers
EMBEDDINGS_AT_ONCE = 8_000  # gathered embeddings stay within a processor's cache
MOST_PRODUCTS = 1 << 27  # 0.5 GiB, for 11,585 examples; products of more cost as much as the distances of 20,000 tasks
MOST_BEGUN_BYTES = 2 << 30
EXAMPLES_ADAPTED_AT_ONCE = 5_000  # 62 tasks of 5 ways with 16 examples each


@dataclass(frozen=True)
class Predictor:
    """Classifies queries of tasks of some classes.

    Attributes:
        logits: of `(B, N, K + Q)` rows, `(B, N * Q, N)`; queries stand class by class.
        examples_at_once: how many rows one call may have, to bound memory.
    """

    logits: Callable[[Tensor], Tensor]
    examples_at_once: int


def by_passing(learner: "Learner", classes: Classes, shots: int) -> Predictor:
    """Every task passes the whole network."""
    return Predictor(lambda rows: learner.predict(classes.gather_tasks(rows), shots), examples_at_once(classes))


def by_products(
    backbone: Backbone, classes: Classes, classify: Callable[[Tensor, int], Tensor], shots: int
) -> Predictor:
    """Minus squared distances of queries to prototypes, under running statistics.

    With G the scalar products of all embeddings, || q - mean_k s_k ||^2 = G_qq - 2 mean_k G_qk + mean_kl G_kl: looked up.
    Where G would be too large, ``classify`` takes the embeddings of a block of tasks.
    """
    embedded, places = embed_all(backbone, classes), _places(classes)
    number = len(embedded.examples)
    if number**2 > MOST_PRODUCTS:
        return Predictor(lambda rows: classify(embedded.gather_tasks(places[rows]), shots), EMBEDDINGS_AT_ONCE)
    products = embedded.examples @ embedded.examples.T

    def logits(rows: Tensor) -> Tensor:
        ways, rows = rows.shape[1], places[rows]
        support, query = rows[:, :, :shots], rows[:, :, shots:].flatten(1)
        crossed = products.take(query[..., None] * number + support.flatten(1)[:, None])
        own = products.take(support[..., None] * number + support[:, :, None]).mean((2, 3))
        queries = products.diagonal()[query]
        return 2 * crossed.unflatten(2, (ways, shots)).mean(3) - own[:, None] - queries[..., None]

    return Predictor(logits, EXAMPLES_AT_ONCE)


def by_adapting(learner: "InnerLoop", classes: Classes, shots: int) -> Predictor:
    """Shared layers in small blocks of tasks, the first of them begun once for all tasks; inner loops of many tasks at once."""
    begun = _begin_all(learner, classes)
    if begun is None:
        return by_passing(learner, classes, shots)
    places, at_once = _places(classes), examples_at_once(classes)

    def logits(rows: Tensor) -> Tensor:
        sets = learner.set_sizes(shots, rows.shape[2] - shots)
        parts = places[rows].split(max(1, at_once // rows[0].numel()))
        encoded = [learner.backbone.finish(begun, part, learner.last_shared, sets=sets) for part in parts]
        return learner.predict_encoded(torch.cat([widened(part) for part in encoded]), shots)

    return Predictor(logits, max(at_once, EXAMPLES_ADAPTED_AT_ONCE))


def _begin_all(learner: "InnerLoop", classes: Classes) -> Begun | None:
    """What the first block makes of every example by itself; None where no layer is shared, or memory would not do."""
    if learner.last_shared == 0:
        return None
    rows, at_once = own_rows(classes), examples_at_once(classes)
    parts = []
    for part in rows.split(at_once):
        parts.append(learner.backbone.begin(classes.gather(part)))
        if parts[0].values[0].nbytes * len(rows) > MOST_BEGUN_BYTES:
            return None
    return Begun(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def embed_all(backbone: Backbone, classes: Classes) -> Classes:
    """The classes with each of their examples replaced by its embedding, from running statistics."""
    rows = own_rows(classes)
    embedded = []
    for part in rows.split(examples_at_once(classes)):
        embedded.append(widened(backbone(classes.gather(part)[None, None], running=True)[0, 0].flatten(1)))
    return Classes(torch.cat(embedded), classes.counts.cumsum(0) - classes.counts, classes.counts)


def examples_at_once(classes: Classes) -> int:
    """How many examples may pass a backbone together."""
    return max(1, VALUES_AT_ONCE // classes.examples[0].numel())


def own_rows(classes: Classes) -> Tensor:
    """The rows of these classes in the table, class by class."""
    device, ends = classes.starts.device, classes.counts.cumsum(0)
    # Row i of the result belongs to the class that i falls into.
    owner = torch.repeat_interleave(torch.arange(len(classes), device=device), classes.counts)
    return torch.arange(int(ends[-1]), device=device) - (ends - classes.counts)[owner] + classes.starts[owner]


def _places(classes: Classes) -> Tensor:
    """Where each row of the table stands in :func:`own_rows`."""
    rows = own_rows(classes)
    places = torch.full((len(classes.examples),), -1, device=rows.device)
    places[rows] = torch.arange(len(rows), device=rows.device)
    return places
