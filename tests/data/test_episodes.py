import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from datg.data.episodes import DeviceTable, TaskSampler
from datg.runtime.random_streams import generator
from tests.conftest import table_of

# A right sampler fails one of these tests once in a million runs.
FALSE_ALARM = 1e-6


def sampler_of(counts, *, ways=3, shots=2, queries=3):
    return TaskSampler(DeviceTable.from_table(table_of(counts)), ways=ways, shots=shots, queries=queries)


def draw_both(sampler, number):
    return sampler.draw(number, generator=generator(0, "t")), sampler.draw_numbered(0, number, seed=0)


def assert_uniform(observed: torch.Tensor, categories: int) -> None:
    counts = torch.bincount(observed.flatten(), minlength=categories).double()
    expected = counts.sum() / categories
    statistic = ((counts - expected) ** 2 / expected).sum().item()
    assert statistic < chi2.isf(FALSE_ALARM, categories - 1)


def test_tasks_have_distinct_classes_and_distinct_examples_of_those_classes():
    sampler = sampler_of([5, 9, 6, 30, 7])
    for tasks in draw_both(sampler, 300):
        assert tasks.classes.shape == (300, 3) and tasks.rows.shape == (300, 3, 5)
        assert all(len(set(row.tolist())) == 3 for row in tasks.classes)
        for classes, rows in zip(tasks.classes, tasks.rows, strict=True):
            for class_, examples in zip(classes, rows, strict=True):
                start, count = sampler.classes.starts[class_], sampler.classes.counts[class_]
                assert ((examples >= start) & (examples < start + count)).all()
                assert len(set(examples.tolist())) == 5


def test_classes_are_uniform_at_every_label():
    for tasks in draw_both(sampler_of([8] * 7), 7000):
        for way in range(3):
            assert_uniform(tasks.classes[:, way], 7)


def test_ordered_pairs_of_classes_are_uniform():
    for tasks in draw_both(sampler_of([8] * 5), 8000):
        pair = tasks.classes[:, 0] * 5 + tasks.classes[:, 1]
        valid = [a * 5 + b for a in range(5) for b in range(5) if a != b]
        position = torch.full((25,), -1)
        position[valid] = torch.arange(20)
        assert_uniform(position[pair], 20)


def test_examples_are_uniform_in_every_place_of_unequal_classes():
    counts = [6, 11, 20]
    sampler = sampler_of(counts)
    for tasks in draw_both(sampler, 9000):
        for class_, count in enumerate(counts):
            chosen = tasks.rows[tasks.classes == class_] - sampler.classes.starts[class_]
            for place in (0, 1, 2, 4):
                assert_uniform(chosen[:, place], count)


def test_tasks_can_be_kept_within_some_classes():
    sampler = sampler_of([8] * 9)
    within = torch.tensor([True, False, True] * 3)
    tasks = sampler.draw(200, generator=generator(0, "t"), within=within)
    assert set(tasks.classes.flatten().tolist()) == {0, 2, 3, 5, 6, 8}


@pytest.mark.parametrize("first", [0, 1, 7, 99])
def test_a_numbered_task_depends_on_seed_and_number_alone(first, monkeypatch):
    sampler = sampler_of([5, 9, 6, 30, 7])
    everything = sampler.draw_numbered(0, 120, seed=4)
    part = sampler.draw_numbered(first, 20, seed=4)
    assert torch.equal(part.rows, everything.rows[first : first + 20])
    monkeypatch.setattr("datg.data.episodes.KEYS_AT_ONCE", 1000)  # a few tasks at once
    assert torch.equal(sampler.draw_numbered(first, 20, seed=4).rows, part.rows)
    assert not torch.equal(sampler.draw_numbered(first, 20, seed=5).rows, part.rows)


def test_the_same_generator_gives_the_same_tasks():
    sampler = sampler_of([8] * 5)
    first, again, other = (sampler.draw(5, generator=generator(seed, "t")) for seed in (0, 0, 1))
    assert torch.equal(first.rows, again.rows) and not torch.equal(first.rows, other.rows)


def test_gathered_pictures_are_scaled_and_the_table_is_left_alone():
    table = table_of([8] * 5)
    before = table.examples.copy()
    classes = DeviceTable.from_table(table)
    rows = torch.tensor([[3, 20], [7, 39]])
    found = classes.gather(rows)
    assert found.dtype == torch.float32 and found.shape == (2, 2, 3, 16, 16)
    np.testing.assert_allclose(found.numpy(), before[rows.numpy()] / 255, rtol=1e-6)
    assert (table.examples == before).all()


def test_examples_on_the_cpu_are_shared_and_not_copied():
    table = table_of([8] * 5)
    assert DeviceTable.from_table(table).examples.data_ptr() == table.examples.__array_interface__["data"][0]


def test_the_false_alarm_rate_is_the_stated_one():
    assert math.isclose(chi2.sf(chi2.isf(FALSE_ALARM, 19), 19), FALSE_ALARM, rel_tol=1e-6)
