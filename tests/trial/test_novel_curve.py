"""The accuracy on novel classes over training is measured when training has ended, and nothing can be chosen by it."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from datg.errors import ConfigError
from datg.report.page.comparison import comparison_sections
from datg.search.comparison.grid import Comparison
from datg.search.disk_space import bytes_needed
from datg.search.space import with_params
from datg.search.state.folder import SearchFolder
from datg.storage.checkpoint import load_checkpoint
from datg.storage.files import write_yaml
from datg.trial.accuracies import Evaluation
from datg.trial.config import TrialConfig
from datg.trial.data import TrialData
from datg.trial.final_evaluation import evaluate_best
from datg.trial.folder import (
    BEST,
    CONFIG,
    CURVE,
    EVALUATION,
    PROGRESS,
    read_reports,
    report_lines,
    scores_of,
    weights_at,
)
from datg.trial.novel_curve import evaluate_curve, read_curve
from datg.trial.records import TrialOutcome, write_outcome
from datg.trial.run import run_trial
from tests.search.conftest import settings_for
from tests.search.study.test_driver import progress_of
from tests.trial.test_run import config_of, dataset_of, without_time

CURVED = {"evaluation": {"validation_tasks": 20, "test_tasks": 40, "novel_curve": True}}


def train(folder, dataset, **sections):
    config = config_of(**sections)
    run_trial(config, TrialData.from_dataset(dataset), report=lambda progress: None, folder=folder)
    return [without_time(progress) for progress in read_reports(folder)]


def test_training_goes_as_without_it_and_leaves_the_weights_of_every_validation(tmp_path):
    dataset = dataset_of()
    plain = {"evaluation": CURVED["evaluation"] | {"novel_curve": False}}
    reports = train(tmp_path / "curve", dataset, **CURVED)
    assert train(tmp_path / "plain", dataset, **plain) == reports
    with_curve, without = (load_checkpoint(tmp_path / name / BEST)[0] for name in ("curve", "plain"))
    assert all(torch.equal(with_curve[name], value) for name, value in without.items())
    kept = sorted(int(path.stem) for path in (tmp_path / "curve" / CURVE).iterdir())
    assert kept == [progress["iteration"] for progress in reports] and not (tmp_path / "plain" / CURVE).exists()
    best = load_checkpoint(weights_at(tmp_path / "curve", reports[-1]["best_iteration"]))[0]
    assert all(torch.equal(best[name], value) for name, value in with_curve.items())


def test_novel_classes_change_the_curve_and_nothing_else(tmp_path):
    """The objective cannot leak: with other novel examples every report is the same, and the curve is another."""
    dataset = dataset_of()
    table, split = dataset.table, dataset.split
    examples = np.array(table.examples)
    for name in split.novel:
        place = table.names.index(name)
        first, count = int(table.starts[place]), int(table.counts[place])
        examples[first : first + count] = np.random.default_rng(place).integers(
            0, 255, examples[first : first + count].shape
        )
    other = replace(dataset, table=replace(table, examples=examples))
    reports, curves = [], []
    for name, data in (("one", dataset), ("other", other)):
        reports.append(train(tmp_path / name, data, **CURVED))
        assert not read_curve(tmp_path / name), "while a trial is under way nobody looks"
        evaluate_curve(tmp_path / name, data.part("novel"))
        curves.append(read_curve(tmp_path / name))
    assert reports[0] == reports[1]
    assert list(curves[0]) == list(curves[1]) == [progress["iteration"] for progress in reports[0]]
    assert any(not np.array_equal(curves[0][place], curves[1][place]) for place in curves[0])


def test_a_point_is_the_beginning_of_the_final_evaluation_of_these_weights(tmp_path):
    dataset = dataset_of()
    reports = train(tmp_path / "a", dataset, **CURVED)
    evaluate_curve(tmp_path / "a", dataset.part("novel"))
    final = evaluate_best(tmp_path / "a" / BEST, dataset.part("novel"), save_to=tmp_path / "a" / EVALUATION)
    assert np.array_equal(read_curve(tmp_path / "a")[reports[-1]["best_iteration"]], final.accuracies[:20])


def test_what_is_evaluated_is_not_evaluated_again(tmp_path, monkeypatch):
    dataset = dataset_of()
    train(tmp_path / "a", dataset, **CURVED)
    evaluate_curve(tmp_path / "a", dataset.part("novel"))
    first, *_ = sorted((tmp_path / "a" / CURVE).glob("*.parquet"))
    first.unlink()
    asked = []
    monkeypatch.setattr(
        "datg.trial.novel_curve.evaluate_best", lambda weights, *_, save_to, **__: asked.append(save_to.name)
    )
    evaluate_curve(tmp_path / "a", dataset.part("novel"))
    assert asked == [first.name]


def test_a_comparison_draws_its_curves(tmp_path, glyphs, data_root):
    """On its page, which is written from folders alone."""
    comparison = Comparison.parse("protonet", "vanilla,datg", 2, settings={}, tuned=[])
    settings = settings_for(glyphs, data_root, partial(comparison.grid, glyphs), evaluation__novel_curve=True)
    folder = SearchFolder(tmp_path / "curved")
    folder.path.mkdir()
    settings.save(folder)
    sections = {part.title: part.blocks for part in comparison_sections(folder, settings)}
    assert not sections["Novel classes over training"][1:], "nothing has begun"
    for number in range(4):
        write_trial(folder, settings, number)
    drawn = {part.title: part.blocks for part in comparison_sections(folder, settings)}["Novel classes over training"][
        1
    ].drawn
    assert [line.name for line in drawn.data] == ["vanilla", "datg"] and list(drawn.data[0].x) == [10, 20, 30, 40]


def write_trial(folder, settings, number):
    path = folder.trial(number)
    path.mkdir(parents=True)
    write_yaml(path / CONFIG, with_params(settings.config, settings.grid[number]).to_dict())
    (path / PROGRESS).write_text(report_lines([vars(progress_of(10 * step, 0.4)) for step in range(1, 5)]))
    scores = Evaluation(np.full(20, 0.4, np.float32))
    scores.save(path / EVALUATION, {})
    (path / CURVE).mkdir()
    for step in range(1, 5):
        scores.save(scores_of(weights_at(path, 10 * step)), {})
    write_outcome(path, TrialOutcome("finished", "", 1.0))


def test_no_search_may_have_it(glyphs, data_root):
    with pytest.raises(
        ConfigError, match="`evaluation.novel_curve` evaluates novel classes over training, and no search may"
    ):
        settings_for(glyphs, data_root, evaluation__novel_curve=True)


def test_room_is_asked_for_all_weights(glyphs, data_root):
    settings = settings_for(glyphs, data_root)
    config = settings.config.model_copy(
        update={"evaluation": settings.config.evaluation.model_copy(update={"novel_curve": True})}
    )
    curved = settings.model_copy(update={"config": config})
    base = glyphs.part("base")
    assert (
        bytes_needed(curved, base, 2)
        > bytes_needed(settings, base, 2) + 4 * 6 * 8 * settings.config.evaluation.validation_tasks
    )


@pytest.mark.parametrize("number", [2, 3, 5])
def test_smaller_sets_of_base_classes_lie_in_larger_ones(number):
    dataset = dataset_of()
    smaller, larger = (dataset.with_base_classes(n).split for n in (number, number + 1))
    assert len(smaller.base) == number and set(smaller.base) < set(larger.base) <= set(dataset.split.base)
    assert (smaller.validation, smaller.novel) == (dataset.split.validation, dataset.split.novel)
    assert f"{number} of {len(dataset.split.base)} base classes" in smaller.protocol
    assert dataset.with_base_classes(None) is dataset


def test_data_with_another_number_of_base_classes_are_refused(tmp_path):
    dataset = dataset_of()
    config = TrialConfig.from_dict(config_of(**CURVED).to_dict() | {"base_classes": 4})
    with pytest.raises(ConfigError, match=r"`base_classes` is 4 and the data have \d+ base classes"):
        run_trial(config, TrialData.from_dataset(dataset), report=lambda progress: None)
    with pytest.raises(ConfigError, match="`base_classes` must be at most"):
        dataset.with_base_classes(100)
