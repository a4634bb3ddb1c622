import itertools
import math
import os
import time

import numpy as np
import pytest
import torch

from datg.data.catalog import Dataset
from datg.data.splits import Split
from datg.errors import ConfigError, DataError, StateError, TrialDiverged, TrialTaken
from datg.learners import LEARNERS
from datg.learners.running_statistics import accumulate_running_statistics
from datg.storage.checkpoint import load_checkpoint, save_checkpoint
from datg.storage.lease import SECONDS_BETWEEN_HEARTBEATS, TRIAL_LEASE, Lease, last_heartbeat, read_lease, revoke
from datg.strategies import STRATEGIES
from datg.trial.config import TrialConfig
from datg.trial.data import TrialData
from datg.trial.final_evaluation import evaluate_best
from datg.trial.folder import BEST, BEST_VALIDATION, CLUSTERS, CONFIG, EVALUATION, LAST, PROGRESS, read_reports
from datg.trial.model import load_best
from datg.trial.prepare import check_trial, make_sampler
from datg.trial.run import StopTrial, run_trial
from datg.trial.training import Schedule
from tests.conftest import table_of


def dataset_of(**counts):
    sizes = {"base": 8, "validation": 4, "novel": 4, **counts}
    table = table_of([9] * sum(sizes.values()))
    names = iter(table.names)
    parts = {part: [next(names) for _ in range(number)] for part, number in sizes.items()}
    return Dataset("random", table, Split(protocol="file", **parts))


def config_of(**sections):
    values = {
        "dataset": "random",
        "task": {"ways": 3, "shots": 1, "queries": 3},
        "backbone": {"filters": 6},
        "training": {"iterations": 6, "eval_every": 2, "batch": 2},
        "evaluation": {"validation_tasks": 20, "test_tasks": 30},
    }
    for section, changes in sections.items():
        values[section] = {**values.get(section, {}), **changes} if isinstance(changes, dict) else changes
    return TrialConfig.from_dict(values)


def run(config, folder=None, *, stop_at=None, data=None):
    reports = []

    def report(progress):
        reports.append(progress)
        if stop_at is not None and progress.iteration >= stop_at:
            raise StopTrial

    result = run_trial(config, data or TrialData.from_dataset(dataset_of()), report=report, folder=folder)
    return result, reports


def without_time(progress):
    return {key: value for key, value in vars(progress).items() if key not in ("time", "seconds")}


PAIRS = [
    (strategy, learner)
    for strategy, learner in itertools.product(STRATEGIES, LEARNERS)
    if learner not in STRATEGIES[strategy].refused_learners
]


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("strategy", "learner", "preset"),
    # The other optimiser concerns no strategy: once without and once with an inner loop is enough.
    [(*pair, "mlti") for pair in PAIRS] + [("datg", "protonet", "paper"), ("vanilla", "maml", "paper")],
)
def test_a_continued_trial_is_the_same_to_the_bit(strategy, learner, preset, tmp_path):
    few = {"samples_test": 2} if strategy == "meta_dropout" else {}  # 30 draws take ten seconds
    config = config_of(strategy={"name": strategy, **few}, learner={"name": learner}, training={"preset": preset})
    whole, reports = run(config, tmp_path / "whole")
    for stop_at in (2, 4):
        stopped, _ = run(config, tmp_path / str(stop_at), stop_at=stop_at)
        assert stopped.outcome == "stopped"
        again, later = run(config, tmp_path / str(stop_at))
        assert later[0].iteration == stop_at, "the last validation is reported again first"
        assert without_time(again.last) == without_time(whole.last)
        for file in (LAST, BEST):
            ours, theirs = (
                load_checkpoint(folder / file)[0] for folder in (tmp_path / str(stop_at), tmp_path / "whole")
            )
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[name], theirs[name]) for name in ours), file
        assert [without_time(p) for p in read_reports(tmp_path / str(stop_at))] == [without_time(p) for p in reports]


@pytest.mark.matrix
# Two iterations, the tasks of running statistics (ProtoNet) and one block of validation tasks, three times.
@pytest.mark.parametrize(
    ("strategy", "learner", "asked"),
    [
        *(("datg", "protonet", asked) for asked in (1, 2, 3, 4, 6, 7, 8, 12)),
        *(("meta_dropout", "maml", asked) for asked in (2, 6)),
    ],
)
def test_an_interrupted_trial_is_saved_where_it_is_and_the_same_to_the_bit(strategy, learner, asked, tmp_path):
    few = {"samples_test": 2} if strategy == "meta_dropout" else {}
    config = config_of(strategy={"name": strategy, **few}, learner={"name": learner})
    _, reports = run(config, tmp_path / "whole")
    calls = itertools.count(1)
    stopped = run_trial(
        config,
        TrialData.from_dataset(dataset_of()),
        report=lambda progress: None,
        folder=tmp_path / "cut",
        stop=lambda: next(calls) == asked,
    )
    calls_an_interval = 4 if learner == "protonet" else 3
    done, into = divmod(asked - 1, calls_an_interval)
    assert stopped.outcome == "interrupted" and (stopped.last is None) == (done == 0)
    saved = int(load_checkpoint(tmp_path / "cut" / LAST)[0]["iteration"])
    assert saved == done * 2 + min(into, 2), "no iteration is lost"
    again, later = run(config, tmp_path / "cut")
    assert [p.iteration for p in later] == [2, 4, 6][max(0, done - 1) :]
    assert [without_time(p) for p in read_reports(tmp_path / "cut")] == [without_time(p) for p in reports]
    assert again.last.seconds >= stopped.last.seconds if stopped.last else again.last.seconds > 0
    for file in (LAST, BEST):
        ours, theirs = (load_checkpoint(tmp_path / name / file)[0] for name in ("cut", "whole"))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours), file


def test_a_trial_that_another_process_has_taken_over_writes_no_more(tmp_path):
    config, data, reports = config_of(), TrialData.from_dataset(dataset_of()), []

    def taken(progress):
        reports.append(progress)
        run(config, tmp_path)  # from its checkpoint to the end, elsewhere

    with pytest.raises(TrialTaken, match="has been taken over by process"):
        run_trial(config, data, report=taken, folder=tmp_path)
    assert len(reports) == 1 and len(read_reports(tmp_path)) == 3
    assert load_checkpoint(tmp_path / LAST)[0]["iteration"] == 6
    with pytest.raises(TrialTaken, match="has been taken over"):
        run_trial(
            config_of(seed=1), data, report=lambda progress: revoke(tmp_path / "b" / TRIAL_LEASE), folder=tmp_path / "b"
        )


def test_a_claim_tells_that_its_process_is_alive(tmp_path, monkeypatch):
    lease = Lease(tmp_path / TRIAL_LEASE, "cpu")
    assert read_lease(tmp_path / TRIAL_LEASE).pid == os.getpid() and read_lease(tmp_path / "nowhere") is None
    os.utime(tmp_path / TRIAL_LEASE, (1.0, 1.0))
    lease.heartbeat()
    assert last_heartbeat(tmp_path / TRIAL_LEASE) == 1.0, "not at every call"
    now = time.monotonic() + SECONDS_BETWEEN_HEARTBEATS
    monkeypatch.setattr("datg.storage.lease.time.monotonic", lambda: now)
    lease.heartbeat()
    assert last_heartbeat(tmp_path / TRIAL_LEASE) > time.time() - 60
    (tmp_path / TRIAL_LEASE).write_text("{")
    assert read_lease(tmp_path / TRIAL_LEASE) is None
    lease.check()
    assert read_lease(tmp_path / TRIAL_LEASE).is_active, "a claim that was lost is written again"


def test_a_trial_leaves_its_files(tmp_path):
    run(config_of(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        *(LAST, BEST, BEST_VALIDATION, PROGRESS, CLUSTERS, CONFIG, TRIAL_LEASE)
    }
    _, info = load_checkpoint(tmp_path / BEST)
    data = dataset_of()
    assert info["fingerprint"] == data.table.fingerprint and info["split"] == data.split.model_dump()
    assert TrialConfig.from_dict(info["config"]) == config_of()


def test_the_objective_is_the_best_validation_so_far_and_its_weights_are_kept(tmp_path):
    result, reports = run(config_of(training={"iterations": 12, "lr": 0.05}), tmp_path)
    accuracies = [progress.accuracy for progress in reports]
    assert [progress.objective for progress in reports] == [max(accuracies[: i + 1]) for i in range(len(accuracies))]
    assert result.last.best_iteration == 2 * (int(np.argmax(accuracies)) + 1)
    assert load_checkpoint(tmp_path / BEST)[1]["iteration"] == result.last.best_iteration


def test_the_last_weights_are_kept_where_validation_tells_nothing(tmp_path):
    result, reports = run(config_of(training={"iterations": 12, "keep": "last"}), tmp_path)
    assert [report.best_iteration for report in reports] == [report.iteration for report in reports]
    assert [report.objective for report in reports] == [report.accuracy for report in reports]
    assert any(later.accuracy < earlier.accuracy for earlier, later in itertools.pairwise(reports))
    assert load_checkpoint(tmp_path / BEST)[1]["iteration"] == result.last.iteration == 12


def test_the_seed_decides_training_and_the_evaluation_seed_the_tasks():
    first, again = (run(config_of())[1] for _ in range(2))
    assert [without_time(p) for p in first] == [without_time(p) for p in again]
    assert [p.losses for p in run(config_of(seed=1))[1]] != [p.losses for p in first]
    other_tasks = run(config_of(evaluation={"seed": 1}, strategy={"name": "vanilla"}))[1]
    same_tasks = run(config_of(strategy={"name": "vanilla"}))[1]
    assert [p.losses for p in other_tasks] == [p.losses for p in same_tasks]
    assert [p.accuracy for p in other_tasks] != [p.accuracy for p in same_tasks]


def test_a_trial_sees_no_novel_class():
    data = TrialData.from_dataset(dataset_of())
    novel = set(dataset_of().split.novel)
    assert not novel & set(data.base.names) and not novel & set(data.validation.names)
    # Even their pictures may be anything.
    poisoned = dataset_of()
    for start, count in zip(poisoned.part("novel").starts, poisoned.part("novel").counts, strict=True):
        poisoned.table.examples[start : start + count] = 255
    assert without_time(run(config_of(), data=TrialData.from_dataset(poisoned))[0].last) == without_time(
        run(config_of())[0].last
    )


def test_a_loss_that_is_not_finite_ends_the_trial(tmp_path):
    with pytest.raises(TrialDiverged, match="training diverged: `loss` was nan"):
        run(config_of(training={"optimiser": "sgd", "lr": 1e30, "iterations": 20, "eval_every": 10}), tmp_path)
    assert not (tmp_path / BEST).exists()


def test_a_loss_stuck_at_chance_is_called_collapsed():
    grey = dataset_of()
    grey.table.examples[:] = 128
    result, _ = run(config_of(strategy={"name": "vanilla"}), data=TrialData.from_dataset(grey))
    assert result.last.losses["ce"] == pytest.approx(math.log(3), abs=1e-3)
    assert result.outcome == "collapsed"
    assert run(config_of(training={"iterations": 60, "eval_every": 30, "lr": 0.01}))[0].outcome == "finished"


def test_the_schedule_multiplies_at_its_milestones():
    schedule = Schedule(lr=1.0, iterations=100, milestones=(0.6, 0.7), gamma=0.1)
    assert [schedule.at(i) for i in (0, 59, 60, 69, 70, 99)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("damage", ["truncate", "empty", "text", "other config", "foreign"])
def test_a_checkpoint_that_cannot_be_continued_is_refused(tmp_path, damage):
    run(config_of(), tmp_path, stop_at=2)
    path = tmp_path / LAST
    config = config_of()
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("hello " * 100)
    elif damage == "foreign":
        from safetensors.torch import save_file

        save_file({"x": torch.zeros(2)}, path)
    else:
        config = config_of(seed=5)
    with pytest.raises(StateError):
        run(config, tmp_path)


def test_the_final_evaluation_reads_the_best_weights(tmp_path):
    run(config_of(), tmp_path)
    novel = dataset_of().part("novel")
    found = evaluate_best(tmp_path / BEST, novel, save_to=tmp_path / EVALUATION)
    assert len(found.accuracies) == 30
    assert (evaluate_best(tmp_path / BEST, novel).accuracies == found.accuracies).all()
    more = evaluate_best(tmp_path / BEST, novel, tasks=10, shots=5)
    assert len(more.accuracies) == 10


def test_weights_of_another_architecture_are_refused(tmp_path):
    run(config_of(), tmp_path)
    weights, info = load_checkpoint(tmp_path / BEST)
    for change in ({"backbone": {"name": "conv4", "filters": 8}}, {"learner": {"name": "maml"}}):
        save_checkpoint(tmp_path / "x", weights, {**info, "config": {**info["config"], **change}})
        with pytest.raises(ConfigError, match="does not hold best weights of the architecture"):
            load_best(tmp_path / "x")
    with pytest.raises(ConfigError, match="does not hold best weights"):
        load_best(tmp_path / LAST)
    with pytest.raises(ConfigError, match="does not exist"):
        load_best(tmp_path / "none")


@pytest.mark.parametrize(
    ("sections", "counts", "error", "message"),
    [
        (
            {"strategy": {"name": "datg", "clusters": 3}},
            {},
            ConfigError,
            "at most 2 for 8 base classes and 3 ways, got 3",
        ),
        ({"task": {"ways": 5}}, {}, DataError, "validation has 4 classes for 5 ways; novel has 4 classes for 5 ways"),
        ({"task": {"queries": 9}}, {}, DataError, "fewer than 1 \\+ 9 examples: class 0 \\(9\\), class 1 \\(9\\)"),
    ],
)
def test_a_configuration_is_checked_against_the_data(sections, counts, error, message):
    with pytest.raises(error, match=message):
        check_trial(config_of(**sections), dataset_of(**counts))


def test_a_trial_goes_on_from_a_version_that_lacked_an_option_of_today(tmp_path):
    config = config_of(training={"precision": "float32"})
    whole, _ = run(config, tmp_path / "whole")
    _, before = run(config, tmp_path / "cut", stop_at=2)
    state, info = load_checkpoint(tmp_path / "cut" / LAST)
    del info["config"]["training"]["compile"], info["precision"]
    save_checkpoint(tmp_path / "cut" / LAST, state, info)
    again, reports = run(config, tmp_path / "cut")
    assert reports[0] == before[0], "it goes on"
    assert without_time(again.last) == without_time(whole.last)


@pytest.mark.parametrize("wrong", [{"seed": 1}, {"unheard": 1}])
def test_the_checkpoint_of_another_configuration_is_refused(wrong, tmp_path):
    run(config_of(), tmp_path, stop_at=2)
    state, info = load_checkpoint(tmp_path / LAST)
    save_checkpoint(tmp_path / LAST, state, info | {"config": info["config"] | wrong})
    with pytest.raises(StateError, match="belongs to another configuration"):
        run(config_of(), tmp_path)


def test_the_weights_of_a_validation_have_running_statistics_of_base_classes_that_belong_to_them(tmp_path):
    config, data = config_of(training={"keep": "last", "precision": "float32"}), TrialData.from_dataset(dataset_of())
    run(config, tmp_path, data=data)
    learner = load_best(tmp_path / BEST).learner
    saved = {name: value.clone() for name, value in learner.state_dict().items() if "running" in name}
    sampler = make_sampler(config, data.base, torch.device("cpu"))
    accumulate_running_statistics(learner, sampler, seed=config.evaluation.seed)
    assert saved
    for name, value in saved.items():
        torch.testing.assert_close(value, learner.state_dict()[name])


@pytest.mark.parametrize(("strategy", "learner"), [("datg", "protonet"), ("datg", "maml"), ("meta_reg", "maml")])
def test_compiled_normalisation_is_used_where_it_is_asked_for_and_changes_nothing(
    strategy, learner, monkeypatch, tmp_path
):
    from datg.backbones import batch_norm

    used = []
    monkeypatch.setattr(batch_norm, "_compiled", lambda: lambda *a: used.append(a[0].ndim) or batch_norm._at_once(*a))
    results = []
    for compiled in (False, True):
        training = {"batch": 4, "precision": "float32", "compile": compiled}
        config = config_of(strategy={"name": strategy}, learner={"name": learner}, training=training)
        results.append(run(config, tmp_path / str(compiled))[0].last)
        assert bool(used) == compiled
    assert results[1].losses == pytest.approx(results[0].losses, rel=1e-3)


@pytest.mark.parametrize(("strategy", "learner"), [("datg", "protonet"), ("vanilla", "maml")])
def test_a_trial_of_another_kind_of_device_goes_on_with_streams_derived_anew(strategy, learner, tmp_path):
    config = config_of(strategy={"name": strategy}, learner={"name": learner})
    run(config, tmp_path, stop_at=2)
    state, info = load_checkpoint(tmp_path / LAST)
    assert info["device"] == "cpu"
    for name in ("tasks", "partners", "noise"):
        state[f"streams.{name}"] = torch.zeros(16, dtype=torch.uint8)  # seed and offset, as a GPU's generator has it
    save_checkpoint(tmp_path / LAST, state, {**info, "device": "cuda"})
    run(config, tmp_path, stop_at=4)
    assert load_checkpoint(tmp_path / LAST)[1]["device"] == "cpu", "saved where it went on"
    run(config, tmp_path)
    remarks = [entry.remark for entry in read_reports(tmp_path)]
    said = "on cpu from iteration 2, on cuda before, with random streams derived anew"
    assert remarks == ["", said, *[""] * (len(remarks) - 2)]
