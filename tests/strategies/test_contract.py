"""Every strategy of the table, on every learner that it does not refuse, keeps the same promises."""

import itertools
import re
from dataclasses import fields, is_dataclass, replace

import pytest
import torch

from datg.data.episodes import DeviceTable
from datg.errors import ConfigError
from datg.generation.mixup import draw_layers
from datg.learners import LEARNERS
from datg.runtime.random_streams import RandomStreams, generator
from datg.strategies import STRATEGIES
from datg.strategies.strategy import StrategyContext
from datg.strategies.vanilla import Vanilla
from datg.trial.config import TrialConfig
from tests.conftest import batch_of, learner_of, table_of

SHAPES = {"pictures": (3, 16, 16), "cells": (30,)}


def possible(strategy, learner, shape):
    """Whether the strategy as it stands is defined for a learner and for examples of a shape."""
    if learner in STRATEGIES[strategy].refused_learners:
        return False
    shared = LEARNERS[learner].shared_layers(4 if len(shape) == 3 else 2)
    options = LEARNERS[learner].options()
    context = StrategyContext(shared_layers=shared, channels=8, learner=options, batch=3, shape=shape)
    return not STRATEGIES[strategy]().validate(context)


TRIPLES = [
    (strategy, learner, kind)
    for strategy, learner, kind in itertools.product(STRATEGIES, LEARNERS, SHAPES)
    if possible(strategy, learner, SHAPES[kind])
]
PAIRS = sorted({(strategy, learner) for strategy, learner, kind in TRIPLES if kind == "pictures"})
SEEDS = (0, 1, 2)


def built(strategy, learner, kind="pictures", *, seed=0, dropout=0.2, **options):
    """The strategy, and a learner with what it adds."""
    made = STRATEGIES[strategy](**options)
    net = made.extend(
        learner_of(learner, shape=SHAPES[kind], seed=seed, dropout=dropout), generator=generator(seed, "strategy")
    )
    net.draw_from(generator(seed, "noise"))
    return made, net.train()


def batch_for(strategy, kind="pictures", seed=0, progress=0.5):
    clusters = 2 if strategy.clustering(3) else 0
    return replace(batch_of(table_of([8] * 12, SHAPES[kind]), seed=seed, clusters=clusters), progress=progress)


def losses_and_gradients(made, net, batch):
    losses = made.losses(net, batch)
    return losses, torch.autograd.grad(losses.total, list(net.parameters()), allow_unused=True)


@pytest.mark.matrix
@pytest.mark.parametrize(("strategy", "learner", "kind"), TRIPLES)
def test_losses_are_finite_and_reach_every_parameter(strategy, learner, kind):
    made, net = built(strategy, learner, kind)
    losses, gradients = losses_and_gradients(made, net, batch_for(made, kind))
    assert losses.total.shape == losses.cross_entropy.shape == ()
    assert all(torch.isfinite(value) for value in losses.parts().values())
    assert not any(value.requires_grad for value in losses.parts().values())
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    reached = sum(float(gradient.abs().sum()) > 0 for gradient in gradients)
    assert reached >= len(gradients) - 4  # biases before a norm


@pytest.mark.matrix
@pytest.mark.parametrize(("strategy", "learner", "kind"), TRIPLES)
def test_the_seed_decides_everything(strategy, learner, kind):
    found = []
    for seed in (0, 0, 1):
        made, net = built(strategy, learner, kind, seed=seed)
        found.append(losses_and_gradients(made, net, batch_for(made, kind, seed)))
    (first, gradients), (again, same_gradients), (other, _) = found
    assert torch.equal(first.total, again.total)
    assert all(torch.equal(a, b) for a, b in zip(gradients, same_gradients, strict=True))
    assert not torch.equal(first.total, other.total)


@pytest.mark.matrix
@pytest.mark.parametrize(("strategy", "learner", "kind"), TRIPLES)
def test_the_data_and_the_weights_are_left_alone(strategy, learner, kind):
    table = table_of([8] * 12, SHAPES[kind])
    before = table.examples.copy()
    made, net = built(strategy, learner, kind)
    weights = {name: value.clone() for name, value in net.named_parameters()}
    made.losses(net, batch_of(table, clusters=2 if made.clustering(3) else 0)).total.backward()
    assert (table.examples == before).all()
    assert all(torch.equal(value, weights[name]) for name, value in net.named_parameters())


@pytest.mark.matrix
@pytest.mark.parametrize(("strategy", "learner"), PAIRS)
def test_a_few_steps_lower_the_loss(strategy, learner):
    made, net = built(strategy, learner)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    values = []
    for step in range(40):
        losses = made.losses(net, batch_for(made, seed=step))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        values.append(losses.parts()["loss"].item())
    assert sum(values[-10:]) < sum(values[:10])


@pytest.mark.matrix
@pytest.mark.parametrize(("strategy", "learner", "kind"), TRIPLES)
def test_a_support_set_with_labels_is_classified_as_one_with_a_class_axis(strategy, learner, kind):
    made, net = built(strategy, learner, kind)
    net.eval()
    examples = batch_for(made, kind).draw()  # (3 tasks, 3 ways, 1 + 4, *shape)
    if net.embeds_once:
        examples = examples.flatten(3)
    shots, ways = 2, examples.shape[1]
    on_one_axis = torch.cat([examples[:, :, :shots].flatten(1, 2), examples[:, :, shots:].flatten(1, 2)], 1)[:, None]
    labels = torch.arange(ways).repeat_interleave(shots)
    with torch.inference_mode():
        net.draw_from(generator(0, "noise"))
        expected = net.predict(examples, shots)
        net.draw_from(generator(0, "noise"))
        found = net.predict(on_one_axis, ways * shots, labels)
        assert net.ways in (None, ways)
        # Noise is drawn for examples in their order in memory, which is another one.
        tolerance = {"rtol": 1e-3, "atol": 1e-3} if strategy != "meta_dropout" else {"rtol": 0.1, "atol": 0.1}
        torch.testing.assert_close(found, expected, **tolerance)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        support = on_one_axis[:, :, order]
        again = net.predict(torch.cat([support, on_one_axis[:, :, len(labels) :]], 2), len(labels), labels[order])
        torch.testing.assert_close(again, found, **tolerance)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_hyperparameters_are_the_fields_of_a_frozen_dataclass(strategy):
    kind = STRATEGIES[strategy]
    assert is_dataclass(kind) and kind.__dataclass_params__.frozen
    assert kind() == kind(**{field.name: field.default for field in fields(kind)})
    for learner in LEARNERS:
        values = {"dataset": "x", "learner": {"name": learner}, "strategy": {"name": strategy}}
        if learner in kind.refused_learners:
            reason = re.escape(kind.refused_learners[learner])
            with pytest.raises(
                ConfigError, match=f"strategy {strategy} cannot be used with learner {learner}: {reason}"
            ):
                TrialConfig.from_dict(values)
        else:
            assert type(TrialConfig.from_dict(values).strategy) is kind


def test_regularisers_of_the_inner_loop_refuse_a_learner_without_one():
    for strategy in ("meta_reg", "taml", "meta_dropout"):
        assert "regularises what an inner loop does" in STRATEGIES[strategy].refused_learners["protonet"]
    assert not any("maml" in kind.refused_learners or "anil" in kind.refused_learners for kind in STRATEGIES.values())


@pytest.mark.matrix
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("strategy", "learner", "kind", "off"),
    [
        (*triple, off)
        for triple in TRIPLES
        for off in STRATEGIES[triple[0]].vanilla_settings
        if triple[2] == "pictures" or off.get("mixer") != "cutmix"
    ],
)
def test_switched_off_it_is_vanilla(strategy, learner, kind, off, seed):
    # A second task, or noise on weights, takes draws that dropout would else have had.
    dropout = 0.2 if strategy in ("taml", "meta_maxup") else 0.0
    made, net = built(strategy, learner, kind, seed=seed, dropout=dropout, **off)
    batch, plain = (batch_of(table_of([8] * 12, SHAPES[kind]), seed=seed) for _ in range(2))
    if made.clustering(3):
        # Vanilla draws from all classes; with clusters that hold them all, so does the strategy.
        batch = replace(batch, clusters=torch.ones(2, 12, dtype=torch.bool))
    inside = getattr(net, "learner", net)
    ours = made.losses(net, batch)
    our_gradients = torch.autograd.grad(ours.total, list(inside.parameters()))
    net.draw_from(generator(seed, "noise"))
    theirs = Vanilla().losses(inside, plain)
    their_gradients = torch.autograd.grad(theirs.total, list(inside.parameters()))
    # To rounding: tasks of different mixing layers, and sets under different weights, pass apart.
    torch.testing.assert_close(ours.total, theirs.total, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(our_gradients, their_gradients, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("last", range(1, 5))
def test_the_seeds_of_these_tests_mix_at_hidden_layers_too(last):
    drawn = {layer for seed in SEEDS for layer in draw_layers(3, 0, last, RandomStreams.from_seed(seed).mixing)}
    assert {0, last} <= drawn and len(drawn) >= min(3, last + 1)


@pytest.mark.parametrize("learner", LEARNERS)
def test_datg_without_its_mmd_is_inter_cluster_mixup(learner):
    found = [built("datg", learner, mmd_weight=0.0), built("inter_cluster", learner)]
    (ours, our_gradients), (theirs, their_gradients) = (
        losses_and_gradients(made, net, batch_for(made)) for made, net in found
    )
    assert torch.equal(ours.total, theirs.total)
    assert all(map(torch.equal, our_gradients, their_gradients))


@pytest.mark.parametrize("learner", LEARNERS)
def test_random_mixup_with_the_next_task_is_mlti_that_always_crosses(learner):
    found = []
    for strategy, options in (
        ("random_mixup", {"partner": "cyclic"}),
        ("mlti", {"mixer": "linear", "layer": "random", "cross_prob": 1.0}),
    ):
        made, net = built(strategy, learner, **options)
        batch = batch_for(made, seed=2)
        for _ in range(3):  # in step from one iteration to the next
            made.losses(net, batch)
        found.append(losses_and_gradients(made, net, batch))
    (ours, our_gradients), (theirs, their_gradients) = found
    assert torch.equal(ours.total, theirs.total)
    assert all(map(torch.equal, our_gradients, their_gradients))


@pytest.mark.parametrize("layer", ["embedding", "shared", "mixing"])
@pytest.mark.parametrize("learner", LEARNERS)
def test_the_mmd_moves_generated_tasks_alone_or_real_ones_too_and_has_the_same_value(learner, layer):
    found = []
    for gradient in ("generated", "both"):
        made, net = built("datg", learner, mmd_layer=layer, mmd_gradient=gradient, mix_high=0)
        found.append(losses_and_gradients(made, net, batch_for(made)))
    (ours, our_gradients), (theirs, their_gradients) = found
    torch.testing.assert_close(ours.total, theirs.total)
    # Mixed at the input, what lies at layer 0 moves with no parameter.
    at_input = layer == "mixing" or (layer == "shared" and net.last_shared == 0)
    same = all(map(torch.allclose, our_gradients, their_gradients))
    assert same == at_input


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("kernel", "layer"), list(itertools.product(("gaussian", "linear"), ("embedding", "shared", "mixing")))
)
@pytest.mark.parametrize("learner", LEARNERS)
def test_datg_adds_its_weight_times_the_mmd(learner, kernel, layer):
    made, net = built("datg", learner, mmd_weight=3.0, mmd_kernel=kernel, mmd_layer=layer)
    parts = made.losses(net, batch_for(made)).parts()
    torch.testing.assert_close(parts["loss"], parts["ce"] + 3.0 * parts["mmd"])
    assert parts["mmd"] > 0


# A setting for each strategy with an inner loop; the MMD in the form whose gradient takes nothing as a constant.
SMOOTH = {
    "datg": {"mmd_gradient": "both"},
    "taml": {"variant": "ge"},
    "metamix": {"shuffle_start": 0.0},
    "mlti": {"mixer": "linear", "layer": "random"},
    "meta_reg": {"beta": 1e-3},
}


@pytest.mark.matrix
@pytest.mark.parametrize(("strategy", "learner", "kind"), [t for t in TRIPLES if t[1] in ("maml", "anil")])
def test_second_order_gradients_agree_with_finite_differences(strategy, learner, kind):
    made = STRATEGIES[strategy](**SMOOTH.get(strategy, {}))
    inside = learner_of(learner, shape=SHAPES[kind], filters=2, inner_lr=0.3, inner_steps=2)
    net = made.extend(inside, generator=generator(0, "strategy")).double()

    def loss():
        batch = batch_for(made, kind, seed=2)
        classes = batch.sampler.classes
        doubled = DeviceTable(classes.examples.double() / 255, classes.starts, classes.counts)
        net.draw_from(batch.streams.noise)
        return made.losses(net, replace(batch, sampler=replace(batch.sampler, classes=doubled))).total

    parameters = list(net.parameters())
    gradients = torch.autograd.grad(loss(), parameters)
    direction = [torch.randn(p.shape, dtype=torch.float64, generator=generator(2, "direction")) for p in parameters]
    step, values = 1e-8, []  # a pair of points that comes near the median on the way is a jump of the MMD's scale
    with torch.no_grad():
        for sign in (1, -1):
            for parameter, along in zip(parameters, direction, strict=True):
                parameter += sign * step * along
            values.append(loss())
            for parameter, along in zip(parameters, direction, strict=True):
                parameter -= sign * step * along
    numeric = (values[0] - values[1]) / (2 * step)
    expected = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))
    torch.testing.assert_close(expected, numeric, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("strategy", ["inter_cluster", "datg"])
def test_the_two_tasks_of_a_pair_come_from_different_clusters(strategy, monkeypatch):
    made = STRATEGIES[strategy](clusters=3)
    batch = batch_of(table_of([8] * 12), clusters=3)
    drawn = []
    draw = type(batch.sampler).draw
    monkeypatch.setattr(
        type(batch.sampler), "draw", lambda *args, **kwargs: drawn.append(draw(*args, **kwargs)) or drawn[-1]
    )
    used = set()
    for _ in range(30):
        made.losses(learner_of("protonet"), batch)
        first, second = (set((tasks.classes // 4).flatten().tolist()) for tasks in drawn[-2:])
        assert len(first) == len(second) == 1 and first != second
        used |= {(first.pop(), second.pop())}
    # All six ordered pairs, each of probability 1/6: one is missing after 30 draws in 2.5 % of runs, two in 0.01 %.
    assert len(used) >= 5


def test_the_mmd_counts_generated_tasks_at_the_layers_where_they_were_mixed():
    made, net = built("datg", "protonet", p_mix=0.5, mmd_layer="mixing", mmd_kernel="linear")
    kept = 0
    for seed in range(8):
        batch = batch_of(table_of([8] * 12), size=6, seed=seed, clusters=2)
        tasks = made.generate_across(net, batch, keep_real=True)
        again = batch_of(table_of([8] * 12), size=6, seed=seed, clusters=2)
        found = made.losses(net, again).others["mmd"]
        values = []
        for mixture in tasks.mixed.mixtures:
            real = mixture.real.flatten(3).flatten(1, 2).mean(1)
            values += [
                (task - real).square().sum(1).mean() for task in mixture.generated.flatten(3).flatten(1, 2).mean(1)
            ]
        expected = [value for value, new in zip(values, tasks.new, strict=True) if new]
        kept += 6 - len(expected)
        mean = torch.stack(expected).mean() if expected else torch.zeros(())  # where all tasks were kept
        torch.testing.assert_close(found, mean, rtol=1e-4, atol=1e-6)
    assert 5 < kept < 43  # 48 fair coins: outside once in a million times
