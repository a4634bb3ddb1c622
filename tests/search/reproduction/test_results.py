"""Tables, figures and verdicts from what has been run."""

import csv
import json
import subprocess

import numpy as np
import pytest

from datg.data import search_spaces
from datg.errors import ConfigError, StateError
from datg.report.page.reproduction import read_reproduction, write_page_of, write_reproduction_files
from datg.search.reproduction import curves
from datg.search.reproduction.curves import reproduce_figure
from datg.search.reproduction.folder import Reproduction, ReproductionResults, unit_folder
from datg.search.reproduction.forms import Reproduced, as_json, describe_claim, format_row, without_silent
from datg.search.reproduction.paper import TABLE1, TABLE3, Column
from datg.search.reproduction.prepare import check_names, check_places, check_unchanged
from datg.search.reproduction.tables import CONFIRMED, NOT_RUN, REFUTED, UNDECIDED, Claim, reproduce_table
from datg.search.state.folder import SearchFolder
from datg.trial.accuracies import Summary
from datg.trial.folder import EVALUATION
from datg.trial.records import TrialOutcome, write_outcome
from tests.search.reproduction.scripted import wanted, write_reproduction_folder


def write_reproduction(folder, *, running):
    reproduced = read_reproduction(folder)
    write_reproduction_files(reproduced)
    write_page_of(reproduced, running=running)
    return reproduced


WORTH = {"vanilla": 0.40, "metamix": 0.42, "meta_maxup": 0.41, "mlti": 0.47, "datg": 0.45}
SPREAD = {0: -0.01, 1: 0.0, 2: 0.01}  # over seeds


def steady(unit, strategy, seed):
    """Accuracies whose differences are the same for every seed, but for that of mlti to datg."""
    shaken = 0.04 * (seed - 1) if strategy == "mlti" else 0.001 * (seed - 1) * (strategy == "datg")
    return WORTH.get(strategy, 0.43) + SPREAD[seed] + shaken


@pytest.fixture
def results(tmp_path, data_root):
    return write_reproduction_folder(tmp_path / "paper", data_root, wanted("table1", "figure4a"), steady)


def verdicts(claims):
    return {claim.text: claim.verdict for claim in claims}


def test_a_table_has_ours_beside_the_papers(results):
    table = reproduce_table(TABLE1, results)
    assert [row.strategy for row in table.rows] == list(WORTH)
    first = table.rows[0]
    assert first.ours.mean == pytest.approx(0.40, abs=0.02) and first.ours.seeds == 3
    assert first.ours.seeds_ci95 == pytest.approx(4.303 * 0.01 / 3**0.5, rel=1e-3)
    assert first.paper is None and first.difference is None, "the paper has no glyphs"
    formatted = format_row(first)
    assert formatted["paper"] == formatted["minus paper"] == "—" and formatted["seeds"] == "3"
    assert set(without_silent([format_row(row) for row in table.rows])[0]) == {"strategy", "seeds", "ours"}


def test_orderings_are_confirmed_refuted_or_undecided_by_the_interval_over_seeds(results):
    found = verdicts(reproduce_table(TABLE1, results).claims)
    assert found == {
        "datg is ahead of vanilla": CONFIRMED,
        "datg is ahead of metamix": CONFIRMED,
        "datg is ahead of meta_maxup": CONFIRMED,
        "datg is ahead of mlti": UNDECIDED,
        "mlti is ahead of vanilla": UNDECIDED,
    }


@pytest.mark.parametrize(
    ("mean", "over_seeds", "verdict"),
    [(0.01, 0.005, CONFIRMED), (-0.01, 0.005, REFUTED), (0.01, 0.02, UNDECIDED), (0.01, None, UNDECIDED)],
)
def test_the_interval_over_tasks_decides_nothing(mean, over_seeds, verdict):
    claim = Claim(text="a is ahead of b", where="here", difference=Summary(mean, 0.001, over_seeds, None, 3))
    assert claim.verdict == verdict and describe_claim(claim).startswith(f"{verdict}: a is ahead of b (here): ")


def test_a_curve_says_who_falls_in_the_last_third_of_training(tmp_path, data_root):
    falling = lambda unit, strategy, seed: (0.6 if strategy == "vanilla" else 0.5) + 0.001 * seed  # noqa: E731
    results = write_reproduction_folder(tmp_path / "paper", data_root, wanted("figure4a"), falling)
    figure = reproduce_figure("figure4a", results)
    assert list(figure.lines["vanilla"]) == [10, 20, 30, 40]
    assert figure.lines["vanilla"][20].mean - figure.lines["vanilla"][40].mean == pytest.approx(0.202, abs=1e-3)
    assert figure.lines["datg"][20].mean - figure.lines["datg"][40].mean == pytest.approx(0.002, abs=1e-3)
    # Of four points a third is one: the third minus the fourth.
    assert [claim.difference.mean for claim in figure.claims] == pytest.approx([0.101, -0.001, 0.1], abs=1e-3)
    assert list(verdicts(figure.claims).values()) == [CONFIRMED, UNDECIDED, CONFIRMED]
    assert set(figure.seeds["datg"]) == {0, 1, 2}


def test_a_curve_that_only_shakes_is_not_called_overfitting():
    """Neither the best point nor that of the best validation is compared: both lie above the last by choice alone."""
    decided = 0
    for repeat in range(40):
        rng = np.random.default_rng(repeat)
        points = {place: {seed: 0.4 + rng.normal(0, 0.02, 1) for seed in range(5)} for place in range(1, 31)}
        claims = curves._claims_of_curve("here", {"vanilla": points, "datg": points})
        decided += claims[0].verdict == CONFIRMED
    assert decided <= 5, "of 40, at a level of 2.5 %"


def test_growth_says_whether_the_lead_shrinks(tmp_path, data_root):
    def growing(unit, strategy, seed):
        classes = unit.base_classes or 40
        lead = (0.1 if classes == 10 else 0.01) + 0.001 * seed if strategy == "datg" else 0.0
        return 0.3 + classes / 400 + lead + 0.001 * seed

    results = write_reproduction_folder(tmp_path / "paper", data_root, wanted("figure4b"), growing)
    figure = reproduce_figure("figure4b", results)
    assert list(figure.lines["vanilla"]) == [10, 16, 24, 32, 40]
    assert verdicts(figure.claims) == {
        "vanilla is better with 40 base classes than with 10": CONFIRMED,
        "datg is better with 40 base classes than with 10": REFUTED,
        "datg's lead is larger with 10 base classes": CONFIRMED,
    }


def test_what_has_not_run_is_a_dash_with_its_reason(tmp_path, data_root):
    what = wanted("table1", "table3", datasets=("mini_imagenet", "glyphs"), shots=(1, 5), all_of_them=True)
    missing = {"mini_imagenet": "import it: datg import_data mini_imagenet RAW_FILES"}

    def half(unit, strategy, seed):
        return None if unit.shots == 5 or (strategy == "datg" and seed) else steady(unit, strategy, seed)

    results = write_reproduction_folder(tmp_path / "paper", data_root, what, half, missing=missing)
    reproduced = Reproduced.read(results)
    assert {claim.verdict for claim in reproduced.claims if "5-shot" in claim.where} == {NOT_RUN}
    rows = {(row.column, row.strategy): row for row in reproduced.tables[0].rows}
    absent = rows[Column("mini_imagenet", 1), "datg"]
    assert absent.ours is None and absent.paper == 0.4221 and absent.remark == "not at hand: mini_imagenet"
    assert rows[Column("glyphs", 5), "mlti"].remark == "not run yet"
    assert rows[Column("glyphs", 1), "datg"].remark == "2 of 3 seeds to go"
    write_reproduction(results.folder, running=False)
    page = (results.folder.path / "results.md").read_text()
    assert "mini_imagenet is not at hand; import it: datg import_data mini_imagenet RAW_FILES" in page


def test_a_misprint_is_marked_and_not_subtracted(tmp_path, data_root):
    what = wanted("table3", datasets=("mini_imagenet",), learners=("maml",), shots=(5,), all_of_them=True)
    with pytest.raises(ConfigError, match="mini_imagenet not at hand"):
        write_reproduction_folder(tmp_path / "paper", tmp_path / "none", what, steady)
    row = next(row for row in reproduce_table(TABLE3, _empty(tmp_path, what)).rows if row.strategy == "inter_cluster")
    assert row.misprinted and row.difference is None and format_row(row)["paper"] == "0.2604 (a misprint)"


def _empty(place, what):
    from datg.search.reproduction.folder import ReproductionResults
    from datg.search.state.folder import SearchFolder

    reproduction = Reproduction(
        asked={},
        targets=what.targets,
        datasets=what.datasets,
        learners=what.learners,
        shots=what.shots,
        seeds=3,
        units=[],
        missing={"mini_imagenet": "import it"},
        data_root=str(place),
    )
    return ReproductionResults(SearchFolder(place / "empty"), reproduction)


def test_files_tell_what_the_table_tells(results):
    reproduced = write_reproduction(results.folder, running=True)
    place = results.folder.path
    with (place / "table1.csv").open() as file:
        rows = list(csv.DictReader(file))
    told = as_json(reproduced)
    assert [row["strategy"] for row in rows] == [row["strategy"] for row in told["tables"]["table1"]] == list(WORTH)
    assert float(rows[0]["accuracy"]) == pytest.approx(told["tables"]["table1"][0]["accuracy"])
    assert json.dumps(told)
    with (place / "seeds.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 15
    with (place / "figure4a.csv").open() as file:
        points = list(csv.DictReader(file))
    assert len(points) == 2 * 4 * (1 + 3) and {point["seed"] for point in points} == {"all", "0", "1", "2"}
    assert (place / "figure4a.png").read_bytes().startswith(b"\x89PNG")
    latex = (place / "table1.tex").read_text()
    assert r"\toprule" in latex and r"meta\_maxup" in latex
    markdown = (place / "table1.md").read_text()
    assert "| glyphs | 1 | protonet | datg | 3 | 0.4" in markdown and "| confirmed |" in markdown
    page = results.folder.report.read_text()
    assert "The paper&#39;s numbers are no target to hit" in page and "undecided" in page
    assert "QUICK" not in markdown + page


def test_a_quick_look_says_so_in_every_header_and_decides_nothing(tmp_path, data_root):
    results = write_reproduction_folder(
        tmp_path / "paper", data_root, wanted("table1", "table3", "figure4a"), steady, quick=True
    )
    reproduced = write_reproduction(results.folder, running=False)
    assert {claim.verdict for claim in reproduced.claims} == {UNDECIDED} and as_json(reproduced)["quick"]
    place = results.folder.path
    for name in ("table1.md", "table1.tex", "table3.md", "table3.tex"):
        assert "A QUICK LOOK, not a result: 40 of 400 iterations on glyphs, 3 seeds." in (place / name).read_text()
    assert (place / "results.md").read_text().count("A QUICK LOOK") == 4, "the page, both tables and the figure"
    assert results.folder.report.read_text().count("A QUICK LOOK") >= 4


def test_a_reproduction_goes_on_as_it_began(results):
    reproduction = Reproduction.load(results.folder)
    began = reproduction.model_copy(update={"asked": {"what": ["table1"], "seeds": 3, "tune": None}})
    began.check_asked({"what": ["table1"], "seeds": 3, "tune": None})
    with pytest.raises(ConfigError, match=r"began with other values.*\n  --seeds: 3 -> 5\n  --tune: nothing -> 7\n"):
        began.check_asked({"what": ["table1"], "seeds": 5, "tune": 7})


def test_all_on_one_data_set_is_written_without_the_table_that_needs_two(tmp_path, data_root):
    what = wanted(all_of_them=True)
    results = write_reproduction_folder(tmp_path / "paper", data_root, what, steady)
    reproduced = write_reproduction(results.folder, running=False)
    assert [found.table.name for found in reproduced.tables] == ["table1", "table3"]
    assert "table2: it is trained on one data set" in (results.folder.path / "results.md").read_text()
    assert json.dumps(as_json(reproduced))


def test_growth_is_judged_between_the_smallest_and_the_largest_set_alone(tmp_path, data_root):
    def some(unit, strategy, seed):
        return None if unit.base_classes in (10, 16) else 0.4 + 0.001 * seed

    results = write_reproduction_folder(tmp_path / "paper", data_root, wanted("figure4b"), some)
    figure = reproduce_figure("figure4b", results)
    assert list(figure.lines["datg"]) == [24, 32, 40] and {claim.verdict for claim in figure.claims} == {NOT_RUN}


def test_rows_that_a_figure_adds_are_no_rows_of_a_table(tmp_path, data_root):
    what = wanted("table1", "figure4a", strategies=("mlti",))
    results = write_reproduction_folder(tmp_path / "paper", data_root, what, steady)
    assert [row.strategy for row in reproduce_table(TABLE1, results).rows] == ["mlti"]


def test_a_damaged_point_of_a_curve_leaves_out_that_point_alone(results):
    path = next(results.folder.path.parent.glob("paper-glyphs-protonet-1shot/trials/0/curve/10.parquet"))
    path.write_bytes(path.read_bytes()[:100])
    figure = write_reproduction(results.folder, running=False).figures[0]
    assert figure.lines["vanilla"][10].seeds == 2 and figure.lines["vanilla"][20].seeds == 3


def unchanged(reproduction, data_root, *, allow_change=False):
    check_unchanged(reproduction, data_root, search_spaces(), allow_change=allow_change)


@pytest.mark.parametrize(
    ("began", "said"),
    [
        ({"fingerprint": "0"}, "its examples"),
        ({"split": {"base": []}}, "its split"),
        ({"fixed": {"task.ways": 3}}, "the values of its YAML file"),
    ],
)
def test_other_data_than_it_began_with_are_refused(began, said, results, data_root):
    reproduction = Reproduction.load(results.folder)
    unchanged(reproduction, data_root)
    known = {"glyphs": reproduction.at_hand["glyphs"].model_copy(update=began)}
    with pytest.raises(StateError, match=rf"glyphs in .* is not what it was when this reproduction began \({said}\)"):
        unchanged(reproduction.model_copy(update={"at_hand": known}), data_root, allow_change=True)
    before_it_was_kept = {"glyphs": reproduction.at_hand["glyphs"].model_copy(update={"split": None, "fixed": None})}
    unchanged(reproduction.model_copy(update={"at_hand": before_it_was_kept, "versions": {}}), data_root)


def test_other_versions_than_it_began_with_are_refused_unless_accepted(results, data_root):
    reproduction = Reproduction.load(results.folder)
    older = reproduction.model_copy(update={"versions": reproduction.versions | {"code": "0"}})
    with pytest.raises(StateError, match=r"began with other versions \(code 0 -> .*accept them with --allow-change"):
        unchanged(older, data_root)
    unchanged(older, data_root, allow_change=True)


def test_a_renamed_folder_is_told_to_be_renamed_back(tmp_path, data_root, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = write_reproduction_folder(tmp_path / "runs" / "paper", data_root, wanted("table1"), steady)
    reproduction = Reproduction.load(results.folder)
    reproduction.model_copy(update={"name": "paper"}).save(results.folder)
    assert Reproduction.load(results.folder).name == "paper"
    renamed = SearchFolder(results.folder.path.rename(results.folder.path.with_name("my paper")))
    with pytest.raises(StateError, match="my paper was begun as paper, .*rename it back: mv") as caught:
        Reproduction.load(renamed)
    subprocess.run(str(caught.value).rpartition(": ")[2], shell=True, check=True)
    assert Reproduction.load(results.folder).name == "paper"


def test_what_another_reproduction_left_is_not_taken_for_a_part_of_a_new_one(results):
    reproduction = Reproduction.load(results.folder)
    with pytest.raises(ConfigError, match="`--name` paper: .*paper-glyphs-protonet-1shot is there already"):
        check_places(reproduction, results.folder)
    check_places(reproduction, results.folder.beside("other"))


def test_seeds_to_go_stand_beside_those_that_failed(tmp_path, data_root):
    results = write_reproduction_folder(
        tmp_path / "paper", data_root, wanted("table1"), lambda unit, strategy, seed: None if seed == 2 else 0.4
    )
    trial = results.folder.path.parent / "paper-glyphs-protonet-1shot" / "trials" / "0"
    (trial / EVALUATION).unlink()
    write_outcome(trial, TrialOutcome("diverged", "loss nan"))
    write_outcome(trial.with_name("1"), TrialOutcome("collapsed"))
    rows = reproduce_table(TABLE1, ReproductionResults(results.folder, results.reproduction)).rows
    assert [row.remark for row in rows[:3]] == [
        "1 diverged, 1 of 3 seeds to go",
        "1 collapsed, 1 of 3 seeds to go",
        "1 of 3 seeds to go",
    ]


def test_the_papers_number_is_not_compared_with_tasks_of_other_ways(tmp_path, data_root):
    results = write_reproduction_folder(tmp_path / "paper", data_root, wanted("table1"), steady, given=["task.ways=3"])
    renamed = [unit.model_copy(update={"dataset": "dermnet"}) for unit in results.reproduction.units]
    for unit in results.reproduction.units:
        old = unit_folder(results.folder, unit).path
        old.rename(old.with_name(old.name.replace("glyphs", "dermnet")))
    as_dermnet = results.reproduction.model_copy(update={"units": renamed, "datasets": ("dermnet",)})
    rows = reproduce_table(TABLE1, ReproductionResults(results.folder, as_dermnet)).rows
    assert {(row.paper, row.difference) for row in rows} == {(None, None)} and "3-way; the paper's is 5-way" in rows[
        0
    ].remark


@pytest.mark.parametrize(
    "given", ["base_classes=16", "task.shots=5", "evaluation.test_dataset=dermnet", "evaluation.novel_curve=true"]
)
def test_what_makes_a_row_what_it_is_is_not_set(given, tmp_path, data_root):
    with pytest.raises(ConfigError, match=f"`{given.partition('=')[0]}` is what a table or figure is about"):
        write_reproduction_folder(tmp_path / "paper", data_root, wanted("table1"), steady, given=[given])


@pytest.mark.parametrize("name", ["n" * 90, "foo-"])
def test_names_that_comparisons_cannot_have_are_refused_before_anything_runs(name, results):
    with pytest.raises(ConfigError, match="a comparison on glyphs cannot be called .*: give another --name"):
        check_names(Reproduction.load(results.folder), name)
