from dataclasses import replace

import numpy as np
import pytest

from datg.trial.accuracies import Evaluation
from datg.trial.folder import BEST, BEST_VALIDATION, FRESH_VALIDATION, ValidationReport
from datg.trial.records import TrialRecord
from datg.trial.selection import MOST_FINALISTS, gain, select


def trial(root, number, accuracies, state="done"):
    """A trial whose best validation came out so."""
    folder = root / str(number)
    folder.mkdir(exist_ok=True)
    evaluation = Evaluation(np.asarray(accuracies, np.float32))
    evaluation.save(folder / BEST_VALIDATION, {})
    (folder / BEST).touch()
    score = {"accuracy": evaluation.mean, "objective": evaluation.mean}
    report = ValidationReport(
        iteration=10, time=0.0, seconds=0.0, losses={}, ci95=evaluation.ci95, objective_ci95=evaluation.ci95,
        best_iteration=10, **score,
    )  # fmt: skip
    return TrialRecord(number, state, "finished", folder, {}, {}, reports=[report])


@pytest.fixture
def tasks():
    return np.random.default_rng(0).random(500)


def test_a_trial_ties_if_the_paired_difference_may_be_nothing(tmp_path, tasks):
    noise = np.random.default_rng(1)
    records = [
        trial(tmp_path, 0, tasks),
        trial(tmp_path, 1, tasks - 0.01),  # always behind: the interval of the difference is a point
        trial(tmp_path, 2, tasks - 0.01 + noise.normal(0, 0.3, 500)),  # behind on average by less than the noise
        trial(tmp_path, 3, noise.random(500) - 0.3),
    ]
    selection = select(records)
    assert selection.best.number == 0 and [record.number for record in selection.ties] == [2] and selection.of == 4
    assert [selection.mark(number) for number in range(4)] == ["best", "", "tie", ""]


def test_pruned_trials_are_counted_but_not_chosen(tmp_path, tasks):
    records = [trial(tmp_path, 0, tasks + 0.1, state="pruned"), trial(tmp_path, 1, tasks)]
    selection = select(records)
    assert (selection.best.number, selection.of, selection.ties) == (1, 2, [])
    assert select(records[:1]).finalists == [] and select([]).best is None


def test_at_most_five_are_finalists_and_those_without_a_fresh_score_are_known(tmp_path, tasks):
    records = [trial(tmp_path, number, tasks) for number in range(8)]
    selection = select(records)
    assert len(selection.ties) == 7
    assert [record.number for record in selection.finalists] == list(range(MOST_FINALISTS))
    for number in (0, 3):
        Evaluation(np.ones(4, np.float32)).save(records[number].folder / FRESH_VALIDATION, {})
    assert [record.number for record in select(records).unscored] == [1, 2, 4]


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"PAR1 no more")])
def test_a_trial_whose_tasks_are_lost_ties_with_nothing(tmp_path, tasks, damage):
    records = [trial(tmp_path, 0, tasks), trial(tmp_path, 1, tasks)]
    damage(records[1].folder / BEST_VALIDATION)
    assert select(records).ties == []


def test_a_gain_is_paired_by_task_and_dated_when_both_are_known(tmp_path, tasks):
    best, reference = trial(tmp_path, 0, tasks + 0.25), trial(tmp_path, 1, tasks)
    gained = gain(replace(best, ended=5.0), replace(reference, reference="vanilla", ended=9.0))
    assert (gained.over, round(gained.validation.value, 6), gained.novel, gained.time) == ("vanilla", 0.25, None, 9.0)
    assert gain(best, reference).over == "trial_1"
