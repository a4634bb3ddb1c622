import csv
import io
import json

import numpy as np
import pytest
import yaml
from rich.console import Console

from datg.cli.console import print_rows
from datg.errors import ConfigError
from datg.learners import LEARNERS
from datg.search.comparison.forms import explain_intervals, format_row, format_rows, row_values, write_tables
from datg.search.comparison.grid import Comparison
from datg.search.comparison.table import compare
from datg.search.space import with_params
from datg.search.state.records import RecordReader
from datg.search.study.driver import SearchDriver
from datg.search.study.stored import open_study, sqlite_url
from datg.strategies import STRATEGIES
from datg.trial.accuracies import Evaluation
from datg.trial.folder import EVALUATION, ValidationReport
from datg.trial.records import TrialRecord
from tests.faults.scripted import save_progress
from tests.search.conftest import settings_for


def comparison(learners="protonet", strategies="vanilla,datg", seeds=2, tuned=(), **settings):
    options = {key.replace("__", "."): value for key, value in settings.items()}
    return Comparison.parse(learners, strategies, seeds, settings=options, tuned=list(tuned))


def grid_of(glyphs, data_root, asked):
    return settings_for(glyphs, data_root, make_grid=lambda config: asked.grid(glyphs, config))


def test_all_are_every_learner_with_every_strategy_that_is_defined_for_it(glyphs, data_root):
    asked = comparison("all", "all", seeds=2)
    settings = grid_of(glyphs, data_root, asked)
    pairs = {(s["learner"]["name"], s["strategy"]["name"]) for s in settings.grid}
    assert pairs == {
        (learner, name)
        for learner in LEARNERS
        for name, kind in STRATEGIES.items()
        if learner not in kind.refused_learners
    }
    assert settings.trials == len(settings.grid) == 2 * len(pairs)
    assert len(asked.left_out()) == len(LEARNERS) * len(STRATEGIES) - len(pairs)
    # The first seed of everything comes before the second of anything.
    assert [s["seed"] for s in settings.grid] == [0] * len(pairs) + [1] * len(pairs)


def test_all_trials_share_everything_but_learner_strategy_and_seed(glyphs, data_root):
    settings = grid_of(glyphs, data_root, comparison("protonet,maml", "all"))
    configs = [with_params(settings.config, setting).to_dict() for setting in settings.grid]
    for section in configs[0].keys() - {"learner", "strategy", "seed"}:
        assert all(config[section] == configs[0][section] for config in configs)


def test_options_reach_those_that_have_them(glyphs, data_root):
    asked = comparison("protonet,maml", "vanilla,metamix,datg", strategy__alpha=0.5, learner__inner_lr=0.2)
    for setting in grid_of(glyphs, data_root, asked).grid:
        assert setting["strategy"].get("alpha") == (None if setting["strategy"]["name"] == "vanilla" else 0.5)
        assert setting["learner"].get("inner_lr") == (0.2 if setting["learner"]["name"] == "maml" else None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategies": "vanila"}, "did you mean `vanilla`?"),
        ({"learners": "mamml"}, "did you mean `maml`?"),
        ({"strategies": ","}, "name at least one strategy"),
        ({"strategies": "taml"}, "taml is left out with protonet"),
        ({"strategy__alhpa": 1}, "did you mean `strategy.alpha`?"),
        ({"strategy__name": "datg"}, "`strategy.name` of a comparison is given with --strategies"),
    ],
)
def test_mistakes_are_told_by_name(arguments, message):
    with pytest.raises(ConfigError) as caught:
        comparison(**arguments)
    assert message in str(caught.value)


def test_an_impossible_setting_is_refused_before_anything_runs(glyphs, data_root):
    with pytest.raises(ConfigError, match=r"datg with protonet: `strategy.alpha` must be greater than 0, got -1"):
        grid_of(glyphs, data_root, comparison(strategy__alpha=-1))


def test_tuned_configurations_replace_defaults(glyphs, data_root, tmp_path):
    path = tmp_path / "top1.yaml"
    base = settings_for(glyphs, data_root).config.to_dict()
    tuned = base | {"strategy": {"name": "datg", "alpha": 0.3}, "training": base["training"] | {"lr": 0.002}}
    path.write_text(yaml.safe_dump({"config": tuned}))
    for setting in grid_of(glyphs, data_root, comparison(tuned=[path])).grid:
        config = with_params(settings_for(glyphs, data_root).config, setting)
        if config.strategy_name == "datg":
            assert (config.strategy.alpha, config.training.lr) == (0.3, 0.002)
        else:
            assert config.training.lr == 0.001
    set_by_hand = comparison(tuned=[path], strategy__alpha=5.0, training__lr=0.01)
    datg = next(s for s in grid_of(glyphs, data_root, set_by_hand).grid if s["strategy"]["name"] == "datg")
    assert datg["strategy"]["alpha"] == 5.0 and "training.lr" not in datg
    with pytest.raises(ConfigError, match="is of datg with protonet, like another one; give one of each pair"):
        grid_of(glyphs, data_root, comparison(tuned=[path, path]))
    path.write_text(yaml.safe_dump({"config": tuned | {"task": {"shots": 5}}}))
    with pytest.raises(ConfigError, match="was found with another task than this comparison has"):
        grid_of(glyphs, data_root, comparison(tuned=[path]))
    with pytest.raises(ConfigError, match="is of datg with protonet, which this comparison does not have"):
        grid_of(glyphs, data_root, comparison(strategies="vanilla", tuned=[path]))


def test_the_driver_hands_out_the_grid_in_order_and_goes_on_after_a_stop(glyphs, data_root, folder):
    settings = grid_of(glyphs, data_root, comparison())
    settings.save(folder)

    def driver(create=False):
        return SearchDriver(folder, settings, open_study(sqlite_url(folder.study), folder.name, create=create))

    first = driver(create=True)
    assert [first.next_trial(), first.next_trial()] == [0, 1]
    save_progress(first, 0, ValidationReport(10, 1.0, 1.0, {"loss": 1.0, "ce": 1.0}, 0.5, 0.01, 0.5, 0.01, 10))
    first.report(0)
    assert first.progress.scored == {0} and first.progress.best is None, "a comparison selects nothing"
    again = driver()
    assert [again.next_trial() for _ in range(5)] == [0, 1, 2, 3, None]
    for number, setting in enumerate(settings.grid):
        written = yaml.safe_load((folder.trial(number) / "config.yaml").read_text())
        assert written["strategy"]["name"] == setting["strategy"]["name"] and written["seed"] == setting["seed"]
    records = RecordReader(folder, settings).records()
    assert records[1].searched == {"learner": "protonet", "strategy": "datg", "seed": 0}
    assert {records[3].tags[key] for key in ("learner", "strategy", "seed")} == {"protonet", "datg", "1"}


def test_options_in_yaml_belong_to_the_strategy_they_are_written_for(glyphs, data_root):
    asked = comparison(strategies="vanilla,datg")
    settings = settings_for(
        glyphs, data_root, make_grid=lambda config: asked.grid(glyphs, config), strategy__mmd_weight=0.05
    )
    datg = next(setting for setting in settings.grid if setting["strategy"]["name"] == "datg")
    assert datg["strategy"]["mmd_weight"] == 0.05


def test_settings_of_a_search_have_no_place_in_a_comparison(glyphs, data_root):
    with pytest.raises(ConfigError, match=r"`search.trials` cannot be set: a comparison's trials stand in a grid"):
        settings_for(glyphs, data_root, make_grid=lambda config: comparison().grid(glyphs, config), search__trials=3)


def test_classes_are_clustered_by_a_network_whenever_some_trial_asks_for_it(glyphs, data_root, folder):
    def wanted(settings):
        study = open_study(sqlite_url(folder.path / f"{settings.id}.db"), "s", create=True)
        return SearchDriver(folder, settings, study).network_to_train()

    assert wanted(settings_for(glyphs, data_root)) is None
    assert wanted(settings_for(glyphs, data_root, strategy__cluster_features="embedding")).strategy_name == "vanilla"
    asked = comparison(strategy__cluster_features="embedding")
    assert wanted(grid_of(glyphs, data_root, asked)).learner_name == "protonet"
    space = {"strategy.cluster_features": {"choice": ["raw", "embedding"]}}
    searched = settings_for(glyphs, data_root).model_copy(update={"space": space})
    assert wanted(searched).strategy_name == "vanilla"


def record_of(number, strategy, seed, accuracies, folder, outcome="finished"):
    place = folder.trial(number)
    place.mkdir(parents=True)
    if accuracies is not None:
        Evaluation(np.array(accuracies, dtype=np.float32)).save(place / EVALUATION, {})
    searched = {"learner": "protonet", "strategy": strategy, "seed": seed}
    state = "done" if accuracies is not None else "failed"
    return TrialRecord(number, state, outcome, place, searched, {})


def test_differences_are_paired_by_task_and_seed(folder):
    rng = np.random.default_rng(0)
    plain = {seed: rng.random(50) for seed in range(3)}
    better = {0: plain[0] + 0.1, 1: plain[1] + rng.normal(0.2, 0.01, 50)}
    records = [record_of(seed, "vanilla", seed, plain[seed], folder) for seed in plain]
    records += [record_of(3 + seed, "datg", seed, better[seed], folder) for seed in better]
    records.append(record_of(5, "datg", 2, None, folder, "diverged"))
    records.append(record_of(6, "mlti", 0, None, folder, "diverged"))
    vanilla, datg, mlti = compare(records)
    by_task = ((better[0] - plain[0]) + (better[1] - plain[1])) / 2
    assert datg.differences["vanilla"].mean == pytest.approx(by_task.mean(), abs=1e-6)
    assert datg.differences["vanilla"].ci95 == pytest.approx(1.96 * by_task.std(ddof=1) / 50**0.5, abs=1e-6)
    assert set(vanilla.differences) == {"datg"}
    assert vanilla.differences["datg"].mean == pytest.approx(-by_task.mean(), abs=1e-6)
    by_seed = [(better[seed] - plain[seed]).mean() for seed in better]
    half_width = 12.706 * np.std(by_seed, ddof=1) / 2**0.5  # Student's quantile for one degree of freedom
    assert datg.differences["vanilla"].seeds_ci95 == pytest.approx(half_width, rel=1e-3)
    assert vanilla.score.mean == pytest.approx(np.mean(list(plain.values())), abs=1e-6)
    assert vanilla.score.spread == pytest.approx(np.std([a.mean() for a in plain.values()], ddof=1), abs=1e-6)
    assert (datg.seeds, datg.failures) == (2, "1 diverged")
    assert (mlti.seeds, mlti.score, mlti.failures, mlti.differences) == (0, None, "1 diverged", {})
    assert format_row(mlti)["novel accuracy"] == "" and format_row(datg)["minus vanilla"].startswith("+0.1")
    assert format_row(datg)["minus vanilla"].count("±") == 2
    assert row_values(mlti).keys() == row_values(datg).keys()


def test_one_seed_has_no_interval_over_seeds_and_that_is_said(glyphs, data_root, folder):
    rng = np.random.default_rng(0)
    records = [record_of(number, name, 0, rng.random(50), folder) for number, name in enumerate(("vanilla", "datg"))]
    rows = compare(records)
    assert [row.score.seeds_ci95 for row in rows] == [None, None]
    assert all(cell.count("±") <= 1 for row in rows for cell in format_row(row).values())
    one, two = (grid_of(glyphs, data_root, comparison(seeds=seeds)) for seeds in (1, 2))
    assert len(explain_intervals(two)) == 1 < len(explain_intervals(one))
    write_tables(folder, one, records)
    assert "With one training seed" in folder.comparison("md").read_text()


def test_a_terminal_of_80_columns_shows_every_interval(folder):
    rng = np.random.default_rng(0)
    names = ("vanilla", "random_mixup", "inter_cluster", "datg")
    records = [
        record_of(10 * seed + number, name, seed, rng.random(50), folder)
        for seed in range(3)
        for number, name in enumerate(names)
    ]
    file = io.StringIO()
    print_rows(format_rows(compare(records)), Console(file=file, width=80, highlight=False))
    assert "…" not in file.getvalue() and file.getvalue().count("±") == 2 * (4 + 3 + 3)


def test_the_tables_are_readable_by_people_and_programs(glyphs, data_root, folder):
    settings = grid_of(glyphs, data_root, comparison())
    rng = np.random.default_rng(0)
    records = [
        record_of(number, setting["strategy"]["name"], setting["seed"], rng.random(20), folder)
        for number, setting in enumerate(settings.grid)
    ]
    write_tables(folder, settings, records)
    assert {path.name for path in folder.path.glob("comparison.*")} == {
        f"comparison.{form}" for form in ("md", "tex", "csv", "seeds.csv")
    }
    by_seed = list(csv.DictReader(folder.comparison("seeds.csv").read_text().splitlines()))
    assert [(row["strategy"], row["seed"]) for row in by_seed] == [
        (name, seed) for name in ("vanilla", "datg") for seed in "01"
    ]
    assert float(by_seed[0]["accuracy"]) == pytest.approx(records[0].test.accuracy)
    table = folder.comparison("tex").read_text()
    assert table.count(r"\\") == 3 and table.count(r"$\pm$") == 2 * 4 and "±" not in table.split(r"\begin", 1)[1]
    lines = folder.comparison("md").read_text().splitlines()
    assert "glyphs, conv4, 5-way 1-shot, preset mlti" in lines[0]
    assert len({line.count("|") for line in lines[2:]}) == 1 and len(lines) == 2 + 2 + 2
    rows = list(csv.DictReader(folder.comparison("csv").read_text().splitlines()))
    assert [row["strategy"] for row in rows] == ["vanilla", "datg"]
    assert float(rows[1]["minus_vanilla"]) == pytest.approx(-float(rows[0]["minus_datg"]))
    json.dumps([row_values(row) for row in compare(records)])
