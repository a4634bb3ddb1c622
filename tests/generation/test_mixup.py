import itertools

import numpy as np
import pytest
import torch

from datg.backbones.conv4 import Conv4
from datg.generation.mixup import MixPlan, draw_mix_plan, mix, mix_tasks
from datg.generation.mmd import mean_discrepancy
from datg.learners import LEARNERS
from datg.seeding import generator
from tests.conftest import batch_of, table_of


def make_learner(name):
    return LEARNERS[name].build(
        Conv4, LEARNERS[name].options(), generator=generator(0, "net"), ways=3, shape=(3, 16, 16), filters=4
    )


def make_pairs(learner, tasks=4):
    g = generator(0, "pairs")
    first, second = (torch.rand(tasks, 3, 5, 3, 16, 16, generator=g) for _ in range(2))
    return learner.sets(first, 1), learner.sets(second, 1)


def make_plan(layers, weight):
    return MixPlan(tuple(layers), torch.full((len(layers),), weight), torch.arange(3).repeat(len(layers), 1))


@pytest.mark.parametrize(("name", "layer", "weight"), list(itertools.product(LEARNERS, range(5), (0.0, 1.0))))
def test_weight_one_is_the_first_task_and_weight_zero_the_second(name, layer, weight):
    learner = make_learner(name)
    layer = min(layer, learner.last_shared)
    first, second = make_pairs(learner)
    mixed = mix_tasks(learner, first, second, make_plan([layer] * 4, weight), keep_real=False).mixed
    expected = learner.encode(first if weight else second, 0, learner.last_shared)
    for ours, theirs in zip(mixed, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("name", "keep_real"), list(itertools.product(LEARNERS, (False, True))))
def test_every_pair_is_mixed_at_its_own_layer(name, keep_real):
    learner = make_learner(name)
    layers = sorted([0, 1, learner.last_shared, 2])
    first, second = make_pairs(learner)
    plan = MixPlan(tuple(layers), torch.tensor([0.2, 0.4, 0.6, 0.9]), torch.arange(3).repeat(4, 1))
    found = mix_tasks(learner, first, second, plan, keep_real=keep_real)
    for task, layer in enumerate(layers):
        one = slice(task, task + 1)
        a = learner.encode(tuple(s[one] for s in first), 0, layer)
        b = learner.encode(tuple(s[one] for s in second), 0, layer)
        weight = plan.weights[task]
        expected = learner.encode(
            tuple(weight * x + (1 - weight) * y for x, y in zip(a, b, strict=True)), layer, learner.last_shared
        )
        for ours, theirs in zip(found.mixed, expected, strict=True):
            torch.testing.assert_close(ours[one], theirs, rtol=1e-4, atol=1e-5)
    if keep_real:
        for ours, theirs in zip(found.first, learner.encode(first, 0, learner.last_shared), strict=True):
            torch.testing.assert_close(ours, theirs)
    else:
        assert found.first is None and found.second is None


def test_support_and_query_get_the_same_weight_and_pairing():
    table = table_of([8] * 6)
    batch = batch_of(table)
    plan = draw_mix_plan(
        3, ways=3, alpha=2.0, beta=2.0, low=0, high=4, rng=np.random.default_rng(0), device=torch.device("cpu")
    )
    first = batch.sampler.draw(3, generator=batch.streams.tasks)
    second = batch.sampler.draw(3, generator=batch.streams.partners)
    paired = second.permuted(plan.pairing)
    for task in range(3):
        for way in range(3):
            assert torch.equal(paired.rows[task, way], second.rows[task, plan.pairing[task, way]])
            assert paired.classes[task, way] == second.classes[task, plan.pairing[task, way]]
    gather = batch.sampler.classes.gather
    mixed = mix(gather(first.rows), gather(paired.rows), plan.weights)
    for task in range(3):
        weight = plan.weights[task]
        expected = weight * gather(first.rows[task]) + (1 - weight) * gather(paired.rows[task])
        torch.testing.assert_close(mixed[task], expected)


def test_plans_hold_to_their_ranges_and_every_pairing_is_a_bijection():
    rng = np.random.default_rng(0)
    plan = draw_mix_plan(200, ways=5, alpha=0.5, beta=3.0, low=1, high=3, rng=rng, device=torch.device("cpu"))
    assert set(plan.layers) == {1, 2, 3} and list(plan.layers) == sorted(plan.layers)
    assert torch.equal(plan.pairing.sort(1).values, torch.arange(5).repeat(200, 1))
    assert ((plan.weights >= 0) & (plan.weights <= 1)).all()
    # Beta(0.5, 3) has mean 1/7 and deviation 0.165: 200 draws miss it by 5 standard errors once in a million times.
    assert abs(float(plan.weights.mean()) - 1 / 7) < 5 * 0.165 / 200**0.5


def test_the_mmd_of_a_mixture_has_its_closed_form_where_the_kernel_is_nearly_linear():
    # With phi the identity and real tasks {T_i, T_j}: L = 1/2 [(1 - lam)^2 + lam^2] |m_i - m_j|^2. A Gaussian of very
    # large bandwidth is 1 - d^2 / (c s), so its MMD is 2 / (c s) times the linear one; mean 1/c over the scales is 1.55.
    g = generator(0, "closed form")
    first, second = (torch.randn(1, 3, 4, 6, generator=g, dtype=torch.float64) for _ in range(2))
    mixed = mix(first, second, torch.tensor([0.3], dtype=torch.float64)).flatten(1, 2)
    real = torch.cat([first, second]).flatten(1, 2)
    pooled = torch.cat([mixed, real]).flatten(0, 1)
    median = torch.nn.functional.pdist(pooled).square().median()
    bandwidth = 1e6
    found = mean_discrepancy(mixed, real, bandwidth=bandwidth) * bandwidth * median / (2 * 1.55)
    m_i, m_j = real.mean(1)
    expected = 0.5 * ((1 - 0.3) ** 2 + 0.3**2) * (m_i - m_j).square().sum()
    torch.testing.assert_close(found[0], expected, rtol=1e-3, atol=0.0)
