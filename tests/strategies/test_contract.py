"""Every strategy of the table, on every learner that it does not refuse, keeps the same promises."""

import itertools
from dataclasses import fields, is_dataclass

import pytest
import torch

from datg.backbones.conv4 import Conv4
from datg.errors import ConfigError
from datg.learners import LEARNERS
from datg.seeding import generator
from datg.strategies import STRATEGIES
from datg.strategies.vanilla import Vanilla
from datg.trial_config import TrialConfig
from tests.conftest import batch_of, table_of

PAIRS = [
    (strategy, learner)
    for strategy, learner in itertools.product(STRATEGIES, LEARNERS)
    if learner not in STRATEGIES[strategy].refused_learners
]
# The settings that switch a strategy off: it then is vanilla.
NO_MIXING = {"alpha": 1000.0, "beta": 1e-6}  # lambda = 1
OFF = {"random_mixup": NO_MIXING, "inter_cluster": NO_MIXING, "datg": {**NO_MIXING, "mmd_weight": 0.0}}


def learner_of(name, seed=0):
    built = LEARNERS[name].build(
        Conv4, LEARNERS[name].options(), generator=generator(seed, "net"), ways=3, shape=(3, 16, 16), filters=4
    )
    return built.train()


def batch_for(strategy, seed=0):
    return batch_of(table_of([8] * 12), seed=seed, clusters=2 if hasattr(strategy, "clusters") else 0)


def losses_and_gradients(strategy, learner_name, seed=0):
    learner = learner_of(learner_name)
    losses = strategy.losses(learner, batch_for(strategy, seed))
    return losses, torch.autograd.grad(losses.total, list(learner.parameters()))


@pytest.mark.parametrize(("strategy", "learner"), PAIRS)
def test_losses_are_finite_and_reach_every_parameter(strategy, learner):
    losses, gradients = losses_and_gradients(STRATEGIES[strategy](), learner)
    assert losses.total.shape == losses.cross_entropy.shape == ()
    assert all(torch.isfinite(value) for value in losses.parts().values())
    assert not any(value.requires_grad for value in losses.parts().values())
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert sum(float(gradient.abs().sum()) > 0 for gradient in gradients) >= len(gradients) - 4  # biases before a norm


@pytest.mark.parametrize(("strategy", "learner"), PAIRS)
def test_the_seed_decides_everything(strategy, learner):
    built = STRATEGIES[strategy]()
    (first, gradients), (again, same_gradients), (other, _) = (
        losses_and_gradients(built, learner, seed) for seed in (0, 0, 1)
    )
    assert torch.equal(first.total, again.total)
    assert all(torch.equal(a, b) for a, b in zip(gradients, same_gradients, strict=True))
    assert not torch.equal(first.total, other.total)


@pytest.mark.parametrize(("strategy", "learner"), PAIRS)
def test_the_data_and_the_weights_are_left_alone(strategy, learner):
    table = table_of([8] * 12)
    before = table.examples.copy()
    net = learner_of(learner)
    weights = {name: value.clone() for name, value in net.named_parameters()}
    built = STRATEGIES[strategy]()
    built.losses(net, batch_of(table, clusters=2 if hasattr(built, "clusters") else 0)).total.backward()
    assert (table.examples == before).all()
    assert all(torch.equal(value, weights[name]) for name, value in net.named_parameters())


@pytest.mark.parametrize(("strategy", "learner"), PAIRS)
def test_a_few_steps_lower_the_loss(strategy, learner):
    built, net = STRATEGIES[strategy](), learner_of(learner)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    values = []
    for step in range(40):
        losses = built.losses(net, batch_for(built, seed=step))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        values.append(losses.parts()["loss"].item())
    assert sum(values[-10:]) < sum(values[:10])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_hyperparameters_are_the_fields_of_a_frozen_dataclass(strategy):
    kind = STRATEGIES[strategy]
    assert is_dataclass(kind) and kind.__dataclass_params__.frozen
    for field in fields(kind):
        assert field.default is not None or field.name == "mix_high"
    for learner in LEARNERS:
        values = {"dataset": "x", "learner": {"name": learner}, "strategy": {"name": strategy}}
        if learner in kind.refused_learners:
            with pytest.raises(ConfigError, match=kind.refused_learners[learner]):
                TrialConfig.of(values)
        else:
            assert type(TrialConfig.of(values).strategy) is kind


@pytest.mark.parametrize(("strategy", "learner"), [pair for pair in PAIRS if pair[0] in OFF])
def test_switched_off_it_is_vanilla(strategy, learner):
    off = STRATEGIES[strategy](**OFF[strategy])
    net = learner_of(learner)
    batch = batch_of(table_of([8] * 12))
    # Vanilla draws from all classes; with one cluster that holds them all, so does the strategy.
    if hasattr(off, "clusters"):
        batch = batch_of(table_of([8] * 12))
        object.__setattr__(batch, "clusters", torch.ones(2, 12, dtype=torch.bool))
    ours = off.losses(net, batch)
    theirs = Vanilla().losses(net, batch_of(table_of([8] * 12)))
    torch.testing.assert_close(ours.total, theirs.total, rtol=1e-5, atol=1e-6)
    parameters = list(net.parameters())
    for a, b in zip(
        torch.autograd.grad(ours.total, parameters), torch.autograd.grad(theirs.total, parameters), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_every_strategy_but_vanilla_can_be_switched_off():
    assert {*OFF, "vanilla"} == set(STRATEGIES)


def test_datg_without_its_mmd_is_inter_cluster_mixup():
    for learner in LEARNERS:
        ours, our_gradients = losses_and_gradients(STRATEGIES["datg"](mmd_weight=0.0), learner)
        theirs, their_gradients = losses_and_gradients(STRATEGIES["inter_cluster"](), learner)
        assert torch.equal(ours.total, theirs.total)
        assert all(torch.equal(a, b) for a, b in zip(our_gradients, their_gradients, strict=True))


def test_datg_adds_its_weight_times_the_mmd():
    for learner, weight in itertools.product(LEARNERS, (0.5, 3.0)):
        parts = losses_and_gradients(STRATEGIES["datg"](mmd_weight=weight), learner)[0].parts()
        torch.testing.assert_close(parts["loss"], parts["ce"] + weight * parts["mmd"])
        assert parts["mmd"] > 0


@pytest.mark.parametrize("strategy", ["inter_cluster", "datg"])
def test_the_two_tasks_of_a_pair_come_from_different_clusters(strategy, monkeypatch):
    built = STRATEGIES[strategy](clusters=3)
    batch = batch_of(table_of([8] * 12), clusters=3)
    drawn = []
    draw = type(batch.sampler).draw
    monkeypatch.setattr(
        type(batch.sampler), "draw", lambda *args, **kwargs: drawn.append(draw(*args, **kwargs)) or drawn[-1]
    )
    used = set()
    for _ in range(30):
        built.losses(learner_of("protonet"), batch)
        first, second = (set((tasks.classes // 4).flatten().tolist()) for tasks in drawn[-2:])
        assert len(first) == len(second) == 1 and first != second
        used |= {(first.pop(), second.pop())}
    # All six ordered pairs, each of probability 1/6: one is missing after 30 draws in 2.5 % of runs, two in 0.01 %.
    assert len(used) >= 5
