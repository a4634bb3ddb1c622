"""Augmentations of tasks, and pools of them, for Meta-MaxUp (Ni et al. 2021).

Every augmentation works on a batch of tasks at once and on those of them that have drawn it; the others stay as they are, to
the bit. Letters: n tasks, N ways, K shots, Q queries.

Pictures: qcm (query CutMix), qre and sre (random erasing of queries, of support examples), tlr (rotation of whole classes,
each of which becomes a new class). Cells, for which nothing is published: qmix (query Mixup), qmask and smask (a share of the
genes set to zero), tmix (every class mixed with another one, giving new classes).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datg.generation.boxes import areas, box_masks, cutmix_boxes, erasing_boxes
from datg.generation.mixup import draw_cycles, draw_pairings, mix
from datg.runtime.random_streams import to_device_async

ERASING_SHARE = 0.5  # of the examples
ERASED_AREA = (0.02, 0.4)
ERASED_ASPECT = (0.3, 1 / 0.3)
TURNS = (0, 0, 0, 1, 2, 3)  # quarter turns of a class
MASKED_SHARE = 0.2  # of the genes
Chosen = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Augmented:
    """Hold tasks on their way through augmentations.

    Attributes:
        examples: `(n, N, K + Q, *shape)`.
        shots: K.
        second_labels: `(n, N * Q)` the second label of each query.
        mixing_ratios: `(n, 1)` the weight of the first label, 1 where there is only one.
    """

    examples: Tensor
    shots: int
    second_labels: Tensor
    mixing_ratios: Tensor

    @property
    def queries(self) -> Tensor:
        """Return `(n, N * Q, *shape)`."""
        return self.examples[:, :, self.shots :].flatten(1, 2)

    def with_queries(self, queries: Tensor) -> Tensor:
        """Return the examples with other `(n, N * Q, *shape)` queries."""
        support = self.examples[:, :, : self.shots]
        return torch.cat([support, queries.unflatten(1, (support.shape[1], -1))], dim=2)


@dataclass(frozen=True)
class Source:
    """Say where augmentations draw from.

    Attributes:
        rng: small things.
        noise: large ones, on the device of the examples.
        alpha: lambda ~ Beta(alpha, alpha) of what mixes queries.
    """

    rng: np.random.Generator
    noise: torch.Generator
    alpha: float


def augment(examples: Tensor, shots: int, entries: Sequence[str], source: Source) -> Augmented:
    """Augment each of n tasks by its own entry of a pool: names of augmentations joined by ``+``.

    Whole classes are changed before single examples are.
    """
    tasks, ways, number = examples.shape[:3]
    labels = torch.arange(ways, device=examples.device).repeat_interleave(number - shots).repeat(tasks, 1)
    state = Augmented(examples, shots, labels, torch.ones(tasks, 1, device=examples.device))
    for name, augmentation in AUGMENTATIONS.items():
        chosen = np.array([name in entry.split("+") for entry in entries])
        if chosen.any():
            state = augmentation.apply(state, chosen, source)
    return state


def _identity(state: Augmented, chosen: Chosen, source: Source) -> Augmented:
    return state


def _rotate_classes(state: Augmented, chosen: Chosen, source: Source) -> Augmented:
    tasks, ways = state.examples.shape[:2]
    turns = source.rng.choice(TURNS, size=(tasks, ways)) * chosen[:, None]
    wanted = to_device_async(turns, state.examples.device)[..., None, None, None, None]
    examples = state.examples
    for quarter in (1, 2, 3):
        examples = torch.where(wanted == quarter, torch.rot90(state.examples, quarter, (-2, -1)), examples)
    return replace(state, examples=examples)


def _mix_classes(state: Augmented, chosen: Chosen, source: Source) -> Augmented:
    examples = state.examples
    tasks, ways = examples.shape[:2]
    partners = to_device_async(draw_cycles(tasks, ways, source.rng), examples.device)
    other = examples[torch.arange(tasks, device=examples.device)[:, None], partners]
    mixing_ratios = np.where(chosen, source.rng.uniform(0.5, 1.0, size=tasks), 1.0)
    return replace(state, examples=mix(examples, other, _like(mixing_ratios, examples)))


def _erase(state: Augmented, chosen: Chosen, source: Source, part: slice) -> Augmented:
    """Set a box of some examples to zero, among the examples of ``part`` of each class."""
    *_, height, width = state.examples.shape
    number = state.examples.shape[:3]
    low, high = np.log(ERASED_ASPECT)
    aspects = np.exp(source.rng.uniform(low, high, size=number))
    boxes = erasing_boxes(source.rng.uniform(*ERASED_AREA, size=number), aspects, height, width, source.rng)
    erased = (source.rng.random(number) < ERASING_SHARE) & chosen[:, None, None]
    inside = np.zeros(number[2], dtype=bool)
    inside[part] = True
    boxes[~(erased & inside)] = 0
    mask = box_masks(to_device_async(boxes, state.examples.device), height, width)[:, :, :, None]
    return replace(state, examples=state.examples.masked_fill(mask, 0.0))


def _mask(state: Augmented, chosen: Chosen, source: Source, part: slice) -> Augmented:
    """Set a share of the values of each example to zero, among the examples of ``part`` of each class."""
    examples = state.examples
    drawn = torch.rand(examples.shape, generator=source.noise, device=examples.device)
    inside = torch.zeros(examples.shape[2], dtype=torch.bool, device=examples.device)
    inside[part] = True
    wanted = to_device_async(chosen, examples.device)[:, None, None] & inside
    wanted = wanted.view(*wanted.shape, *[1] * (examples.ndim - 3))
    return replace(state, examples=examples.masked_fill(wanted & (drawn < MASKED_SHARE), 0.0))


def _mix_queries(state: Augmented, chosen: Chosen, source: Source, *, boxes: bool) -> Augmented:
    """Mix each query with another one of its task and keep both labels: by CutMix or linearly."""
    queries = state.queries
    tasks, number = queries.shape[:2]
    partners = to_device_async(draw_pairings(tasks, number, source.rng), queries.device)
    other = queries[torch.arange(tasks, device=queries.device)[:, None], partners]
    mixing_ratios = np.where(chosen, source.rng.beta(source.alpha, source.alpha, size=tasks), 1.0)
    if boxes:
        *_, height, width = queries.shape
        cut = cutmix_boxes(1 - mixing_ratios, height, width, source.rng)
        mixing_ratios = 1 - areas(cut, height, width)
        masks = box_masks(to_device_async(cut, queries.device), height, width)
        mixed = torch.where(masks[:, None, None], other, queries)
    else:
        mixed = mix(queries, other, _like(mixing_ratios, queries))
    wanted = to_device_async(chosen, queries.device)[:, None]
    return replace(
        state,
        examples=state.with_queries(mixed),
        second_labels=torch.where(wanted, partners // (number // state.examples.shape[1]), state.second_labels),
        mixing_ratios=torch.where(wanted, _like(mixing_ratios, queries)[:, None], state.mixing_ratios),
    )


def _like(values: npt.NDArray[np.float64], tensor: Tensor) -> Tensor:
    return to_device_async(values.astype(np.float32), tensor.device)


@dataclass(frozen=True)
class Augmentation:
    """Describe one augmentation.

    Attributes:
        apply: changes the chosen tasks, `(n,)` bool.
        needs: ``any`` examples, ``pictures`` or ``square pictures``.
    """

    apply: Callable[[Augmented, Chosen, Source], Augmented]
    needs: str = "any"


def _supports(function: Callable[..., Augmented]) -> Callable[[Augmented, Chosen, Source], Augmented]:
    return lambda state, chosen, source: function(state, chosen, source, slice(0, state.shots))


def _queries(function: Callable[..., Augmented]) -> Callable[[Augmented, Chosen, Source], Augmented]:
    return lambda state, chosen, source: function(state, chosen, source, slice(state.shots, None))


# In the order in which they are applied: whole classes first.
AUGMENTATIONS: dict[str, Augmentation] = {
    "identity": Augmentation(_identity),
    "tlr": Augmentation(_rotate_classes, needs="square pictures"),
    "tmix": Augmentation(_mix_classes),
    "sre": Augmentation(_supports(_erase), needs="pictures"),
    "qre": Augmentation(_queries(_erase), needs="pictures"),
    "smask": Augmentation(_supports(_mask)),
    "qmask": Augmentation(_queries(_mask)),
    "qcm": Augmentation(lambda *arguments: _mix_queries(*arguments, boxes=True), needs="pictures"),
    "qmix": Augmentation(lambda *arguments: _mix_queries(*arguments, boxes=False)),
}

QUERY_MIXERS = {"qcm", "qmix"}  # each gives a query its second label, so an entry may hold one of them
PICTURE_POOL = ("qcm", "qre", "sre", "tlr", "qcm+tlr", "qre+tlr")
CELL_POOL = ("qmix", "qmask", "smask", "tmix", "qmix+tmix", "qmask+tmix")
