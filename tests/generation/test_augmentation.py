import itertools

import numpy as np
import pytest
import torch

from datg.generation.augmentation import AUGMENTATIONS, CELL_POOL, PICTURE_POOL, Source, augment
from datg.generation.channel_shuffle import group_bounds, shuffle_channels
from datg.runtime.random_streams import generator

SHOTS, WAYS, QUERIES = 2, 3, 4
SHAPES = {"pictures": (3, 8, 8), "cells": (40,)}


def examples_of(kind, tasks=6):
    return torch.rand(tasks, WAYS, SHOTS + QUERIES, *SHAPES[kind], generator=generator(0, "x")) + 0.1


def augmented(examples, entries, seed=0):
    source = Source(np.random.default_rng(seed), generator(seed, "noise"), 2.0)
    return augment(examples, SHOTS, entries, source)


def kinds_of(name):
    return list(SHAPES) if AUGMENTATIONS[name].needs == "any" else ["pictures"]


CASES = [(name, kind) for name in AUGMENTATIONS for kind in kinds_of(name)]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_only_tasks_that_drew_it_are_changed_and_only_where_it_belongs(name, kind):
    examples = examples_of(kind)
    before = examples.clone()
    found = augmented(examples, ["identity", name] * 3)
    assert torch.equal(examples, before)
    own = torch.arange(WAYS).repeat_interleave(QUERIES)
    for task in (0, 2, 4):
        assert torch.equal(found.examples[task], examples[task])
        assert found.mixing_ratios[task] == 1 and torch.equal(found.second_labels[task], own)
    changed = (found.examples != examples).flatten(3).any(3)[1::2]
    if name != "identity":
        assert changed.any()
    if name.startswith("q"):
        assert not changed[:, :, :SHOTS].any()
    if name.startswith("s"):
        assert not changed[:, :, SHOTS:].any()


def test_query_cutmix_tells_the_share_of_each_picture_and_both_labels():
    examples = examples_of("pictures")
    found = augmented(examples, ["qcm"] * 6)
    for task in range(6):
        queries, mixed = examples[task, :, SHOTS:].flatten(0, 1), found.queries[task]
        kept = (mixed == queries).all(
            1
        )  # the same pixels in all queries of the task, apart from those that met themselves
        inside = ~kept.all(0)
        torch.testing.assert_close(found.mixing_ratios[task, 0], 1 - inside.float().mean(), rtol=0, atol=1e-6)
        for query in range(WAYS * QUERIES):
            if not inside.any() or kept[query].all():
                continue
            partner = [p for p in range(len(queries)) if torch.equal(queries[p][:, inside], mixed[query][:, inside])]
            assert len(partner) == 1 and found.second_labels[task, query] == partner[0] // QUERIES


def test_query_mixup_is_linear_with_both_labels():
    examples = examples_of("cells")
    found = augmented(examples, ["qmix"] * 6)
    for task, query in itertools.product(range(6), range(WAYS * QUERIES)):
        queries, share = examples[task, :, SHOTS:].flatten(0, 1), found.mixing_ratios[task, 0]
        others = (found.queries[task, query] - share * queries[query]) / (1 - share)
        partner = (queries - others).abs().amax(1).argmin()
        torch.testing.assert_close(others, queries[partner], rtol=1e-3, atol=1e-3)
        assert found.second_labels[task, query] == partner // QUERIES


def test_a_rotation_turns_all_examples_of_a_class_alike():
    examples = examples_of("pictures", tasks=60)
    found = augmented(examples, ["tlr"] * 60).examples
    turns = np.zeros(4)
    for task, way in itertools.product(range(60), range(WAYS)):
        fits = [k for k in range(4) if torch.equal(found[task, way], torch.rot90(examples[task, way], k, (-2, -1)))]
        assert len(fits) == 1
        turns[fits[0]] += 1
    # Half of 180 classes stay; 5 standard errors are 0.19.
    assert abs(turns[0] / 180 - 0.5) < 0.19 and (turns[1:] > 0).all()


def test_mixed_classes_are_mixed_whole_with_another_class():
    examples = examples_of("cells")
    found = augmented(examples, ["tmix"] * 6).examples
    for task, way in itertools.product(range(6), range(WAYS)):
        fits = []
        for other in set(range(WAYS)) - {way}:
            difference = examples[task, way] - examples[task, other]
            share = 1 - ((examples[task, way] - found[task, way]) * difference).sum() / difference.square().sum()
            mixed = share * examples[task, way] + (1 - share) * examples[task, other]
            if torch.allclose(mixed, found[task, way], atol=1e-5):
                fits.append(float(share))
        assert len(fits) == 1 and 0.5 <= fits[0] <= 1


@pytest.mark.parametrize(
    ("name", "kind"), [("sre", "pictures"), ("qre", "pictures"), ("smask", "cells"), ("qmask", "cells")]
)
def test_what_is_erased_is_zero_and_the_rest_is_untouched(name, kind):
    examples = examples_of(kind, tasks=40)
    found = augmented(examples, [name] * 40).examples
    gone = found != examples
    assert (found[gone] == 0).all()
    part = gone[:, :, :SHOTS] if name.startswith("s") else gone[:, :, SHOTS:]
    if kind == "cells":  # a fifth of the genes; 9,600 draws of 0.2 miss by 0.02 once in a million times
        assert abs(float(part.float().mean()) - 0.2) < 0.02
    else:  # half of the pictures, a box each, all channels alike
        assert torch.equal(part[..., 0, :, :], part[..., 1, :, :])
        erased = part.flatten(3).any(3).float().mean()
        assert abs(float(erased) - 0.5) < 5 * 0.5 / part.shape[0] ** 0.5


def test_the_published_pools_hold_what_was_published():
    assert set(PICTURE_POOL) == {"qcm", "qre", "sre", "tlr", "qcm+tlr", "qre+tlr"}
    assert set(CELL_POOL) == {"qmix", "qmask", "smask", "tmix", "qmix+tmix", "qmask+tmix"}


def test_an_entry_of_two_does_both():
    examples = examples_of("pictures", tasks=20)
    found = augmented(examples, ["qcm+tlr"] * 20)
    assert (found.mixing_ratios < 1).any()
    assert any(not torch.equal(found.examples[t, :, :SHOTS], examples[t, :, :SHOTS]) for t in range(20))


@pytest.mark.parametrize(("channels", "bounds"), [(32, [0, 6, 11, 16, 22, 27, 32]), (64, [0, 11, 22, 32, 43, 54, 64])])
def test_six_groups_of_channels(channels, bounds):
    assert group_bounds(channels, 6) == bounds


@pytest.mark.parametrize("shape", [(12, 4, 4), (12,)])
def test_a_group_of_channels_comes_from_the_partner_class(shape):
    examples = torch.rand(2, 3, 4, *shape, generator=generator(0, "x"))
    partners, chosen = torch.tensor([[1, 2, 0], [2, 0, 1]]), torch.tensor([0, 5])
    found = shuffle_channels(examples, partners, chosen, 6)
    for task, way, example in itertools.product(range(2), range(3), range(4)):
        low, high = group_bounds(12, 6)[chosen[task] : chosen[task] + 2]
        expected = examples[task, way, example].clone()
        expected[low:high] = examples[task, partners[task, way], example, low:high]
        assert torch.equal(found[task, way, example], expected)
