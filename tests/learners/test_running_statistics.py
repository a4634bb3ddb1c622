import copy

import pytest
import torch

from datg.data.episodes import DeviceTable, TaskSampler
from datg.learners.prediction import BYTES_A_VALUE
from datg.learners.running_statistics import accumulate_running_statistics
from datg.runtime.random_streams import derive_seed
from tests.conftest import learner_of, table_of

SHAPES = {"pictures": (3, 16, 16), "cells": (30,)}


def make(kind, **options):
    sampler = TaskSampler(DeviceTable.from_table(table_of([9, 12, 8, 20], SHAPES[kind])), ways=3, shots=2, queries=4)
    return learner_of("protonet", shape=SHAPES[kind], **options), sampler


@pytest.mark.parametrize("kind", SHAPES)
def test_they_are_mean_and_variance_of_what_each_block_normalises_in_all_tasks(kind):
    learner, sampler = make(kind)
    accumulate_running_statistics(learner, sampler, seed=5, tasks=7)
    drawn = sampler.draw_numbered(0, 7, seed=derive_seed(5, "running statistics"))
    backbone = learner.eval().backbone
    for index, block in enumerate(backbone.blocks):
        preactivations = []
        for task in range(7):
            examples = sampler.classes.gather_tasks(drawn.rows[task : task + 1])
            reached = learner.encode(examples, 2, 0, index)  # every task normalised by itself
            preactivations.append(block.affine(reached.flatten(0, 2)))
        values = torch.cat(preactivations).transpose(0, 1).flatten(1)
        torch.testing.assert_close(block.norm.running_mean, values.mean(1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(block.norm.running_var, values.var(1), rtol=1e-4, atol=1e-5)


def test_they_depend_neither_on_what_was_there_nor_on_blocks_of_tasks(monkeypatch):
    learner, sampler = make("pictures")
    found = []
    for at_once in (10**9, 3 * 16 * 16 * 40):
        monkeypatch.setattr("datg.learners.prediction.BYTES_AT_ONCE", at_once * BYTES_A_VALUE)
        accumulate_running_statistics(learner, sampler, seed=5, tasks=7)
        found.append({name: value.clone() for name, value in learner.state_dict().items() if "running" in name})
    assert found[0] and all(name in found[1] for name in found[0])
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name])


def test_the_mode_is_left_as_it_was_and_nothing_moves_afterwards():
    learner, sampler = make("pictures")
    accumulate_running_statistics(learner.train(), sampler, seed=0, tasks=2)
    assert learner.training
    before = copy.deepcopy(learner.state_dict())
    learner.encode(sampler.classes.gather_tasks(sampler.draw_numbered(0, 2, seed=1).rows), 2, 0, learner.backbone.depth)
    assert all(torch.equal(before[name], value) for name, value in learner.state_dict().items())


def test_a_learner_that_has_none_is_left_alone():
    learner, sampler = make("pictures", evaluation_statistics="batch")
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    accumulate_running_statistics(learner, sampler, seed=0)
    assert all(torch.equal(before[name], value) for name, value in learner.state_dict().items())


def test_whoever_is_told_of_progress_may_end_it_and_nothing_has_changed(monkeypatch):
    learner, sampler = make("pictures")
    monkeypatch.setattr("datg.learners.prediction.BYTES_AT_ONCE", 3 * 16 * 16 * 40 * BYTES_A_VALUE)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    done = []

    def stop(tasks):
        done.append(tasks)
        if tasks >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        accumulate_running_statistics(learner, sampler, seed=0, tasks=7, progress=stop)
    assert done == [2, 4] and all(torch.equal(before[name], value) for name, value in learner.state_dict().items())
