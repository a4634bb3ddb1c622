"""A search from the request to the last evaluation, new or resumed."""

import shutil
import warnings
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from datg.config import Layers, parse_settings
from datg.data.catalog import Dataset, data_root, open_dataset, with_test_dataset
from datg.errors import ConfigError, StateError
from datg.records import TrialRecord, ranked
from datg.search.comparison import Comparison
from datg.search.comparison_table import write_tables
from datg.search.driver import SearchDriver, Situation
from datg.search.export import write_export
from datg.search.folder import DriverLock, SearchFolder, find_folder, new_folder
from datg.search.results import context_tags, read_records
from datg.search.settings import SearchSettings, explain, resolve_settings
from datg.search.stop import StopRequest
from datg.search.study import open_study, sqlite_url
from datg.space_file import read_space_file, space_file_of
from datg.tracking.view import Parent, how_to_look
from datg.trial import provenance_of
from datg.trial_config import PRESETS

if TYPE_CHECKING:
    from datg.search.ray_backend import Granted

NO_SUCCESS, UNFINISHED = 3, 75


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a search may use.

    Attributes:
        address: of a Ray cluster, ``auto`` for the one this machine belongs to, None to start one here.
        cpus_per_trial: cores, which is also the number of threads of a trial.
        gpus_per_trial: may be a fraction; None takes one where there are any.
        max_concurrent: trials at once; None takes as many as fit.
    """

    address: str | None = None
    cpus_per_trial: int = 1
    gpus_per_trial: float | None = None
    max_concurrent: int | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for; see the options of ``launchers/search.py``.

    Attributes:
        spaces: the folder of the spaces that go with data sets.
        flags: dotted keys that were given as flags.
        comparison: what is compared, if it is not a search in a space.
    """

    dataset: str | None
    space_file: Path | None
    spaces: Path
    settings: list[str]
    flags: dict[str, Any]
    output: Path
    data_root: Path | None
    study_storage: str | None
    time_budget: float | None
    resources: Resources
    comparison: Comparison | None = None


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
        evaluation_errors: by trial number, of final evaluations that failed for good.
    """

    folder: SearchFolder
    settings: SearchSettings
    dataset: Dataset
    study: optuna.Study
    driver: SearchDriver
    lock: DriverLock
    granted: "Granted"
    stop: StopRequest = field(default_factory=StopRequest)
    evaluation_errors: dict[int, str] = field(default_factory=dict)

    def records(self) -> list[TrialRecord]:
        """The trials so far."""
        return read_records(self.folder, self.settings, self.study)

    def closing_lines(self, code: int, uri: str, *, sent: bool) -> list[str]:
        """What to do next."""
        lines = [f"trial {record.number} {record.outcome}: {record.error}" for record in self.records() if record.error]
        lines += [f"trial {number} not evaluated: {error}" for number, error in sorted(self.evaluation_errors.items())]
        launcher = "compare" if self.settings.grid else "search"
        resume = f"python launchers/{launcher}.py --resume {self.folder.name}"
        if self.stop.requested and code in (75, 130):
            lines.append(f"stopped ({self.stop.reason}); go on with: {resume}")
        elif code == UNFINISHED:
            lines.append(f"some final evaluations failed; try them again with: {resume}")
        elif code == NO_SUCCESS:
            lines.append("no trial succeeded; the causes stand above.")
        elif self.settings.grid:
            lines.append(f"tables: {self.folder.comparison('md')} and {self.folder.comparison('csv').name} beside it")
        else:
            lines.append(f"best configuration: {self.folder.best}")
            lines.append(f"export: python launchers/export.py {self.folder.name} --top 3 --out configs")
        lines.append(f"compare in MLflow: {how_to_look(uri)}")
        if not sent:
            lines.append(f"MLflow does not have everything yet; --resume {self.folder.name} sends the rest.")
        return lines


def _layers(request: Request, dataset: Dataset) -> tuple[Layers, Any]:
    content = read_space_file(request.space_file or space_file_of(dataset.name, dataset.table.shape, request.spaces))
    layers = Layers(PRESETS, "training.preset")
    layers.add(content.get("fixed") or {}, "YAML")
    layers.add({"search": content.get("search") or {}}, "YAML")
    layers.add(parse_settings(request.settings), "--set")
    layers.add(request.flags, "flag")
    return layers, content.get("space")


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
    kind = "" if request.comparison is None else "-comparison"
    folder = new_folder(request.output, settings.trial_config.dataset + kind)
    try:
        settings.save(folder)
        return _open(request, folder, settings, dataset, granted, create=True)
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise


def resume_search(request: Request, search: str, *, comparison: bool = False) -> Prepared:
    """Opens a search, or a ``comparison``, to go on with it; its configuration comes from its folder.

    Raises:
        ConfigError: flags that would change the configuration were given.
        StateError: the data are not those that the search began with.
    """
    folder = find_folder(request.output, search)
    with DriverLock(folder):  # a second driver is turned away at once
        settings = SearchSettings.load(folder)
    if bool(settings.grid) != comparison:
        kind, launcher = ("comparison", "compare") if settings.grid else ("search", "search")
        raise ConfigError(
            f"{folder.name} is a {kind}; go on with: python launchers/{launcher}.py --resume {folder.name}"
        )
    changing = sorted(set(request.flags) - {"search.trials"})
    if changing or request.settings or request.dataset or request.space_file:
        raise ConfigError(
            f"--resume takes its configuration from {folder.settings}; only {'' if comparison else '--trials, '}resources, "
            "--time-budget, --output, --data-root, --study-storage and --tracking-uri can be given with it."
        )
    root = request.data_root or Path(settings.data_root)
    dataset = open_dataset(settings.trial_config.dataset, root)
    dataset = with_test_dataset(dataset, settings.trial_config.evaluation.test_dataset, root)
    found, expected = dataset.table.fingerprint, settings.provenance["fingerprint"]
    if provenance_of(dataset) != settings.provenance:
        raise StateError(
            f"data set {dataset.name} is not the one that {folder.name} began with (fingerprint {found[:16]}, not "
            f"{expected[:16]}, another split, or another test data set); import the old one again, or start a new search."
        )
    trials = request.flags.get("search.trials")
    if trials is not None:
        if trials < settings.trials:
            raise ConfigError(
                f"`--trials` must be at least {settings.trials}, as many as {folder.name} already asks for, got {trials}."
            )
        settings = settings.model_copy(update={"trials": trials})
        settings.save(folder)
    return _open(request, folder, settings, dataset, _start_ray(request.resources), create=False)


def _start_ray(resources: Resources) -> "Granted":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray's own dependencies
        from datg.search.ray_backend import start_ray

        return start_ray(resources)


def _open(
    request: Request,
    folder: SearchFolder,
    settings: SearchSettings,
    dataset: Dataset,
    granted: "Granted",
    *,
    create: bool,
) -> Prepared:
    if settings.external_study and request.study_storage is None:
        raise ConfigError(f"the study of {folder.name} is in a database; name it again with --study-storage.")
    lock = DriverLock(folder)
    with lock:
        study = open_study(
            request.study_storage or sqlite_url(folder.study),
            folder.name,
            create=create,
            sampler=settings.sampler,
            pruner=settings.pruner,
            seed=settings.seed,
            trials=settings.trials,
            steps=settings.steps,
        )
        driver = SearchDriver(folder, settings, study)
    return Prepared(folder, settings, dataset, study, driver, lock, granted, StopRequest(request.time_budget))


def conduct(prepared: Prepared) -> int:
    """Runs what is missing; returns the exit code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray's own dependencies
        from datg.search.ray_backend import run_search, shut_down

        try:
            prepared.evaluation_errors = run_search(prepared.driver, prepared.dataset, prepared.granted, prepared.stop)
        finally:
            shut_down()
    if prepared.stop.requested and not prepared.driver.all_done:
        return prepared.stop.exit_code
    records = prepared.records()
    best = [record for record in ranked(records) if record.state == "done"]
    if not best:
        return NO_SUCCESS
    write_export(prepared.folder.best, prepared.folder, prepared.settings, best[0])
    if prepared.settings.grid:
        write_tables(prepared.folder, prepared.settings, records)
    return UNFINISHED if prepared.evaluation_errors else 0


def parent_run(prepared: Prepared) -> Parent:
    """The MLflow run above the trials of a search."""
    settings, folder = prepared.settings, prepared.folder
    config = settings.trial_config
    # What the trials of a comparison do not have in common is no tag of the run above them.
    own = {"search"} | ({"learner", "strategy", "seed"} if settings.grid else set())
    kind = {"kind": "comparison"} if settings.grid else {}
    names = ("trials",) if settings.grid else ("trials", "sampler", "pruner", "seed")
    return Parent(
        name=folder.name,
        experiment=f"datg/{config.dataset}",
        tags={key: value for key, value in context_tags(config, folder.name).items() if key not in own} | kind,
        params={name: getattr(settings, name) for name in names},
        artifacts=[folder.settings, folder.best, folder.comparison("md"), folder.comparison("csv")],
        id=settings.id,
        runs_file=folder.mlflow,
    )


def describe(situation: Situation) -> str:
    """One line: best so far with its interval, running, ended by outcome, time left."""
    from datg.display import duration

    parts = [situation.preparing] if situation.preparing else []
    if situation.best is not None:
        number, objective, ci95 = situation.best
        parts.append(f"best {objective:.4f} ± {ci95:.4f} (trial {number})")
    running = ", ".join(f"{number}: {share:.0%}" for number, share in sorted(situation.running.items()))
    parts.append(f"running {len(situation.running)}" + (f" ({running})" if running else ""))
    parts += [f"{outcome} {count}" for outcome, count in sorted(situation.outcomes.items())]
    parts.append(f"evaluated {situation.evaluated} of {situation.asked}")
    left = situation.seconds_left()
    if left:
        parts.append(f"about {duration(left)} left")
    return "; ".join(parts)
