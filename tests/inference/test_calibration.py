"""The temperature against what made the logits, the calibration error against its definition, and the shapes of tasks."""

import numpy as np
import pytest
import torch

from datg.inference.calibration import (
    BINS,
    best_temperature,
    calibration_error,
    fit_temperature,
    nearest_shape,
    softmax_mean,
    tables_for,
)
from datg.inference.model import FewShotModel
from datg.inference.temperatures import from_table
from tests.conftest import learner_of, table_of


@pytest.mark.parametrize("temperature", [0.02, 1.0, 300.0])
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_temperature_that_made_the_logits_is_found(temperature, seeds):
    rng = np.random.default_rng(0)
    truth = torch.arange(5).repeat_interleave(4)
    scores = rng.normal(size=(1, 2000, 20, 5))
    # Answers drawn from the probabilities: query q of task t is of the class that stands for it.
    odds = torch.from_numpy(scores).softmax(-1)[0].flatten(0, 1)
    drawn = torch.multinomial(odds, 1, generator=torch.Generator().manual_seed(0))[:, 0].view(2000, 20)
    shift = (truth - drawn) % 5
    places = (torch.arange(5) - shift[..., None]) % 5
    logits = torch.from_numpy(scores).gather(-1, places[None]).expand(seeds, -1, -1, -1) * temperature
    assert best_temperature(logits, truth) == pytest.approx(temperature, rel=0.03)


def test_seeds_are_averaged_as_probabilities():
    logits = torch.tensor([[[2.0, 0.0]], [[0.0, 4.0]]])
    first, second = 1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(2.0))
    expected = torch.tensor([[(first + second) / 2, 1 - (first + second) / 2]])
    torch.testing.assert_close(softmax_mean(logits, 2.0), expected.float())


def test_the_calibration_error_is_the_mean_gap_over_bins():
    generator = torch.Generator().manual_seed(0)
    probabilities = (3 * torch.randn(50, 8, 4, generator=generator)).softmax(-1)
    truth = torch.arange(4).repeat_interleave(2)
    confidence, answer = (part.flatten().numpy() for part in probabilities.max(-1))
    right = answer == np.tile(truth.numpy(), 50)
    expected = 0.0
    for low in np.arange(BINS) / BINS:
        inside = (confidence >= low) & (confidence < low + 1 / BINS)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(probabilities, truth) == pytest.approx(expected, abs=1e-6)
    sure = torch.eye(4)[truth]
    assert calibration_error(sure, truth) == 0.0
    assert calibration_error(sure.roll(1, -1), truth) == 1.0


@pytest.mark.parametrize(
    ("counts", "classes", "queries", "shape", "left"),
    [
        ([1, 1, 1], [30] * 8, 15, [1, 1, 1], 15),  # as the user's
        ([7, 3, 5], [30] * 8, 15, [3, 5, 7], 15),  # unequal
        ([20, 20], [30] * 8, 15, [20, 20], 10),  # fewer queries, so that shots fit
        ([60, 2], [30] * 8, 15, [2, 25], 5),  # as many shots as leave some queries
        ([1, 2, 3, 4, 5], [30] * 3, 15, [1, 3, 5], 15),  # fewer classes: small, middle and large ones
        ([1, 1], [2] * 4, 15, [1, 1], 1),  # the smallest classes
    ],
)
def test_tasks_have_the_shape_that_is_nearest_to_the_users(counts, classes, queries, shape, left):
    assert nearest_shape(counts, classes, queries) == (shape, left)


@pytest.mark.parametrize("learner", ["protonet", "maml"])
def test_a_fitted_temperature_makes_probabilities_honest(learner):
    net = learner_of(learner, filters=8).eval()
    net.head.weight.data.mul_(20) if learner == "maml" else net.backbone.blocks[-1].norm.weight.data.mul_(20)
    tables = tables_for([net], table_of([12] * 6), torch.device("cpu"))
    found = fit_temperature([net], tables, [2, 1, 3], queries=5, seed=0)
    assert found.counts == (1, 2, 3) and not found.remark
    assert found.error < found.error_before and found.error < 0.08
    again = fit_temperature([net], tables, [3, 2, 1], queries=5, seed=0)
    assert again.value == found.value, "the same tasks"
    assert "3 classes with 1 to 3 examples each" in found.sentence()


def test_a_table_gives_the_nearest_shape_and_says_so():
    entries = [
        {"value": value, "error": 0.1, "error_before": 0.3, "tasks": 200, "counts": counts, "remark": ""}
        for value, counts in ((1.0, [1] * 5), (2.0, [5] * 5), (3.0, [5] * 20))
    ]
    calibration, model = from_table(entries), FewShotModel([])
    assert calibration(model, [5] * 5).value == 2.0 and not calibration(model, [5] * 5).remark
    assert calibration(model, [4, 5, 5, 6]).value == 2.0
    assert "nearest to 4 classes with 4 to 6 examples" in calibration(model, [4, 5, 5, 6]).sentence()
    assert calibration(model, [4] * 30).value == 3.0
    assert "not calibrated" in from_table([])(model, [1, 1]).sentence()
