"""A search from the request to the last evaluation, new or resumed."""

import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import optuna

from datg.config import Layers, parse_settings
from datg.data.catalog import Dataset, data_root, open_dataset, with_test_dataset
from datg.errors import ConfigError, StateError
from datg.records import TrialRecord, ranked
from datg.search.comparison_table import write_tables
from datg.search.damage import mend
from datg.search.disk import DiskWatch, bytes_needed, check_room
from datg.search.driver import SearchDriver
from datg.search.export import write_export
from datg.search.folder import DriverLock, SearchFolder, find_folder, new_folder
from datg.search.local_ray import prepare_environment
from datg.search.request import Request, Resources
from datg.search.results import folder_records, read_records
from datg.search.resume import agree, end_what_was_running, wanted_settings
from datg.search.settings import SearchSettings, explain, resolve_settings
from datg.search.study import holds_nothing, open_study, sqlite_url
from datg.space_file import add_space_file, read_space_file, space_file_of
from datg.stop import StopRequest, raise_what_came
from datg.trial_config import PRESETS

if TYPE_CHECKING:
    from datg.search.evaluations import Evaluations
    from datg.search.grant import Granted

NO_SUCCESS, DAMAGED, UNFINISHED = 3, 4, 75


@dataclass
class Prepared:
    """A search that is ready to run.

    Attributes:
        folder: its files.
        settings: what it does.
        dataset: on what.
        study: its truth.
        driver: between Ray and the study.
        lock: held while it runs.
        granted: what Ray can give.
        stop: why to end early.
        disk: keeps it within its budget.
        remarks: what was mended or changed before it went on.
        evaluations: the final ones, once they have run.
    """

    folder: SearchFolder
    settings: SearchSettings
    dataset: Dataset
    study: optuna.Study
    driver: SearchDriver
    lock: DriverLock
    granted: "Granted"
    stop: StopRequest
    disk: DiskWatch
    remarks: list[str]
    evaluations: "Evaluations | None" = None

    def records(self) -> list[TrialRecord]:
        """The trials so far; from their folders where the study cannot be reached."""
        if self.driver.out_of_reach:
            return folder_records(self.folder, self.settings)
        return read_records(self.folder, self.settings, self.study)


def _layers(request: Request, dataset: Dataset) -> tuple[Layers, Any]:
    content = read_space_file(request.space_file or space_file_of(dataset.name, dataset.table.shape, request.spaces))
    layers = Layers(PRESETS, "training.preset")
    space = add_space_file(layers, content)
    layers.add(parse_settings(request.settings), "--set")
    layers.add(request.flags, "flag")
    return layers, space


def _settings(request: Request) -> tuple[SearchSettings, Layers, Dataset]:
    if request.dataset is None:
        raise ConfigError(
            "--dataset is missing: name a data set, for instance --dataset glyphs, or go on with --resume SEARCH."
        )
    root = data_root(request.data_root)
    dataset = open_dataset(request.dataset, root)
    layers, space = _layers(request, dataset)
    dataset = with_test_dataset(dataset, layers.values.get("evaluation.test_dataset"), root)
    settings = resolve_settings(
        dataset,
        layers,
        space,
        root=root,
        external_study=request.study_storage is not None,
        make_grid=None if request.comparison is None else partial(request.comparison.grid, dataset),
    )
    return settings, layers, dataset


def show_settings(request: Request, resume: str | None) -> None:
    """Prints every value of a search and where it came from; starts nothing."""
    if resume:
        settings, layers = SearchSettings.load(find_folder(request.output, resume)), Layers()
    else:
        settings, layers, _ = _settings(request)
    for key, value, source in explain(settings, layers):
        print(f"{key:32} {value!s:40} {source if not resume else 'search.yaml'}")


def prepare(request: Request) -> Prepared:
    """Checks everything, then makes the folder and the study of a new search."""
    settings, _, dataset = _settings(request)
    granted = _start_ray(request.resources)  # before the folder: a request that no node can meet leaves nothing behind
    for least, limit in ((False, None), (True, request.resources.disk_budget)):
        needed = bytes_needed(settings, dataset.part("base"), granted.most_concurrent, least=least)
        check_room(request.output, needed, limit)
    kind = "" if request.comparison is None else "-comparison"
    raise_what_came()
    folder = new_folder(request.output, settings.trial_config.dataset + kind)
    lock = DriverLock(folder)
    try:
        with lock:
            settings = settings.model_copy(update={"study": f"{folder.name}-{settings.id[:8]}"})
            settings.save(folder)
            study = _study(request, folder, settings, create=True)
            settings.remember(study)
            driver = SearchDriver(folder, settings, study)
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    return _prepared(request, folder, settings, dataset, study, driver, lock, granted, [])


def resume_search(request: Request, search: str, *, comparison: bool = False) -> Prepared:
    """Opens a search, or a ``comparison``, to go on with it; its configuration comes from its folder.

    Raises:
        ConfigError: what the user says now is not what the search began with, and that was not allowed.
        StateError: the same of data or code; or the folder is damaged beyond repair.
    """
    folder = find_folder(request.output, search)
    lock = DriverLock(folder)
    with lock:  # a second driver is turned away at once
        saved = SearchSettings.load(folder)
    if bool(saved.grid) != comparison:
        kind, launcher = ("comparison", "compare") if saved.grid else ("search", "search")
        raise ConfigError(
            f"{folder.name} is a {kind}; go on with: python launchers/{launcher}.py --resume {folder.name}"
        )
    if saved.external_study and request.study_storage is None:
        raise ConfigError(
            f"the study of {folder.name} is in a database; name it again with --study-storage or in DATG_STUDY_STORAGE."
        )
    wanted, dataset = wanted_settings(request, saved)
    try:
        with lock:
            study, settings, remarks = _take_up(request, folder, saved, wanted)
        granted = _start_ray(request.resources)
        with lock:
            driver = SearchDriver(folder, settings, study)
    except OSError as error:
        raise StateError(
            f"{error.filename or folder.path} cannot be read or written ({error.strerror or error}); mend that, or move it "
            "away to go on without it."
        ) from error
    return _prepared(request, folder, settings, dataset, study, driver, lock, granted, remarks)


def _take_up(
    request: Request, folder: SearchFolder, saved: SearchSettings, wanted: SearchSettings
) -> tuple[optuna.Study, SearchSettings, list[str]]:
    """Opens the study, accepts or refuses what has changed, and mends what is damaged."""
    untouched = not any((folder.path / "trials").glob("*"))  # its first driver may have died before the first trial
    if untouched and request.study_storage is None and holds_nothing(folder.study, wanted.study):
        folder.study.unlink(missing_ok=True)
    study = _study(request, folder, wanted, create=untouched)
    asked = bool(request.settings or request.space_file or request.dataset or set(request.flags) - {"search.trials"})
    settings, differences = agree(saved, wanted, study, allowed=request.allow_change, asked=asked)
    remarks = [f"changed: {line}" for line in differences]
    if any(not line.startswith("version of ") for line in differences):
        remarks += [f"trial {number} was running and is given up" for number in end_what_was_running(study)]
        shutil.rmtree(folder.embedding, ignore_errors=True)  # of another configuration or other data
    settings.save(folder)
    settings.remember(study)
    return study, settings, remarks + mend(folder, study)


def _study(request: Request, folder: SearchFolder, settings: SearchSettings, *, create: bool) -> optuna.Study:
    url = request.study_storage or sqlite_url(folder.study)
    return open_study(url, settings.study, create=create, pruner=settings.pruner, steps=settings.steps)


def _prepared(
    request: Request,
    folder: SearchFolder,
    settings: SearchSettings,
    dataset: Dataset,
    study: optuna.Study,
    driver: SearchDriver,
    lock: DriverLock,
    granted: "Granted",
    remarks: list[str],
) -> Prepared:
    stop, disk = StopRequest(request.time_budget), DiskWatch(request.resources.disk_budget)
    return Prepared(folder, settings, dataset, study, driver, lock, granted, stop, disk, remarks)


def _start_ray(resources: Resources) -> "Granted":
    if resources.address is None:
        prepare_environment()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray's own dependencies
        from datg.search.ray_backend import start_ray

        return start_ray(resources)


def conduct(prepared: Prepared, say: Callable[[str], None]) -> int:
    """Runs what is missing and tells ``say`` what the user should know; returns the exit code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray's own dependencies
        from datg.search.ray_backend import run_search, shut_down

        try:
            prepared.evaluations = run_search(
                prepared.driver, prepared.dataset, prepared.granted, prepared.stop, prepared.disk, say
            )
        finally:
            shut_down()
    if prepared.driver.out_of_reach or (prepared.stop.requested and not prepared.driver.all_done):
        return prepared.stop.exit_code
    if len(prepared.driver.ended) < prepared.settings.trials:
        return UNFINISHED
    records = prepared.records()
    best = [record for record in ranked(records) if record.state == "done"]
    if not best:
        return NO_SUCCESS
    write_export(prepared.folder.best, prepared.folder, prepared.settings, best[0])
    if prepared.settings.grid:
        write_tables(prepared.folder, prepared.settings, records)
    if prepared.evaluations.damaged:
        return DAMAGED
    return UNFINISHED if prepared.evaluations.errors else 0
