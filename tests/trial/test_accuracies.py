import numpy as np
import pytest

from datg.trial.accuracies import over_seeds, over_tasks, summarise

RUNS = 4000


def coverage(interval, draw):
    """The share of repetitions whose interval holds the true mean, 0."""
    rng = np.random.default_rng(0)
    return np.mean([interval(draw(rng)).holds_zero for _ in range(RUNS)])


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_over_seeds_holds_the_true_mean_in_95_of_100_repetitions(seeds):
    assert 0.93 <= coverage(over_seeds, lambda rng: rng.normal(0.0, 0.02, seeds)) <= 0.97


def test_the_interval_over_tasks_holds_the_true_mean_in_95_of_100_repetitions():
    # Accuracies of tasks with 75 queries, as they come: k / 75.
    def accuracies(rng):
        return rng.binomial(75, np.clip(rng.normal(0.5, 0.1, 300), 0, 1)) / 75 - 0.5

    assert 0.93 <= coverage(over_tasks, accuracies) <= 0.97


@pytest.mark.parametrize("seeds", [2, 4])
def test_differences_paired_by_seed_hold_the_true_difference_where_seeds_have_much_in_common(seeds):
    def differences(rng):
        common = rng.normal(0.0, 0.1, seeds)  # what a training seed does to both methods
        first, second = (common + rng.normal(0.0, 0.01, seeds) for _ in range(2))
        return first - second

    assert 0.93 <= coverage(over_seeds, differences) <= 0.97


def test_a_normal_interval_over_few_seeds_would_claim_too_much():
    narrow = lambda values: type(over_tasks(values))(values.mean(), 1.96 * values.std(ddof=1) / len(values) ** 0.5)  # noqa: E731
    assert coverage(narrow, lambda rng: rng.normal(0.0, 0.02, 2)) < 0.75


def test_a_summary_has_both_intervals_and_of_one_seed_one():
    values = [np.array([0.5, 0.7, 0.6], np.float32), np.array([0.3, 0.5, 0.7], np.float32)]
    both, one = summarise(values), summarise(values[:1])
    assert both.mean == pytest.approx(0.55) and both.seeds == 2
    assert both.ci95 == pytest.approx(1.96 * np.std([0.4, 0.6, 0.65], ddof=1) / 3**0.5, rel=1e-5)
    assert both.seeds_ci95 == pytest.approx(12.7062 * both.spread / 2**0.5, rel=1e-5)
    assert (one.seeds_ci95, one.spread, one.seeds) == (None, None, 1)
