from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.textbook import Textbook, loss_of
from datg.data.episodes import DeviceTable, TaskSampler
from datg.learners.running_statistics import accumulate_running_statistics
from datg.runtime.random_streams import RandomStreams
from datg.strategies import STRATEGIES
from datg.trial.evaluation import evaluate
from tests.conftest import batch_of, learner_of, table_of

SHAPE = (3, 20, 20)


@pytest.mark.parametrize("shots", [1, 3])
@pytest.mark.parametrize("strategy", ["vanilla", "datg"])
@pytest.mark.parametrize("learner", ["protonet", "maml"])
def test_losses_and_gradients_are_those_of_the_textbook(learner, strategy, shots):
    net, made = learner_of(learner, shape=SHAPE), STRATEGIES[strategy]()
    batch = batch_of(table_of([9] * 12, SHAPE), shots=shots, size=4, clusters=2)
    textbook = Textbook.of(net, batch.sampler.classes)
    for seed in range(3):  # several sets of mixing layers
        ours = made.losses(net, replace(batch, streams=RandomStreams.from_seed(seed))).total
        theirs = loss_of(textbook, replace(batch, streams=RandomStreams.from_seed(seed)), made)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        parameters = list(net.parameters())
        torch.testing.assert_close(
            torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters), rtol=1e-2, atol=1e-3
        )


@pytest.mark.parametrize("shots", [1, 3])
@pytest.mark.parametrize("learner", ["protonet", "maml"])
def test_accuracies_are_those_of_the_textbook(learner, shots):
    net = learner_of(learner, shape=SHAPE)
    sampler = TaskSampler(DeviceTable.from_table(table_of([9, 14, 11, 10, 12], SHAPE)), ways=3, shots=shots, queries=4)
    accumulate_running_statistics(net, sampler, seed=0, tasks=5)
    found = evaluate(net, sampler, tasks=40, seed=0, purpose="test").accuracies
    textbook = Textbook.of(net.eval(), sampler.classes)
    expected = np.array([textbook.accuracy(sampler, number, seed=0, purpose="test") for number in range(40)])
    # A query on a border may fall to the other side by rounding.
    assert np.abs(found - expected).max() <= 1 / 12 + 1e-6
    assert (np.abs(found - expected) < 1e-6).mean() > 0.9
