import numpy as np
import pytest
import torch

from datg.data.episodes import DeviceTable, TaskSampler
from datg.learners.inner_loop import BYTES_AN_EXAMPLE
from datg.learners.prediction import BYTES_A_VALUE
from datg.runtime.random_streams import derive_seed
from datg.trial.accuracies import Evaluation, load_evaluation
from datg.trial.evaluation import evaluate
from tests.conftest import learner_of, table_of

LEARNER_OPTIONS = [("protonet", {}), ("protonet", {"evaluation_statistics": "batch"}), ("maml", {})]


def make(name, options, counts=(9, 12, 8, 20, 10)):
    learner = learner_of(name, **options)
    sampler = TaskSampler(DeviceTable.from_table(table_of(list(counts))), ways=3, shots=2, queries=4)
    with torch.no_grad():  # running statistics that are not the initial ones
        learner.train()
        learner.backbone(sampler.classes.gather(torch.arange(40))[None, None])
    return learner, sampler


def plain_accuracies(learner, sampler, tasks, seed):
    """The textbook: one task at a time, its pictures embedded anew."""
    learner.eval()
    found = []
    for number in range(tasks):
        rows = sampler.draw_numbered(number, 1, seed=derive_seed(seed, "test")).rows
        examples = sampler.classes.gather(rows)
        if learner.embeds_once:
            embedded = learner.backbone(examples, running=True).flatten(3)[0]
            prototypes, queries = embedded[:, :2].mean(1), embedded[:, 2:].flatten(0, 1)
            guesses = torch.cdist(queries, prototypes).argmin(1)
        else:
            guesses = learner.predict(examples, 2)[0].argmax(1)
        found.append((guesses == torch.arange(3).repeat_interleave(4)).double().mean().item())
    return np.array(found)


@pytest.mark.parametrize(("name", "options"), LEARNER_OPTIONS)
def test_it_is_the_textbook_evaluation(name, options):
    learner, sampler = make(name, options)
    found = evaluate(learner, sampler, tasks=60, seed=3, purpose="test")
    expected = plain_accuracies(learner, sampler, 60, 3)
    # A query on the border between two prototypes may fall to the other side by rounding.
    assert np.abs(found.accuracies - expected).max() <= 1 / 12 + 1e-6
    assert (np.abs(found.accuracies - expected) < 1e-6).mean() > 0.95


@pytest.mark.parametrize(("name", "options"), LEARNER_OPTIONS)
def test_a_task_does_not_depend_on_how_many_are_evaluated_or_at_once(name, options, monkeypatch):
    learner, sampler = make(name, options)
    many = evaluate(learner, sampler, tasks=50, seed=0, purpose="test")
    monkeypatch.setattr("datg.learners.protonet.EXAMPLES_AT_ONCE", 60)
    monkeypatch.setattr("datg.learners.inner_loop.BYTES_ADAPTED_AT_ONCE", 60 * BYTES_AN_EXAMPLE)
    monkeypatch.setattr("datg.learners.prediction.BYTES_AT_ONCE", 60 * 3 * 16 * 16 * BYTES_A_VALUE)
    few = evaluate(learner, sampler, tasks=20, seed=0, purpose="test")
    assert np.abs(many.accuracies[:20] - few.accuracies).max() <= 1 / 12 + 1e-6
    assert (many.accuracies[:20] == few.accuracies).mean() > 0.9


def test_validation_and_test_have_tasks_of_their_own():
    learner, sampler = make("protonet", {})
    first, other, again = (
        evaluate(learner, sampler, tasks=40, seed=0, purpose=purpose).accuracies
        for purpose in ("test", "validation", "test")
    )
    assert (first == again).all() and (first != other).any()


def test_the_learner_is_left_as_it_was():
    learner, sampler = make("protonet", {})
    learner.train()
    before = {key: value.clone() for key, value in learner.state_dict().items()}
    evaluate(learner, sampler, tasks=10, seed=0, purpose="test")
    assert learner.training
    assert all(torch.equal(value, before[key]) for key, value in learner.state_dict().items())


def test_progress_is_told_up_to_the_end():
    learner, sampler = make("protonet", {})
    told = []
    evaluate(learner, sampler, tasks=700, seed=0, purpose="test", progress=told.append)
    assert told[-1] == 700 and told == sorted(told)


def test_the_interval_is_that_of_the_mean_over_tasks(tmp_path):
    values = np.random.default_rng(0).random(1000).astype(np.float32)
    found = Evaluation(values)
    assert found.mean == pytest.approx(values.mean(dtype=np.float64))
    assert found.ci95 == pytest.approx(1.96 * np.std(values.astype(np.float64), ddof=1) / np.sqrt(1000))
    found.save(tmp_path / "e.parquet", {"seed": 3})
    assert (load_evaluation(tmp_path / "e.parquet").accuracies == values).all()
