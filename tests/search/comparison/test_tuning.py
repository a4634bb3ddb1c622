"""Comparisons that begin with a search for each learner and strategy: what is searched, what is compared, what is said."""

import csv
import shutil

import numpy as np
import pytest

from datg.cli.messages import describe_spreads
from datg.cli.status import format_status
from datg.cli.tune import check_tuning
from datg.errors import ConfigError
from datg.report.status import read_status
from datg.search import prepare as module
from datg.search.comparison.forms import format_row, row_values, write_tables
from datg.search.comparison.grid import Comparison
from datg.search.comparison.table import compare
from datg.search.comparison.tuning import outcomes, spreads, tuned_settings
from datg.search.prepare import prepare_tuned
from datg.search.ray.resources import Allocation, TrialResources
from datg.search.settings import SearchSettings
from datg.search.space import with_params
from datg.search.state.changes import requested_settings
from datg.search.state.folder import DriverLock, SearchFolder
from datg.search.state.resume import as_begun
from datg.storage.files import write_yaml
from datg.trial.accuracies import Evaluation
from datg.trial.folder import EVALUATION, FRESH_VALIDATION, PROGRESS, report_lines
from datg.trial.records import TrialOutcome, write_outcome
from tests.faults.test_damage import request_for
from tests.search.comparison.test_comparison import record_of
from tests.search.conftest import settings_for
from tests.search.study.test_driver import progress_of


def asked(strategies="vanilla,datg", learners="protonet", tune=3, repeats=None, tuned=(), **settings):
    options = {key.replace("__", "."): value for key, value in settings.items()}
    return Comparison.parse(learners, strategies, 2, settings=options, tuned=list(tuned), tune=tune, repeats=repeats)


@pytest.fixture
def begin(tmp_path, data_root, monkeypatch):
    """Makes the folders of a tuned comparison, without Ray."""
    allocate = lambda resources: Allocation(TrialResources(1, 0.0), 1, 1, 1, resources)  # noqa: E731
    monkeypatch.setattr(module, "start_ray_for", allocate)
    monkeypatch.setattr(module, "end_ray", lambda: None)

    def act(comparison, *, name=None, **more) -> SearchFolder:
        flags = {"training.iterations": 40, "training.eval_every": 10, "backbone.filters": 6, **more}
        options = {"dataset": "glyphs", "flags": flags, "comparison": comparison, "name": name}
        return prepare_tuned(request_for(tmp_path, data_root, **options))

    return act


def searches_of(folder):
    tuning = SearchSettings.load(folder).tuning
    return {name: SearchSettings.load(folder.beside(name)) for name in tuning.in_order}


def test_every_pair_has_searches_of_its_own_that_differ_in_nothing_else(begin):
    folder = begin(asked("vanilla,datg", "protonet,maml", repeats=2))
    searches = searches_of(folder)
    first = [f"{folder.name}--{s}-{learner}" for learner in ("protonet", "maml") for s in ("vanilla", "datg")]
    assert list(searches) == [*first, *(f"{name}-repeat-1" for name in first)]
    for name, search in searches.items():
        assert f"{search.config.strategy_name}-{search.config.learner_name}" in name
        assert (search.trials, search.pruner, search.sampler) == (3, "halving", "tpe")
        assert search.seed == search.config.seed == int(name.endswith("-repeat-1"))
        assert search.comparison == folder.name and search.references == {}
    kept = [{**s.config.to_dict(), "strategy": 0, "learner": 0, "seed": 0} for s in searches.values()]
    assert all(values == kept[0] for values in kept)
    assert list(searches[first[0]].space) == ["training.lr"], "vanilla has nothing of its own"
    seeds = {setting["seed"] for setting in SearchSettings.load(folder).grid}
    assert seeds == {2, 3}, "no seed that a search chose by"


def test_what_the_user_sets_reaches_those_that_have_it_and_is_not_searched(begin):
    folder = begin(asked(strategy__clusters=4))
    vanilla, datg = searches_of(folder).values()
    assert datg.config.strategy.clusters == 4 and "strategy.clusters" not in datg.space
    assert "clusters" not in vanilla.config.to_dict()["strategy"]


def test_a_pair_that_cannot_be_searched_is_named_and_nothing_is_made(begin, tmp_path):
    with pytest.raises(ConfigError, match="`--tune`, vanilla with protonet: nothing is left to search"):
        begin(asked("vanilla"), **{"training.lr": 0.1})
    assert list(tmp_path.glob("*comparison*")) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tuned": ["x.yaml"]}, "`--tune` searches what `--tuned` gives; leave one of them out"),
        ({"tune": 0, "repeats": 2}, "`--repeat-search` repeats the searches of --tune; give --tune N, too"),
    ],
)
def test_flags_that_exclude_each_other_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        asked(**arguments)


def test_searches_see_no_novel_class_where_the_comparison_has_a_novel_curve(begin):
    folder = begin(asked(), **{"evaluation.novel_curve": True})
    assert SearchSettings.load(folder).config.evaluation.novel_curve
    assert not any(search.config.evaluation.novel_curve for search in searches_of(folder).values())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trials": 4}, "`--tune` 4: this comparison began with --tune 3"),
        ({"repeats": 2}, "`--repeat-search` 2: this comparison began with --repeat-search 1"),
    ],
)
def test_a_comparison_goes_on_with_as_many_trials_as_it_began(given, message, begin, data_root):
    folder = begin(asked())
    request = request_for(folder.path.parent, data_root)
    check_tuning(request, folder.name, trials=3, repeats=1)
    check_tuning(request, folder.name, trials=None, repeats=None)
    with pytest.raises(ConfigError, match=message):
        check_tuning(request, folder.name, **{"trials": None, "repeats": None} | given)


def test_a_named_comparison_that_died_while_its_folders_were_made_begins_again(begin, tmp_path):
    folder = begin(asked(), name="nightly")
    assert folder.name == "nightly"
    folder.settings.unlink()  # written last
    before = {path.name for path in tmp_path.glob("nightly*")}
    assert begin(asked(), name="nightly") == folder
    assert {path.name for path in tmp_path.glob("nightly*")} == before and len(searches_of(folder)) == 2
    folder.settings.unlink()
    (tmp_path / "nightly--vanilla" / "best.yaml").touch()
    with pytest.raises(ConfigError, match="nightly--vanilla is there and holds something else; choose another name"):
        begin(asked(), name="nightly")


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"tune": 4}, "tune: 3 -> 4"),
        ({"repeats": 2}, "repeat-search: 1 -> 2"),
        ({"strategies": "vanilla"}, "strategies: \\['vanilla', 'datg'\\] -> \\['vanilla'\\]"),
        ({"strategy__clusters": 4}, "set.strategy.clusters: not given -> 4"),
    ],
)
def test_the_same_command_goes_on_by_its_name_and_another_one_is_refused(other, difference, begin, tmp_path, data_root):
    begin(asked(), name="nightly")
    flags = {"training.iterations": 40, "training.eval_every": 10, "backbone.filters": 6}

    def again(comparison):
        request = request_for(tmp_path, data_root, dataset="glyphs", flags=flags, comparison=comparison, name="nightly")
        return as_begun(request, "nightly")

    same = again(asked())
    assert (same.dataset, same.flags, same.comparison, same.name) == (None, {}, None, None)
    with pytest.raises(ConfigError, match=f"`--name` nightly has begun as another comparison(.|\\n)*{difference}"):
        again(asked(**other))


def test_a_value_that_is_nothing_is_not_one_that_was_not_given(begin, tmp_path, data_root):
    begin(asked(training__lr=0.1, strategy__clusters=4), name="nightly")
    flags = {"training.iterations": 40, "training.eval_every": 10, "backbone.filters": 6}
    other = asked(training__lr=0.1, strategy__clusters=4, strategy__mix_high=None)
    request = request_for(tmp_path, data_root, dataset="glyphs", flags=flags, comparison=other, name="nightly")
    with pytest.raises(ConfigError, match="set.strategy.mix_high: not given -> nothing"):
        as_begun(request, "nightly")


def test_of_two_commands_at_once_one_is_turned_away_and_harms_nothing(begin, tmp_path):
    folder = begin(asked(), name="nightly")
    before = {path: path.read_bytes() for path in tmp_path.rglob("search.yaml")}
    with pytest.raises(ConfigError, match="holds something else; choose another name"):
        begin(asked(), name="nightly")  # it has seen no search there, a moment earlier
    folder.settings.unlink()
    with DriverLock(folder), pytest.raises(ConfigError, match="is already driven by process"):
        begin(asked(), name="nightly")
    assert folder.path.exists() and {path for path in before if path.exists()} == before.keys() - {folder.settings}


def search(folder, name, *, fresh, novel=0.3, **values):
    """What a search leaves: one trial that has finished, and its export."""
    place = folder.beside(name)
    config = with_params(SearchSettings.load(place).config, {key.replace("__", "."): v for key, v in values.items()})
    write_yaml(place.trial(0) / "config.yaml", config.to_dict())
    (place.trial(0) / PROGRESS).write_text(report_lines([vars(progress_of(40, 0.4))]))
    write_outcome(place.trial(0), TrialOutcome("finished"))
    for file, value in ((FRESH_VALIDATION, fresh), (EVALUATION, novel)):
        Evaluation(np.full(10, value, np.float32)).save(place.trial(0) / file, {})
    write_yaml(place.best, {"config": config.to_dict(), "provenance": {"search": name}})


def test_the_best_of_each_first_search_takes_the_place_of_the_defaults(begin):
    folder = begin(asked(repeats=2))
    vanilla, datg, _, datg_again = SearchSettings.load(folder).tuning.in_order
    search(folder, vanilla, fresh=0.3, training__lr=0.01)
    search(folder, datg, fresh=0.4, strategy__alpha=0.25)
    search(folder, datg_again, fresh=0.5, strategy__alpha=7.0)
    settings = tuned_settings(folder, SearchSettings.load(folder))
    configs = [with_params(settings.config, setting) for setting in settings.grid]
    assert [(c.strategy_name, c.seed, c.training.lr) for c in configs] == [
        ("vanilla", 2, 0.01), ("datg", 2, 0.001), ("vanilla", 3, 0.01), ("datg", 3, 0.001)
    ]  # fmt: skip
    assert {c.strategy.alpha for c in configs if c.strategy_name == "datg"} == {0.25}
    assert settings.searched(1, {}) == {"learner": "protonet", "strategy": "datg", "seed": 2, "tuned": 3}
    settings.save(folder)
    assert SearchSettings.load(folder) == settings


def test_a_pair_whose_search_found_nothing_keeps_its_defaults_and_says_so(begin):
    folder = begin(asked())
    search(folder, SearchSettings.load(folder).tuning.in_order[0], fresh=0.3, training__lr=0.01)
    before = SearchSettings.load(folder)
    settings = tuned_settings(folder, before)
    assert settings.tuned == {"vanilla with protonet": 3, "datg with protonet": 0}
    assert [s for s in settings.grid if s["strategy"]["name"] == "datg"] == [
        s for s in before.grid if s["strategy"]["name"] == "datg"
    ]


def test_repeated_searches_say_how_their_outcome_spreads(begin):
    folder = begin(asked("vanilla", repeats=3))
    settings = SearchSettings.load(folder)
    first, second, third = settings.tuning.in_order
    for name, value in ((first, 0.25), (second, 0.5)):
        search(folder, name, fresh=value, novel=value / 2)
    (spread,) = spreads(outcomes(folder, settings))
    assert (spread.searches, spread.fresh_validation.value, spread.accuracy.value) == (2, 0.375, 0.1875)
    half_width = 12.706 * np.std([0.25, 0.5], ddof=1) / 2**0.5
    assert spread.fresh_validation.ci95 == pytest.approx(half_width, rel=1e-4)
    assert "2 searches with other seeds" in describe_spreads(outcomes(folder, settings))[0]
    records = [record_of(n, "vanilla", n, [0.1, 0.2], folder) for n in range(2)]
    write_tables(folder, settings, records)
    rows = list(csv.DictReader(folder.comparison("searches.csv").read_text().splitlines()))
    assert [(row["search"], row["fresh_validation"]) for row in rows] == [(first, "0.25"), (second, "0.5"), (third, "")]
    assert "fresh validation of the best" in folder.comparison("md").read_text()
    status = read_status(folder)
    assert len(status.searches["missing"]) == 3 and "begins with 3 searches" in "\n".join(format_status(status))


def test_a_row_says_of_how_many_trials_it_is_the_best(folder):
    records = [record_of(0, "datg", 0, [0.1, 0.2], folder), record_of(1, "vanilla", 0, [0.1, 0.2], folder)]
    records[0].searched["tuned"] = 20
    datg, vanilla = compare(records)
    assert format_row(datg)["strategy"] == "datg (best of 20)" and row_values(datg)["tuned"] == 20
    assert format_row(vanilla)["strategy"] == "vanilla" and row_values(vanilla)["tuned"] is None


def test_an_exported_configuration_says_so_too_and_its_seed_is_left_out(glyphs, data_root, tmp_path):
    path, config = tmp_path / "top1.yaml", settings_for(glyphs, data_root).config.to_dict()
    write_yaml(
        path, {"config": config, "provenance": {"search": "s", "selection": {"of trials": 50, "trial is": "best"}}}
    )
    comparison = asked(tune=0, tuned=[path])
    assert comparison.tuned_trials() == {"datg with protonet": 50}
    settings = settings_for(glyphs, data_root, make_grid=lambda config: comparison.grid(glyphs, config))
    assert {setting["seed"] for setting in settings.grid} == {1, 2}


def test_what_else_a_search_has_chosen_is_taken_too_and_its_export_is_not_needed(begin):
    folder = begin(asked("vanilla"))
    (name,) = SearchSettings.load(folder).tuning.in_order
    place = folder.beside(name)
    space = {"training.lr": {"log": [0.001, 0.1]}, "training.batch": {"int": [1, 8]}}
    SearchSettings.load(place).model_copy(update={"space": space}).save(place)
    search(folder, name, fresh=0.3, training__lr=0.01, training__batch=8)
    place.best.unlink()  # killed before it was written
    settings = tuned_settings(folder, SearchSettings.load(folder))
    config = with_params(settings.config, settings.grid[0])
    assert (config.training.lr, config.training.batch, settings.tuned) == (0.01, 8, {"vanilla with protonet": 3})


def test_searches_that_somebody_removed_are_left_out_of_the_tables(begin):
    folder = begin(asked())
    vanilla, datg = SearchSettings.load(folder).tuning.in_order
    search(folder, vanilla, fresh=0.3)
    shutil.rmtree(folder.beside(datg).path)
    assert [outcome.search for outcome in outcomes(folder, SearchSettings.load(folder))] == [vanilla]
    assert read_status(folder).searches["missing"] == [vanilla, datg]


def test_a_search_of_a_comparison_goes_on_as_it_began(begin, data_root):
    folder = begin(asked())
    name = SearchSettings.load(folder).tuning.in_order[0]
    saved = SearchSettings.load(folder.beside(name))
    for more in ({"flags": {"search.trials": 60}}, {"settings": ["training.iterations=80"]}):
        with pytest.raises(ConfigError, match=f"this search is one of {folder.name}, whose searches are alike"):
            requested_settings(request_for(folder.path.parent, data_root, **more), saved)


def test_a_search_that_is_driven_is_not_done(begin):
    folder = begin(asked())
    name = SearchSettings.load(folder).tuning.in_order[0]
    with DriverLock(folder.beside(name)):
        status = read_status(folder.beside(name))
        assert status.resume is None and not status.done
        assert name in read_status(folder).searches["missing"]


def test_a_name_whose_searches_are_still_there_is_not_taken_again(begin):
    first = begin(asked())
    shutil.rmtree(first.path)
    second = begin(asked())
    assert second.name != first.name and len(searches_of(second)) == 2
