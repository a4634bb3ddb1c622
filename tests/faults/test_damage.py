"""Each file of a search's folder truncated, emptied, removed or made unreadable: mended or named, never begun anew in silence."""

import json
import os
import shutil
from pathlib import Path

import pytest

from datg.errors import ConfigError, StateError
from datg.report.status import read_status
from datg.search.export import export_best
from datg.search.prepare import show_settings
from datg.search.ray.resources import Allocation, Resources, TrialResources
from datg.search.request import Request
from datg.search.settings import SearchSettings
from datg.search.state import resume as resuming
from datg.search.state.folder import SearchFolder
from datg.search.state.records import open_records
from datg.search.state.resume import resume_search
from datg.search.study.driver import SearchDriver
from datg.search.study.stored import open_study, sqlite_url
from datg.storage.files import read_yaml, write_yaml
from datg.trial.config import TrialConfig
from datg.trial.data import TrialData
from datg.trial.final_evaluation import evaluate_best
from datg.trial.folder import BEST, CONFIG, EVALUATION, FRESH_VALIDATION, read_reports
from datg.trial.records import lacks_evaluation, ranked
from datg.trial.run import StopTrial, run_trial
from tests.faults.scripted import stored_trials
from tests.search.conftest import SPACES, settings_for

pytestmark = pytest.mark.fault
TRIALS = 2


def train(driver: SearchDriver, dataset, *, stop_at: int | None = None) -> None:
    """One trial, in this process."""
    number = driver.next_trial()

    def report(progress):
        if driver.report(number) or progress.iteration == stop_at:
            raise StopTrial

    folder = driver.folder.trial(number)
    result = run_trial(
        TrialConfig.from_dict(read_yaml(folder / CONFIG)), TrialData.from_dataset(dataset), report=report, folder=folder
    )
    if stop_at is None:
        driver.finish(number, result.outcome)


def evaluate_all(driver: SearchDriver, dataset) -> None:
    for number in driver.ended:
        folder = driver.folder.trial(number)
        if lacks_evaluation(folder):
            evaluate_best(folder / BEST, dataset.part("novel"), save_to=folder / EVALUATION)


def finish(driver: SearchDriver, dataset) -> None:
    while len(driver.ended) < driver.settings.trials:
        train(driver, dataset)
    evaluate_all(driver, dataset)


def results_of(folder: SearchFolder) -> list:
    """What must come out the same whatever was damaged."""
    _, _, records = open_records(folder.path.parent, folder.name)
    return [(r.number, r.outcome, r.searched, len(r.reports), r.objective, r.test and r.test.accuracy) for r in records]


@pytest.fixture(scope="module")
def searches(tmp_path_factory, glyphs, data_root):
    """A search in the middle, whose trial 0 has ended, trial 1 is running and the others are to come; and its results."""
    root = tmp_path_factory.mktemp("searches")
    small = {"backbone__filters": 4, "evaluation__validation_tasks": 30, "evaluation__test_tasks": 50}
    length = {"training__iterations": 6, "training__eval_every": 2}
    settings = settings_for(
        glyphs, data_root, search__trials=TRIALS, search__pruner="none", search__sampler="random", **small, **length
    )
    middle = SearchFolder(root / "middle" / "search")
    middle.path.mkdir(parents=True)
    settings = settings.model_copy(update={"study": "a study"})
    settings.save(middle)
    study = open_study(sqlite_url(middle.study), "a study", create=True)
    settings.remember(study)
    driver = SearchDriver(middle, settings, study)
    train(driver, glyphs)
    evaluate_all(driver, glyphs)
    train(driver, glyphs, stop_at=2)
    driver.close()
    _, _, records = open_records(middle.path.parent, middle.name)
    export_best(middle, settings, ranked(records[:1]), top=1, out=middle.path, mlflow_runs={})
    middle.mlflow.write_text(
        json.dumps({"experiment": "1", "parent": "p", "trials": {"0": "r"}, "points": {}, "complete": []})
    )
    shutil.copytree(root / "middle", root / "whole")
    whole = SearchFolder(root / "whole" / "search")
    finish(SearchDriver(whole, settings, open_study(sqlite_url(whole.study), "a study")), glyphs)
    return middle, results_of(whole)


def request_for(output: Path, data_root: Path, **more) -> Request:
    plain = {
        "dataset": None,
        "space_file": None,
        "settings": [],
        "flags": {},
        "study_storage": None,
        "time_budget": None,
    }
    return Request(
        **{**plain, "spaces": SPACES, "output": output, "data_root": data_root, "resources": Resources(), **more}
    )


@pytest.fixture
def resume(searches, tmp_path, data_root, monkeypatch):
    """Resumes a copy of the search after ``damage(folder)``, without Ray."""
    allocate = lambda resources: Allocation(TrialResources(1, 0.0), 1, 1, 1, resources)  # noqa: E731
    monkeypatch.setattr(resuming, "start_ray_for", allocate)
    shutil.copytree(searches[0].path, tmp_path / "runs" / "search")

    def act(damage=lambda folder: None, **more):
        damage(SearchFolder(tmp_path / "runs" / "search"))
        return resume_search(request_for(tmp_path / "runs", data_root, **more), "search")

    return act


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


def garble(path: Path) -> None:
    path.write_bytes(bytes(255 - byte for byte in path.read_bytes()))


def block(path: Path) -> None:
    """A folder in its place: nobody can read it as a file, not even root."""
    path.unlink()
    path.mkdir()
    (path / "x").touch()


DAMAGES = (truncate, empty, remove, garble, block)
FILES = {  # what is said when the search goes on; None: nothing, because nothing is lost
    "search.yaml": None,
    "driver.lock": None,
    "mlflow.json": None,
    "best.yaml": None,
    "trials/0/config.yaml": None,
    "trials/0/progress.jsonl": "was damaged; it was made again from last.safetensors",
    "trials/0/last.safetensors": None,
    "trials/0/best.safetensors": None,
    "trials/0/best_validation.parquet": "whether trial 0 ties with the best is not known",
    "trials/0/evaluation.parquet": "is damaged; it is made again",
    "trials/0/clusters.json": None,
    "trials/0/outcome.json": None,
    "trials/0/worker.json": None,
    "trials/1/config.yaml": None,
    "trials/1/progress.jsonl": None,
    "trials/1/last.safetensors": "trial 1 begins anew",
    "trials/1/best.safetensors": "trial 1 begins anew",
    "trials/1/best_validation.parquet": "whether trial 1 ties with the best is not known",
    "trials/1/clusters.json": None,
    "trials/1/worker.json": None,
}


def test_every_file_is_listed_here(searches):
    folder, _ = searches
    found = {str(path.relative_to(folder.path)) for path in folder.path.rglob("*") if path.is_file()}
    assert found - {"search-top1.yaml"} <= set(FILES) | {"study.db"}, "a new file needs its line in FILES"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "damage", [truncate, *(pytest.param(damage, marks=pytest.mark.slow) for damage in (empty, remove, garble, block))]
)
def test_a_damaged_file_is_mended_or_named(name, damage, searches, resume, glyphs):
    def hurt(folder):
        (folder.path / name).touch()
        damage(folder.path / name)

    try:
        prepared = resume(hurt)
        said = "\n".join(prepared.remarks)
        finish(prepared.driver, glyphs)
    except (StateError, OSError) as error:
        assert damage is block and Path(name).name in str(error), (
            "only what cannot be replaced stops a search, and is named"
        )
        return
    told = FILES[name] is not None and (damage is not remove or name != "trials/0/evaluation.parquet")
    assert not told or (FILES[name] in said and name in said)
    assert results_of(prepared.folder) == searches[1], "nothing is lost, nothing comes out otherwise"
    assert sum(read_status(prepared.folder).outcomes.values()) == TRIALS
    paths = export_best(
        prepared.folder,
        prepared.settings,
        prepared.records(),
        top=TRIALS,
        out=prepared.folder.path / "out",
        mlflow_runs={},
    )
    assert len(paths) == TRIALS and all(TrialConfig.from_dict(read_yaml(path)["config"]) for path in paths)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_study_ends_with_its_name_and_what_is_left(damage, resume, tmp_path):
    with pytest.raises(StateError, match=r"study.db") as caught:
        resume(lambda folder: damage(folder.study))
    assert "still in trials/" in str(caught.value) or damage is block
    status = read_status(SearchFolder(tmp_path / "runs" / "search"))
    assert status.outcomes == {"finished": 1} and status.best is not None, "the rest can still be looked at"


@pytest.mark.parametrize("damage", [truncate, empty, garble])
def test_a_damaged_score_on_fresh_tasks_is_made_again(damage, resume):
    def hurt(folder):
        path = folder.trial(0) / FRESH_VALIDATION
        shutil.copy(folder.trial(0) / EVALUATION, path)
        damage(path)

    prepared = resume(hurt)
    assert f"{FRESH_VALIDATION} is damaged; it is made again" in "\n".join(prepared.remarks)
    assert not (prepared.folder.trial(0) / FRESH_VALIDATION).exists()


def test_lost_weights_that_were_not_evaluated_are_named(resume, glyphs):
    def hurt(folder):
        for name in (BEST, EVALUATION):
            (folder.trial(0) / name).unlink()

    assert "best.safetensors is missing; trial 0 cannot be evaluated without it" in "\n".join(resume(hurt).remarks)


def test_a_search_that_died_before_its_first_trial_begins(resume, searches, glyphs):
    def hurt(folder):
        shutil.rmtree(folder.path / "trials")
        folder.study.write_bytes(b"")

    prepared = resume(hurt)
    finish(prepared.driver, glyphs)
    assert results_of(prepared.folder) == searches[1]


def test_a_search_that_has_lost_its_trials_does_not_begin_anew(resume):
    def hurt(folder):
        shutil.rmtree(folder.path / "trials")

    prepared = resume(hurt)
    assert stored_trials(prepared.driver)[0].state.name == "COMPLETE"
    assert "trial 0 cannot be evaluated without it" in "\n".join(prepared.remarks)


def test_what_a_killed_process_left_half_written_is_removed(resume):
    half = ("trials/0/.last.safetensors.0123abcd", "trials/1/.best.safetensors.89efabcd")
    prepared = resume(lambda folder: [(folder.path / name).touch() for name in half])
    assert not any((prepared.folder.path / name).exists() for name in half)


def test_a_folder_of_somebody_else_is_not_opened(resume, tmp_path):
    path = tmp_path / "runs" / "search"
    path.chmod(0o775)
    with pytest.raises(StateError, match=r"others may write into .*chmod go-w"):
        resume()
    path.chmod(0o755)
    resume()
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
        with pytest.raises(StateError, match="belongs to user 65534, not to you"):
            resume()


CHANGES = {
    "learner": ({"flags": {"learner.name": "anil"}}, "learner.name: protonet -> anil"),
    "setting": ({"settings": ["training.lr=0.01"]}, "training.lr: 0.001 -> 0.01"),
    "strategy": ({"flags": {"strategy.name": "random_mixup"}}, "strategy.name: datg -> random_mixup"),
    "sampler": ({"flags": {"search.sampler": "tpe"}}, "sampler: random -> tpe"),
}


@pytest.mark.parametrize(
    "change", ["setting", *(pytest.param(name, marks=pytest.mark.slow) for name in CHANGES if name != "setting")]
)
def test_a_change_is_shown_and_needs_permission(change, resume, glyphs):
    more, difference = CHANGES[change]
    with pytest.raises(ConfigError) as caught:
        resume(**more)
    assert difference in str(caught.value) and "--allow-change" in str(caught.value)
    flags = {**more.get("flags", {}), "search.trials": 4}
    prepared = resume(**{**more, "flags": flags}, allow_change=True)
    assert f"changed: {difference}" in prepared.remarks and "trial 1 was running and is given up" in prepared.remarks
    assert prepared.settings.changes[0]["trials before"] == 2
    finish(prepared.driver, glyphs)
    records = prepared.records()
    assert [record.outcome for record in records[:2]] == ["finished", "failed"] and len(records) == 4
    assert resume().settings == prepared.settings, "from now on that is what the search is"


@pytest.mark.parametrize("key", ["task.shots=2", "evaluation.seed=1", "evaluation.validation_tasks=7"])
def test_other_validation_tasks_are_refused_even_with_permission(key, resume):
    with pytest.raises(
        ConfigError, match=f"validated on other tasks \\({key.partition('=')[0]}: .* start a new search"
    ):
        resume(settings=[key], allow_change=True)


def test_more_trials_are_asked_for_by_their_flag_alone(resume):
    with pytest.raises(
        ConfigError, match="`search.trials` of a search that has begun is given with --trials, not with --set"
    ):
        resume(settings=["search.trials=9"])
    assert resume(flags={"search.trials": 9}).settings.trials == 9


def test_a_search_with_a_study_of_its_own_does_not_move_to_a_database_that_is_named_later(resume, tmp_path):
    prepared = resume(study_storage=f"sqlite:///{tmp_path}/other.db")
    assert len(stored_trials(prepared.driver)) == 2 and not (tmp_path / "other.db").exists()


def test_a_dry_run_of_a_search_that_goes_on_shows_what_would_change(resume, tmp_path, data_root, capsys):
    resume()
    asked = {"flags": {"search.trials": 9}, "enqueue": ("strategy.alpha=1.5",)}
    show_settings(request_for(tmp_path / "runs", data_root, **asked), "search")
    rows = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    told = {row[0]: row[1:] for row in rows}
    assert told["search.trials"] == ["9", "search.yaml"] and told["changed:"] == ["trials:", "2 -> 9"]
    assert rows[-1][0] == "enqueued" and "1.5" in rows[-1][-1]
    with pytest.raises(ConfigError, match="validated on other tasks"):
        show_settings(request_for(tmp_path / "runs", data_root, settings=["task.shots=2"]), "search")


def test_a_changed_space_is_shown_and_needs_permission(resume, tmp_path, glyphs):
    space = tmp_path / "space.yaml"
    write_yaml(space, {"space": {"strategy.alpha": {"log": [0.5, 1.0]}}})
    with pytest.raises(ConfigError, match=r"space strategy.alpha: .* -> \{'log': \[0.5, 1.0\]\}"):
        resume(space_file=space)
    prepared = resume(space_file=space, allow_change=True, flags={"search.trials": 4})
    finish(prepared.driver, glyphs)
    later = [trial.params["strategy.alpha"] for trial in stored_trials(prepared.driver)[2:]]
    assert all(0.5 <= alpha <= 1.0 for alpha in later)
    write_yaml(space, {"space": {"strategy.alpha": {"choice": [0.5, 1.0]}}})
    with pytest.raises(ConfigError, match="can change the bounds of a range, but not its kind"):
        resume(space_file=space, allow_change=True)


@pytest.mark.parametrize(
    ("key", "value", "difference"),
    [
        ("versions", {"code": "0123456789ab"}, "version of code: "),
        ("provenance", {"fingerprint": "feedbeef"}, "data fingerprint: "),
        ("space", {"strategy.alpha": {"log": [0.1, 0.2]}}, "space strategy.alpha: "),
    ],
)
def test_what_was_changed_behind_its_back_is_found(key, value, difference, resume, monkeypatch):
    """Other code and other data than the search began with, and a search.yaml that was edited."""

    def hurt(folder):
        settings = SearchSettings.load(folder)
        changed = settings.model_copy(update={key: {**getattr(settings, key), **value}})
        changed.save(folder)
        if key != "space":
            changed.remember(open_study(sqlite_url(folder.study), settings.study))

    with pytest.raises(StateError) as caught:
        resume(hurt)
    assert difference in str(caught.value) and "--allow-change" in str(caught.value)
    prepared = resume(allow_change=True)
    assert any(line.startswith(f"changed: {difference}") for line in prepared.remarks)
    gave_up = any("is given up" in line for line in prepared.remarks)
    assert gave_up == (key != "versions"), "other code alone does not stop what was running"


def test_progress_that_cannot_be_made_again_is_named_and_the_rest_is_kept(resume):
    def hurt(folder):
        place = folder.trial(0)
        (place / "last.safetensors").unlink()
        truncate(place / "progress.jsonl")

    prepared = resume(hurt)
    assert "lacks validations of trial 0" in "\n".join(prepared.remarks)
    assert len(read_reports(prepared.folder.trial(0))) == 1
