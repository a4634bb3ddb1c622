import math

import pytest
import torch

from datg.generation import mmd
from datg.generation.mmd import linear_discrepancy, mean_discrepancy
from datg.seeding import generator


def plain_mmd(x, y, scale):
    """Eq. 4 for one pair of tasks by three double loops over points."""

    def k(a, b):
        d2 = float(((a - b) ** 2).sum())
        return sum(math.exp(-d2 / (c * scale)) for c in mmd.SCALES) / len(mmd.SCALES)

    def mean(a, b):
        return sum(k(i, j) for i in a for j in b) / (len(a) * len(b))

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


def median_of_distances(points):
    distances = sorted(float(((a - b) ** 2).sum()) for i, a in enumerate(points) for b in points[i + 1 :])
    return distances[(len(distances) - 1) // 2]  # torch's median of an even number is the lower one


@pytest.mark.parametrize("bandwidth", [0.1, 1.0, 10.0])
def test_it_is_the_mean_over_real_tasks_of_the_biased_statistic(bandwidth):
    g = generator(0, "points")
    generated = torch.randn(2, 4, 3, generator=g, dtype=torch.float64)
    real = torch.randn(3, 4, 3, generator=g, dtype=torch.float64) + 1
    scale = bandwidth * median_of_distances([*generated.flatten(0, 1), *real.flatten(0, 1)])
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
    scale = median_of_distances([*x[0], *y[0]])
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


def test_scaling_all_features_changes_nothing():
    g = generator(1, "points")
    x, y = torch.randn(2, 5, 4, generator=g), torch.randn(4, 5, 4, generator=g)
    once, scaled = (mean_discrepancy(factor * x, factor * y, bandwidth=1.0) for factor in (1.0, 100.0))
    torch.testing.assert_close(once, scaled, rtol=1e-4, atol=1e-6)


def test_the_gradient_reaches_generated_and_real_tasks():
    x = torch.randn(2, 4, 3, requires_grad=True)
    y = torch.randn(4, 4, 3, requires_grad=True)
    mean_discrepancy(x, y, bandwidth=1.0).sum().backward()
    assert x.grad.abs().sum() > 0 and y.grad.abs().sum() > 0
