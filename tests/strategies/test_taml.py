import math

import pytest
import torch

from datg.strategies.strategy import query_losses
from datg.strategies.taml import Taml, atkinson, entropy, generalised_entropy, gini, theil, variance_of_logs
from tests.conftest import batch_of, learner_of, table_of

LOSSES = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
MEASURES = {
    "theil": (theil, 0.1064401),
    "ge 2": (lambda x: generalised_entropy(x, 2.0), 0.1),
    "mean log deviation": (lambda x: generalised_entropy(x, 0.0), 0.1217773),
    "ge 1": (lambda x: generalised_entropy(x, 1.0), 0.1064401),
    "atkinson 0.5": (lambda x: atkinson(x, 0.5), 0.0555859),
    "atkinson 1": (lambda x: atkinson(x, 1.0), 0.1146545),
    "gini": (gini, 0.25),
    "variance of logs": (variance_of_logs, 0.2710519),
}


@pytest.mark.parametrize("name", MEASURES)
def test_inequality_of_one_two_three_four_and_of_equals(name):
    measure, expected = MEASURES[name]
    assert float(measure(LOSSES)) == pytest.approx(expected, abs=1e-7)
    assert float(measure(LOSSES * 7)) == pytest.approx(expected, abs=1e-7)  # whatever the unit
    assert float(measure(torch.full((4,), 1.7, dtype=torch.float64))) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_generalised_entropy_and_atkinson_are_continuous_at_their_limits(limit):
    near = generalised_entropy(LOSSES, limit + 1e-6)
    assert float(near) == pytest.approx(float(generalised_entropy(LOSSES, limit)), abs=1e-5)
    assert float(atkinson(LOSSES, 1 + 1e-6)) == pytest.approx(float(atkinson(LOSSES, 1.0)), abs=1e-5)


@pytest.mark.parametrize("near", [1e-7, 1e-4])
def test_nearly_equal_losses_near_a_limit_still_give_the_right_index(near):
    losses = torch.tensor([1.60, 1.61, 1.62, 1.55], dtype=torch.float64)
    assert float(generalised_entropy(losses, 1 + near)) == pytest.approx(float(theil(losses)), rel=0.01)
    assert float(generalised_entropy(losses, near)) == pytest.approx(float(generalised_entropy(losses, 0.0)), rel=0.01)
    assert float(atkinson(losses, 1 - near)) == pytest.approx(float(atkinson(losses, 1.0)), rel=0.01)


def test_entropy_is_ln_n_for_equal_logits_and_nothing_for_certainty():
    assert float(entropy(torch.zeros(2, 3, 5))) == pytest.approx(math.log(5))
    assert float(entropy(torch.tensor([[100.0, 0.0, 0.0]]))) == pytest.approx(0, abs=1e-6)


def parts_by_hand(learner, batch):
    """Losses and entropies of the adapted and of the initial model, task by task."""
    encoded = learner.encode(batch.draw(), 1, 0, learner.last_shared)
    adapted = learner.classify(encoded, 1)
    initial = torch.stack([learner(task[:, 1:].flatten(0, 1)) for task in encoded])
    supports = torch.stack([learner(task[:, :1].flatten(0, 1)) for task in encoded])
    return adapted, initial, supports


@pytest.mark.parametrize("max_only", [False, True])
def test_entropy_is_subtracted_before_adaptation_and_added_after(max_only):
    learner = learner_of("maml")
    found = Taml(weight=0.7, entropy_max_only=max_only).losses(learner, batch_of(table_of([8] * 12)))
    adapted, initial, _ = parts_by_hand(learner, batch_of(table_of([8] * 12)))
    expected = query_losses(adapted).mean() - 0.7 * entropy(initial) + (0 if max_only else 0.7) * entropy(adapted)
    torch.testing.assert_close(found.total, expected)
    assert ("entropy_adapted" in found.parts()) != max_only


@pytest.mark.parametrize("losses_on", ["query", "support"])
def test_inequality_is_over_the_losses_of_the_initial_model_on_each_task(losses_on):
    learner = learner_of("maml")
    found = Taml(variant="gini", weight=2.0, losses_on=losses_on).losses(learner, batch_of(table_of([8] * 12)))
    adapted, initial, supports = parts_by_hand(learner, batch_of(table_of([8] * 12)))
    tasks = query_losses(initial if losses_on == "query" else supports).mean(1)
    torch.testing.assert_close(found.total, query_losses(adapted).mean() + 2.0 * gini(tasks))
