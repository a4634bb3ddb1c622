"""Query logits of many tasks of the same classes: what is the same in every task is computed once.

With running statistics an example's embedding is the same in every task, and distances are sums of scalar products of embeddings.
With batch statistics it is what the first block makes of an example up to the normalisation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from datg.backbones.backbone import Backbone
from datg.data.episodes import DeviceTable
from datg.runtime.gpu import buffer_bytes
from datg.runtime.precision import to_float32

BYTES_AT_ONCE = 640_000_000  # of activations: those of 2,000 pictures of 28 x 28
BYTES_A_VALUE = 128  # of activations for each input value, with what a normalisation holds beside them


@dataclass(frozen=True)
class Predictor:
    """Classify queries of tasks of some classes.

    Attributes:
        logits: of `(B, N, K + Q)` rows, `(B, N * Q, N)`; queries stand class by class.
        examples_at_once: how many rows one call may have, to bound memory.
    """

    logits: Callable[[Tensor], Tensor]
    examples_at_once: int


def embed_all(backbone: Backbone, classes: DeviceTable) -> DeviceTable:
    """Return the classes with each of their examples replaced by its embedding, from running statistics."""
    rows = own_rows(classes)
    embedded = []
    for part in rows.split(examples_at_once(classes.examples)):
        embedded.append(to_float32(backbone(classes.gather(part)[None, None], running=True)[0, 0].flatten(1)))
    return DeviceTable(torch.cat(embedded), classes.counts.cumsum(0) - classes.counts, classes.counts)


@torch.no_grad()
def embed_examples(backbone: Backbone, examples: Tensor) -> Tensor:
    """Return `(n, d)` embeddings of `(n, *shape)` examples as a task holds them, from running statistics."""
    return to_float32(backbone(examples[None, None], running=True)[0, 0].flatten(1))


def shares(labels: Tensor) -> Tensor:
    """Return `(N, S)`: the share of each of S examples in the mean of its class, from `(S,)` labels 0 to N - 1."""
    own = one_hot(labels).T.float()
    return own / own.sum(1, keepdim=True)


def examples_at_once(examples: Tensor) -> int:
    """Return how many of `(n, *shape)` may pass a backbone together: on a GPU more, by the memory that this process may use."""
    values = buffer_bytes(examples.device, on_cpu=BYTES_AT_ONCE) // BYTES_A_VALUE
    return max(1, values // examples[0].numel())


def own_rows(classes: DeviceTable) -> Tensor:
    """Return the `(n,)` rows of these classes in the table, class by class."""
    device, ends = classes.starts.device, classes.counts.cumsum(0)
    # Row i of the result belongs to the class that i falls into.
    owner = torch.arange(len(classes), device=device).repeat_interleave(classes.counts, output_size=classes.total)
    return torch.arange(classes.total, device=device) - (ends - classes.counts)[owner] + classes.starts[owner]


def row_places(classes: DeviceTable) -> Tensor:
    """Return `(rows of the table,)`: where each stands in :func:`own_rows`, -1 for those of other classes."""
    rows = own_rows(classes)
    places = torch.full((len(classes.examples),), -1, device=rows.device)
    places[rows] = torch.arange(len(rows), device=rows.device)
    return places
