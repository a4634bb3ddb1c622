"""The report: every kind of run, every stage of a search, and what a stranger may point it at."""

import json
import re
import shutil
from dataclasses import replace

import pytest
from plotly.offline import get_plotlyjs

from datg.config import flatten
from datg.errors import ConfigError, StateError
from datg.report.page.found import Search
from datg.report.page.importances import LEAST_TRIALS, importances
from datg.report.page.study import as_study, widest
from datg.report.page.write import write_report
from datg.search.state.folder import DriverLock
from datg.storage.files import read_yaml, write_yaml
from datg.trial.folder import PROGRESS
from datg.trial.records import TrialOutcome, write_outcome
from tests.report.scripted import write_search
from tests.search.conftest import settings_for

MANY = ["finished"] * 12 + ["pruned"] * 5 + ["collapsed", "diverged", "failed", " "]


@pytest.fixture(scope="module")
def settings(glyphs, data_root):
    return settings_for(glyphs, data_root)


@pytest.fixture
def without_pictures(monkeypatch):
    """Pictures take most of the time of a report, and are the same in all stages of a search."""
    for module in ("search", "comparison"):
        monkeypatch.setattr(f"datg.report.page.{module}.picture_blocks", lambda settings, best=None: [])


def records_of(folder):
    return Search.read(folder).records


def page_of(place, names):
    return write_report(place, names).read_text()


def figures_in(page):
    return [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page)]


def test_the_report_of_a_search_answers_in_its_first_line(tmp_path, settings):
    folder = write_search(tmp_path / "one", settings, MANY)
    page = page_of(tmp_path, ["one"])
    search = Search.read(folder)
    best = search.selection.best
    scored, fresh = sum(record.objective is not None for record in search.records), best.fresh_validation
    assert (
        f"Trial {best.number} is the best of {scored}: {best.objective:.4f} ± 0.0100 on validation, "
        f"{fresh.accuracy:.4f} ± {fresh.ci95:.4f} on fresh validation tasks." in page
    )
    assert "It cannot be told from trial" in page or not search.selection.ties
    assert "1 x failed: its machine broke (trial 19)" in page and "trial 17 collapsed" in page
    assert page.count("part could not be made") == 0
    figures = figures_in(page)
    assert len(figures) == 1 + len(settings.space) + 2 + 4, (
        "importances, slices, contour, parallel, and four of its course"
    )
    assert all(figure["data"] for figure in figures)


def test_a_page_needs_no_network_and_has_plotly_once(tmp_path, settings):
    write_search(tmp_path / "one", settings, MANY)
    page = page_of(tmp_path, ["one"])
    own = page.replace(get_plotlyjs(), "")
    assert re.findall(r"""(?:src|href)="(?!data:|#)|@import|url\(|https?://""", own) == []
    assert len(page) < 8_000_000 and page.count(get_plotlyjs()) == 1


@pytest.mark.parametrize(
    ("outcomes", "told"),
    [
        ([], "0 of 1 trials begun; none has ended yet"),
        ([" "], "No trial has finished yet, so there is no best."),
        (["finished"], "Trial 0 is the best: "),
        (["pruned"], "No trial finished"),
        (["failed", "diverged"], "1 x diverged: its machine broke (trial 1)"),
        (["finished", "pruned"], "1 trials finished: 10 are needed"),
    ],
)
def test_a_search_at_any_stage_has_a_report(outcomes, told, tmp_path, settings, without_pictures):
    write_search(tmp_path / "one", settings, outcomes)
    page = page_of(tmp_path, ["one"])
    assert told in page and "part could not be made" not in page


def test_a_search_of_one_setting_says_nothing_of_importance(tmp_path, settings, without_pictures):
    one = settings.model_copy(update={"space": {"strategy.clusters": {"int": [2, 8]}}})
    write_search(tmp_path / "one", one, ["finished"] * 12)
    page = page_of(tmp_path, ["one"])
    assert "Importance" not in page and "strategy.clusters" in page and "part could not be made" not in page


def test_choices_stand_on_an_axis_of_their_own(tmp_path, settings, without_pictures):
    space = {"strategy.clusters": {"int": [2, 8]}, "learner.distance_scale": {"choice": ["none", "dimension"]}}
    write_search(tmp_path / "one", settings.model_copy(update={"space": space}), ["finished"] * 12)
    page = page_of(tmp_path, ["one"])
    assert "part could not be made" not in page
    values = {
        value for figure in figures_in(page) for value in figure["data"][0].get("x") or [] if isinstance(value, str)
    }
    assert {"none", "dimension"} <= values


def test_the_most_important_setting_is_found_and_its_interval_holds_it(tmp_path, settings):
    folder = write_search(tmp_path / "one", settings, ["finished"] * 40)
    found = importances(Search.read(folder).study)
    assert found[0].key == "strategy.clusters" and found[0].share > 0.3
    assert all(0 <= entry.low <= entry.high <= 1 for entry in found)
    assert sum(entry.share for entry in found) == pytest.approx(1)
    few = as_study(settings, Search.read(folder).records[: LEAST_TRIALS - 1])
    assert importances(few) == []


def test_a_range_that_hangs_on_another_is_taken_at_its_widest(settings):
    found = widest(settings, [])
    assert (found["strategy.mix_high"].low, found["strategy.mix_high"].high) == (0, 4)
    outside = {key: distribution.low for key, distribution in found.items()} | {"strategy.clusters": 30}
    assert widest(settings, [outside])["strategy.clusters"].high == 30, (
        "a range that was narrowed later holds what was tried"
    )


def test_several_searches_stand_side_by_side_also_over_other_spaces(tmp_path, settings):
    write_search(tmp_path / "one", settings, MANY)
    other = settings.model_copy(update={"space": {"strategy.alpha": {"log": [0.1, 10]}}})
    write_search(tmp_path / "two", other, ["finished", "finished", "pruned"])
    path = write_report(tmp_path, ["one", "two"])
    page = path.read_text()
    assert path == tmp_path / "one-and-two.html"
    assert "2 searches side by side" in page and "validation, minus the first, paired" in page
    assert "<td>strategy.mmd_weight</td>" in page and "part could not be made" not in page


def test_damage_costs_a_part_and_not_the_report(tmp_path, settings, without_pictures):
    folder = write_search(tmp_path / "one", settings, MANY)
    folder.study.write_bytes(b"not a database")
    (folder.trial(3) / "config.yaml").write_text("{")
    (folder.trial(4) / PROGRESS).write_text("{")
    (folder.trial(5) / "evaluation.parquet").write_bytes(b"x")
    page = page_of(tmp_path, ["one"])
    assert "is the best of" in page and "part could not be made" not in page


def test_a_best_whose_configuration_cannot_be_read_is_still_the_answer(tmp_path, settings, without_pictures):
    folder = write_search(tmp_path / "one", settings, MANY)
    best = Search.read(folder).selection.best
    (best.folder / "config.yaml").write_text("{")
    page = page_of(tmp_path, ["one"])
    assert f"Trial {best.number} is the best of" in page and "part could not be made" not in page


def test_choices_may_be_nothing_or_lists(tmp_path, settings, without_pictures):
    space = {"strategy.clusters": {"int": [2, 8]}, "training.clip": {"choice": [None, [1, 2], "a"]}}
    one = settings.model_copy(update={"space": space})
    searched = [{"strategy.clusters": 2 + n % 7, "training.clip": [None, [1, 2], "a"][n % 3]} for n in range(12)]
    folder = write_search(tmp_path / "one", settings, ["finished"] * 12)
    records = [replace(record, searched=values) for record, values in zip(records_of(folder), searched, strict=True)]
    study = as_study(one, records)
    assert len(study.trials) == 12
    assert {trial.params["training.clip"] for trial in study.trials} == {"None", "[1, 2]", "a"}
    assert sum(entry.share for entry in importances(study)) == pytest.approx(1)


def test_only_what_finished_is_measured_against_and_its_failure_is_told(tmp_path, settings, without_pictures):
    named = settings.model_copy(update={"references": {"vanilla": {"strategy": {"name": "vanilla"}}, "own": {}}})
    folder = write_search(tmp_path / "one", named, MANY)
    for name, outcome in (("vanilla", "failed"), ("own", "finished")):
        shutil.copytree(folder.trial(1), folder.reference(name))
        write_outcome(
            folder.reference(name), TrialOutcome(outcome, "out of memory" if outcome == "failed" else "", 1.0)
        )
    page = page_of(tmp_path, ["one"])
    (failed,) = re.findall(r"<td>vanilla</td><td>failed</td><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td>", page)
    assert failed == ("", "", "out of memory")
    assert re.search(r"<td>the setting that the search began from</td><td>finished</td><td>[+-]0.\d{4} ± ", page)


def test_a_trial_that_nobody_computes_is_interrupted(tmp_path, settings, without_pictures):
    folder = write_search(tmp_path / "one", settings, ["finished", "pruned"])
    (folder.trial(1) / "outcome.json").unlink()
    page = page_of(tmp_path, ["one"])
    assert "<td></td><td>interrupted</td>" in page and "<td></td><td>running</td>" not in page
    ends = [bar for figure in figures_in(page) for bar in figure["data"] if bar.get("name") == "interrupted"]
    assert len(ends) == 1 and max(ends[0]["x"]) < 3_600_000, "it does not last until now"
    with DriverLock(folder):
        assert "<td></td><td>running</td>" in page_of(tmp_path, ["one"])


def test_searches_on_other_tasks_are_not_paired(tmp_path, settings, without_pictures):
    write_search(tmp_path / "one", settings, ["finished"])
    other_task = settings.config.model_copy(update={"task": settings.config.task.model_copy(update={"shots": 5})})
    write_search(tmp_path / "two", settings.model_copy(update={"config": other_task}), ["finished"])
    write_search(tmp_path / "three", settings, ["finished"])
    assert "not on the same tasks" in page_of(tmp_path, ["one", "two"])
    assert "+0.0000 ± 0.0000" in page_of(tmp_path, ["one", "three"])
    assert write_report(tmp_path, ["one", "two", "three"]).name == "one-and-2-others.html"


def test_the_commands_of_a_search_of_a_comparison_are_the_comparisons(tmp_path, settings, without_pictures):
    write_search(tmp_path / "grid--vanilla", settings.model_copy(update={"comparison": "grid"}), ["finished"])
    page = page_of(tmp_path, ["grid--vanilla"])
    assert f"datg compare --resume {tmp_path}/grid\n" in page and "datg search --resume" not in page


def test_data_that_are_gone_are_said_to_be(tmp_path, settings):
    moved = settings.model_copy(update={"data_root": str(tmp_path / "nowhere")})
    gone = moved.model_copy(update={"config": moved.config.model_copy(update={"dataset": "moved"})})
    write_search(tmp_path / "one", gone, ["finished"])
    assert "no picture of the data, which is not where the search found it" in page_of(tmp_path, ["one"])


def test_data_that_moved_with_their_project_are_shown(tmp_path, settings, data_root, monkeypatch):
    monkeypatch.setenv("DATG_DATA", str(data_root))
    write_search(tmp_path / "one", settings.model_copy(update={"data_root": str(tmp_path / "old")}), ["finished"])
    page = page_of(tmp_path, ["one"])
    assert "no picture of the data" not in page and "novel classes" in page and "--data-root" not in page
    assert not (tmp_path / "old").exists()


def test_the_novel_classes_of_a_search_that_is_tested_elsewhere_are_those_of_there(
    tmp_path, settings, without_pictures
):
    other = {"dataset": "moles", "fingerprint": "f" * 64, "split": settings.provenance["split"] | {"novel": ["a mole"]}}
    crossed = settings.model_copy(update={"provenance": settings.provenance | {"tested on": other}})
    write_search(tmp_path / "one", crossed, ["finished"])
    page = page_of(tmp_path, ["one"])
    assert re.search(r"<td>novel</td><td>1</td><td>[^<]*</td><td>a mole</td>", page)


def test_what_stands_in_a_name_is_no_markup(tmp_path, settings, without_pictures):
    split = settings.provenance["split"] | {"validation": ["<script>alert(1)</script>"]}
    named = settings.model_copy(update={"provenance": settings.provenance | {"split": split}})
    write_search(tmp_path / "one", named, ["finished"])
    page = page_of(tmp_path, ["one"])
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page


def test_how_it_was_made_says_where_values_come_from(tmp_path, settings, without_pictures):
    told = settings.model_copy(
        update={"command": "datg search --dataset glyphs", "origins": {"backbone.filters": "flag"}}
    )
    write_search(tmp_path / "one", told, ["finished"])
    page = page_of(tmp_path, ["one"])
    assert "datg search --dataset glyphs" in page
    assert re.search(r"<td>backbone.filters</td><td>6</td><td>flag</td>", page)
    searched = set(flatten(settings.config.to_dict())) & set(settings.space)
    assert searched and not any(f"<td>{key}</td><td>2</td><td>default</td>" in page for key in searched)


def test_what_is_no_search_and_what_another_version_wrote_are_refused(tmp_path, settings):
    with pytest.raises(ConfigError, match="`nothing` is no search in"):
        write_report(tmp_path, ["nothing"])
    folder = write_search(tmp_path / "one", settings, ["finished"])
    write_yaml(folder.settings, read_yaml(folder.settings) | {"unheard_of": 1})
    with pytest.raises(StateError, match="damaged or missing"):
        write_report(tmp_path, ["one"])


def test_a_comparison_stands_by_itself(tmp_path, settings, without_pictures):
    write_search(tmp_path / "one", settings, ["finished"])
    grid = [{"learner": {"name": "protonet"}, "strategy": {"name": "vanilla"}, "seed": 0}]
    write_search(tmp_path / "two", settings.model_copy(update={"grid": grid, "space": {}}), ["finished"])
    page = page_of(tmp_path, ["two"])
    assert "Accuracy on novel classes" in page and "vanilla" in page and "part could not be made" not in page
    with pytest.raises(ConfigError, match="two is a comparison; only searches stand side by side"):
        write_report(tmp_path, ["one", "two"])


def test_one_that_is_driven_says_that_it_still_runs(tmp_path, settings, without_pictures):
    folder = write_search(tmp_path / "one", settings, MANY)
    assert "Still running" not in page_of(tmp_path, ["one"])
    with DriverLock(folder):
        assert "Still running: this page shows what is known so far." in page_of(tmp_path, ["one"])
