import itertools

import numpy as np
import pytest
import torch

from datg.generation.mixup import (
    MixPlan,
    draw_cycles,
    draw_layers,
    draw_pairings,
    encode_changed,
    mix,
    mix_tasks,
    task_partners,
)
from datg.generation.mmd import linear_discrepancy, mean_discrepancy
from datg.learners import LEARNERS
from datg.runtime.random_streams import generator
from tests.conftest import batch_of, learner_of, table_of


def make_pairs(tasks=4):
    g = generator(0, "pairs")
    return [torch.rand(tasks, 3, 5, 3, 16, 16, generator=g) for _ in range(2)]


def plan_of(layers, weights):
    return MixPlan(tuple(layers), torch.tensor(weights)[:, None, None])


@pytest.mark.parametrize(("name", "layer", "weight"), list(itertools.product(LEARNERS, range(5), (0.0, 1.0))))
def test_weight_one_is_the_first_task_to_the_bit_and_weight_zero_the_second(name, layer, weight):
    learner = learner_of(name)
    layer = min(layer, learner.last_shared)
    first, second = make_pairs()
    mixed = mix_tasks(learner, first, second, 1, plan_of([layer] * 4, [weight] * 4)).generated
    assert torch.equal(mixed, learner.encode(first if weight else second, 1, 0, learner.last_shared))


@pytest.mark.parametrize(("name", "keep_real"), list(itertools.product(LEARNERS, (False, True))))
def test_every_pair_is_mixed_at_its_own_layer(name, keep_real):
    learner = learner_of(name)
    last = learner.last_shared
    layers = sorted([0, min(1, last), last, min(2, last)])
    first, second = make_pairs()
    plan = plan_of(layers, [0.2, 0.4, 0.6, 0.9])
    found = mix_tasks(learner, first, second, 1, plan, keep_real=keep_real)
    for task, layer in enumerate(layers):
        one = slice(task, task + 1)
        a, b = (learner.encode(tasks[one], 1, 0, layer) for tasks in (first, second))
        weight = plan.weights[task]
        expected = learner.encode(weight.item() * a + (1 - weight.item()) * b, 1, layer, last)
        torch.testing.assert_close(found.generated[one], expected, rtol=1e-4, atol=1e-5)
    if not keep_real:
        assert found.real is None and found.mixtures == ()
        return
    expected = torch.cat([learner.encode(tasks, 1, 0, last) for tasks in (first, second)])
    torch.testing.assert_close(found.real, expected)
    assert [len(mixture.generated) for mixture in found.mixtures] == [
        layers.count(layer) for layer in sorted(set(layers))
    ]
    for mixture, layer in zip(found.mixtures, sorted(set(layers)), strict=True):
        expected = torch.cat([learner.encode(tasks, 1, 0, layer) for tasks in (first, second)])
        torch.testing.assert_close(mixture.real, expected)


@pytest.mark.parametrize("name", LEARNERS)
def test_without_their_gradient_real_tasks_are_the_same_and_what_is_generated_learns_as_before(name):
    learner = learner_of(name)
    last = learner.last_shared
    first, second = make_pairs()
    plan = plan_of(sorted([0, min(1, last), last, min(2, last)]), [0.2, 0.4, 0.6, 0.9])
    both, generated = (
        mix_tasks(learner, first, second, 1, plan, keep_real=True, real_gradient=gradient) for gradient in (True, False)
    )
    assert not generated.real.requires_grad and not any(mixture.real.requires_grad for mixture in generated.mixtures)
    torch.testing.assert_close(generated.real, both.real)
    parameters = list(learner.backbone.blocks[0].parameters()) if last else []
    gradients = [
        torch.autograd.grad(tasks.generated.sin().sum(), parameters) if parameters else []
        for tasks in (both, generated)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", LEARNERS)
def test_partners_within_the_batch_equal_the_same_tasks_drawn_apart(name):
    learner = learner_of(name)
    last = learner.last_shared
    layers = sorted([0, min(1, last), last, min(1, last)])
    first, _ = make_pairs()
    others, pairing = torch.tensor([1, 2, 3, 0]), torch.from_numpy(draw_pairings(4, 3, np.random.default_rng(0)))
    weights = [0.2, 0.4, 0.6, 0.9]
    inside = MixPlan(tuple(layers), torch.tensor(weights)[:, None, None], task_partners(others, pairing, 5))
    second = torch.stack([first[j][pairing[i]] for i, j in enumerate(others)])
    apart = mix_tasks(learner, first, second, 1, plan_of(layers, weights)).generated
    torch.testing.assert_close(mix_tasks(learner, first, None, 1, inside).generated, apart, rtol=1e-4, atol=1e-5)


def test_support_and_query_get_the_same_weight_and_pairing():
    batch = batch_of(table_of([8] * 6))
    pairing = torch.from_numpy(draw_pairings(3, 3, np.random.default_rng(0)))
    weights = torch.tensor([0.2, 0.5, 0.9])[:, None, None]
    first = batch.sampler.draw(3, generator=batch.streams.tasks)
    second = batch.sampler.draw(3, generator=batch.streams.partners)
    paired = second.permuted(pairing)
    for task in range(3):
        for way in range(3):
            assert torch.equal(paired.rows[task, way], second.rows[task, pairing[task, way]])
            assert paired.classes[task, way] == second.classes[task, pairing[task, way]]
    gather = batch.sampler.classes.gather
    mixed = mix(gather(first.rows), gather(paired.rows), weights)
    for task in range(3):
        weight = weights[task].item()
        expected = weight * gather(first.rows[task]) + (1 - weight) * gather(paired.rows[task])
        torch.testing.assert_close(mixed[task], expected)


def test_draws_hold_to_their_ranges():
    rng = np.random.default_rng(0)
    layers = draw_layers(200, 1, 3, rng)
    assert set(layers) == {1, 2, 3} and list(layers) == sorted(layers)
    assert (np.sort(draw_pairings(200, 5, rng), axis=1) == np.arange(5)).all()


@pytest.mark.parametrize("ways", [2, 5])
def test_cycles_run_through_all_classes_and_leave_none_in_place(ways):
    cycles = draw_cycles(100, ways, np.random.default_rng(0))
    for cycle in cycles:
        place, seen = 0, []
        for _ in range(ways):
            seen.append(place)
            place = cycle[place]
        assert sorted(seen) == list(range(ways)) and place == 0
    if ways == 5:  # 24 cycles: one is missing after 100 draws in a third of runs, five in one of a million
        assert len({tuple(cycle) for cycle in cycles}) > 19


@pytest.mark.parametrize("name", LEARNERS)
def test_tasks_are_changed_at_their_own_layer_and_nowhere_else(name):
    learner = learner_of(name)
    last = learner.last_shared
    layers = sorted([0, min(1, last), last, min(1, last)])
    examples, _ = make_pairs()
    factors = torch.tensor([1.0, 2.0, 3.0, 4.0])

    def change(part, tasks):
        return part * factors[tasks].view(-1, *[1] * (part.ndim - 1))

    found = encode_changed(learner, examples, 1, tuple(layers), change)
    for task, layer in enumerate(layers):
        one = slice(task, task + 1)
        hidden = learner.encode(examples[one], 1, 0, layer) * factors[task]
        torch.testing.assert_close(found[one], learner.encode(hidden, 1, layer, last), rtol=1e-4, atol=1e-5)


def test_the_linear_mmd_of_a_mixture_has_its_closed_form():
    # With phi the identity and real tasks {T_i, T_j}: L = 1/2 [(1 - lam)^2 + lam^2] |m_i - m_j|^2.
    g = generator(0, "closed form")
    first, second = (torch.randn(1, 3, 4, 6, generator=g, dtype=torch.float64) for _ in range(2))
    mixed = mix(first, second, torch.tensor([[[0.3]]], dtype=torch.float64)).flatten(1, 2)
    real = torch.cat([first, second]).flatten(1, 2)
    m_i, m_j = real.mean(1)
    expected = 0.5 * ((1 - 0.3) ** 2 + 0.3**2) * (m_i - m_j).square().sum()
    torch.testing.assert_close(linear_discrepancy(mixed, real)[0], expected)


def test_the_mmd_of_a_mixture_has_its_closed_form_where_the_kernel_is_nearly_linear():
    # With phi the identity and real tasks {T_i, T_j}: L = 1/2 [(1 - lam)^2 + lam^2] |m_i - m_j|^2. A Gaussian of very
    # large bandwidth is 1 - d^2 / (c s), so its MMD is 2 / (c s) times the linear one; mean 1/c over the scales is 1.55.
    g = generator(0, "closed form")
    first, second = (torch.randn(1, 3, 4, 6, generator=g, dtype=torch.float64) for _ in range(2))
    mixed = mix(first, second, torch.tensor([[[0.3]]], dtype=torch.float64)).flatten(1, 2)
    real = torch.cat([first, second]).flatten(1, 2)
    pooled = torch.cat([mixed, real]).flatten(0, 1)
    distances = torch.nn.functional.pdist(pooled).square()
    median = distances.median()
    scale = distances[(distances - median).abs() <= 0.05 * median].mean()
    bandwidth = 1e6
    found = mean_discrepancy(mixed, real, bandwidth=bandwidth) * bandwidth * scale / (2 * 1.55)
    m_i, m_j = real.mean(1)
    expected = 0.5 * ((1 - 0.3) ** 2 + 0.3**2) * (m_i - m_j).square().sum()
    torch.testing.assert_close(found[0], expected, rtol=1e-3, atol=0.0)
