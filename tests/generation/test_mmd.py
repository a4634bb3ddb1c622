import math

import pytest
import torch

from datg.generation import mmd
from datg.generation.mmd import linear_discrepancy, mean_discrepancy
from datg.runtime.random_streams import generator


def plain_mmd(x, y, scale):
    """Eq. 4 for one pair of tasks by three double loops over points."""

    def k(a, b):
        d2 = float(((a - b) ** 2).sum())
        return sum(math.exp(-d2 / (c * scale)) for c in mmd.SCALES) / len(mmd.SCALES)

    def mean(a, b):
        return sum(k(i, j) for i in a for j in b) / (len(a) * len(b))

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


def typical_distance(points):
    """The mean of the squared distances within 5 % of their median."""
    distances = sorted(float(((a - b) ** 2).sum()) for i, a in enumerate(points) for b in points[i + 1 :])
    median = distances[(len(distances) - 1) // 2]  # torch's median of an even number is the lower one
    near = [distance for distance in distances if 0.95 * median <= distance <= 1.05 * median]
    return sum(near) / len(near)


@pytest.mark.parametrize("bandwidth", [0.1, 1.0, 10.0])
def test_it_is_the_mean_over_real_tasks_of_the_biased_statistic(bandwidth):
    g = generator(0, "points")
    generated = torch.randn(2, 4, 3, generator=g, dtype=torch.float64)
    real = torch.randn(3, 4, 3, generator=g, dtype=torch.float64) + 1
    scale = bandwidth * typical_distance([*generated.flatten(0, 1), *real.flatten(0, 1)])
    expected = [sum(plain_mmd(x, y, scale) for y in real) / 3 for x in generated]
    found = mean_discrepancy(generated, real, bandwidth=bandwidth)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_one_gaussian_gives_the_value_computed_by_hand(monkeypatch):
    monkeypatch.setattr(mmd, "SCALES", (1.0,))
    x = torch.tensor([[[0.0, 0.0], [1.0, 0.0]]], dtype=torch.float64)
    y = torch.tensor([[[0.0, 1.0], [2.0, 0.0]]], dtype=torch.float64)
    # k = exp(-d^2 / 2): distances within x: 1; within y: 5; across: 1, 4, 2, 1.
    within = (2 + 2 * math.exp(-1 / 2)) / 4 + (2 + 2 * math.exp(-5 / 2)) / 4
    across = sum(math.exp(-d / 2) for d in (1, 4, 2, 1)) / 4
    scale = typical_distance([*x[0], *y[0]])
    found = mean_discrepancy(x, y, bandwidth=2 / scale)
    assert float(found) == pytest.approx(within - 2 * across)
    assert within - 2 * across == pytest.approx(0.4861698, abs=1e-7)


def test_with_a_linear_kernel_the_biased_statistic_is_the_distance_of_the_means():
    g = generator(0, "points")
    x, y = (torch.randn(1, number, 3, generator=g, dtype=torch.float64) for number in (4, 5))
    statistic = (x[0] @ x[0].T).mean() + (y[0] @ y[0].T).mean() - 2 * (x[0] @ y[0].T).mean()
    torch.testing.assert_close(linear_discrepancy(x, y), statistic[None])
    several = torch.cat([x, x + 1])
    assert linear_discrepancy(several, several).shape == (2,)
    torch.testing.assert_close(linear_discrepancy(several, several), torch.full((2,), 1.5, dtype=torch.float64))


def test_a_task_has_no_discrepancy_to_itself():
    x = torch.randn(1, 6, 3, dtype=torch.float64, generator=generator(0, "x"))
    assert float(mean_discrepancy(x, x, bandwidth=1.0)) == pytest.approx(0.0, abs=1e-12)


def test_equal_points_are_no_division_by_zero():
    x = torch.ones(2, 4, 3, requires_grad=True)
    found = mean_discrepancy(x, torch.ones(2, 4, 3), bandwidth=1.0).sum()
    found.backward()
    assert found.item() == 0.0
    assert torch.isfinite(x.grad).all()


def coinciding(share):
    """Generated and real points of which a ``share`` stands at one place."""
    g = generator(2, "points")
    x, y = (torch.randn(tasks, 5, 4, generator=g, dtype=torch.float64) for tasks in (2, 4))
    for points in (x.flatten(0, 1), y.flatten(0, 1)):
        points[: int(share * len(points))] = 1.0
    return x, y


@pytest.mark.parametrize("share", [0.0, 0.9])
@pytest.mark.parametrize("bandwidth", [0.1, 0.3, 1.0, 3.0, 10.0])
def test_scaling_all_features_changes_neither_value_nor_gradient(bandwidth, share):
    x, y = coinciding(share)
    once, scaled = (mean_discrepancy(factor * x, factor * y, bandwidth=bandwidth) for factor in (1.0, 100.0))
    torch.testing.assert_close(once, scaled)
    assert once.min() > 1e-4
    log_scale = torch.zeros((), dtype=torch.float64, requires_grad=True)
    mean_discrepancy(log_scale.exp() * x, log_scale.exp() * y, bandwidth=bandwidth).sum().backward()
    assert abs(float(log_scale.grad)) < 1e-9


@pytest.mark.parametrize("share", [0.0, 0.6, 0.9])
def test_the_gradient_is_that_of_the_value(share):
    x, y = coinciding(share)
    direction = torch.randn(x.shape, generator=generator(3, "direction"), dtype=torch.float64)
    varied = x.clone().requires_grad_()
    mean_discrepancy(varied, y, bandwidth=1.0).sum().backward()
    step = 1e-6
    # At a point where most coincide the median jumps with every move of one of them: all of these move together.
    if share:
        direction.flatten(0, 1)[: int(share * 10)] = 0.0
    up, down = (mean_discrepancy(x + sign * step * direction, y, bandwidth=1.0).sum() for sign in (1, -1))
    assert float((varied.grad * direction).sum()) == pytest.approx(float(up - down) / (2 * step), rel=1e-5)


def test_rounding_does_not_turn_the_gradient():
    """Which pair's distance is the median changes with any rounding; the gradient must not hang on that pair."""
    g = generator(5, "points")
    x, y = (torch.randn(tasks, 40, 8, generator=g) for tasks in (2, 4))
    gradients = []
    for round_to in (torch.float32, torch.bfloat16):
        rounded = x.to(round_to).float().detach().requires_grad_()
        mean_discrepancy(rounded, y.to(round_to).float(), bandwidth=1.0).sum().backward()
        gradients.append(rounded.grad)
    assert torch.cosine_similarity(*(gradient.flatten() for gradient in gradients), dim=0) > 0.999


def test_points_that_differ_by_rounding_alone_are_equal():
    x, y = (torch.full((tasks, 5, 40), 1.3) for tasks in (2, 4))
    x = (x * (1 + 1e-7 * torch.randn(x.shape, generator=generator(4, "rounding")))).requires_grad_()
    mean_discrepancy(x, y, bandwidth=1.0).sum().backward()
    assert x.grad.abs().max() < 1e-4


def test_the_gradient_reaches_generated_and_real_tasks():
    x = torch.randn(2, 4, 3, requires_grad=True)
    y = torch.randn(4, 4, 3, requires_grad=True)
    mean_discrepancy(x, y, bandwidth=1.0).sum().backward()
    assert x.grad.abs().sum() > 0 and y.grad.abs().sum() > 0
