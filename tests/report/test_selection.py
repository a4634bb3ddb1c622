from dataclasses import replace

import numpy as np
import pytest

from datg.report.selection import describe_selection
from datg.trial.accuracies import Evaluation
from datg.trial.folder import EVALUATION, FRESH_VALIDATION
from datg.trial.selection import select
from tests.search.conftest import settings_for
from tests.trial.test_selection import trial

TASKS = np.random.default_rng(0).random(400)
INSIDE = {
    "strategy.clusters": 4,
    "strategy.alpha": 1.0,
    "strategy.beta": 1.0,
    "strategy.mix_low": 1,
    "strategy.mix_high": 2,
    "strategy.mmd_bandwidth": 1.0,
    "strategy.mmd_weight": 0.1,
}

OWN = {
    "strategy.clusters": 2,
    "strategy.alpha": 2.0,
    "strategy.beta": 2.0,
    "strategy.mix_low": 0,
    "strategy.mix_high": 4,
    "strategy.mmd_weight": 1.0,
}


@pytest.fixture
def settings(glyphs, data_root):
    return settings_for(glyphs, data_root)


def said(records, settings, references=()):
    return describe_selection(select(records), records, list(references), settings)


def searched(record, **values):
    return replace(record, searched=INSIDE | {f"strategy.{key}": value for key, value in values.items()})


def test_a_best_is_called_the_best_of_many_and_its_fresh_score_stands_beside(tmp_path, settings):
    records = [searched(trial(tmp_path, number, TASKS - number)) for number in range(1, 4)]
    assert len(said(records, settings)) == 1
    assert "trial 1" in said(records, settings)[0] and "the best of 3 trials" in said(records, settings)[0]
    Evaluation(np.full(50, 0.25, np.float32)).save(records[0].folder / FRESH_VALIDATION, {})
    again = [searched(trial(tmp_path, number, TASKS - number)) for number in range(1, 4)]
    assert "trial 1 on 50 fresh validation tasks" in said(again, settings)[1] and "0.2500" in said(again, settings)[1]


def test_the_first_line_is_what_the_search_gained_over_the_setting_that_it_began_from(tmp_path, settings):
    assert settings.own_setting == {**INSIDE, **OWN}
    own = searched(trial(tmp_path, 0, TASKS - 0.25), **{key.partition(".")[2]: value for key, value in OWN.items()})
    better = searched(trial(tmp_path, 1, TASKS))
    for record, value in ((own, 0.5), (better, 0.75)):
        Evaluation(np.full(50, value, np.float32)).save(record.folder / EVALUATION, {})
    first = said([own, better], settings)[0]
    assert first.startswith("best minus trial 0") and "validation +0.2500 ± 0.0000" in first
    assert "novel classes +0.2500 ± 0.0000" in first
    assert said([own], settings)[0].startswith("no trial was better on validation than trial 0")
    pruned = replace(own, state="pruned")
    assert "the best of 2 trials" in said([pruned, better], settings)[0]


def test_ties_are_named(tmp_path, settings):
    records = [searched(trial(tmp_path, number, TASKS)) for number in range(1, 4)]
    assert "contains 0: trial 2, 3" in said(records, settings)[-1]


@pytest.mark.parametrize(("first", "told"), [(2, True), (1, False)])
def test_it_is_told_when_most_trials_are_best_at_their_first_validation(tmp_path, settings, first, told):
    records = []
    for number in range(3):
        record = searched(trial(tmp_path, number, TASKS - number))
        begun, last = record.reports[0], replace(record.reports[0], iteration=20, best_iteration=20)
        if number < first:
            last = replace(last, best_iteration=10)
        records.append(replace(record, reports=[begun, last]))
    text = f"{first} of 3 trials are best at their first validation"
    assert any(text in line for line in said(records, settings)) == told


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"mmd_weight": 9.9}, "strategy.mmd_weight 9.9, at the high end of its range [0.001, 10]"),
        ({"mmd_bandwidth": 0.101}, "strategy.mmd_bandwidth 0.101, at the low end of its range [0.1, 10]"),
        ({"mix_low": 0}, ""),  # there is no layer below
        ({"clusters": 8}, ""),  # more would not leave five classes to each
        ({"clusters": 2}, ""),  # one is none
    ],
)
def test_a_best_value_at_the_end_of_its_range_is_named_where_the_range_could_be_wider(tmp_path, settings, value, line):
    records = [searched(trial(tmp_path, 0, TASKS), **value)]
    ends = [text for text in said(records, settings) if "end of its range" in text]
    assert (line in ends[0]) if line else not ends
