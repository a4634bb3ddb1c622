"""A search from the request to the last evaluation, new or resumed."""

import contextlib
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from datg.config import Layers, flatten, parse_settings
from datg.data.catalog import Dataset, data_root, open_dataset
from datg.data.dataset_yaml import add_dataset_yaml, dataset_yaml_for, read_dataset_yaml
from datg.errors import ConfigError
from datg.runtime.progress import format_duration
from datg.runtime.signals import reraise_signal
from datg.search.disk_space import bytes_needed, check_room
from datg.search.enqueued import check_places, read_enqueued
from datg.search.knowledge import Knowledge, gather, save
from datg.search.length import Length, measure_length
from datg.search.ray.resources import Allocation, Resources, allocate_here, usable_cpus
from datg.search.request import Request
from datg.search.resolve import explain, requested_data, resolve_settings
from datg.search.session import SearchSession, end_ray, open_search_study, open_session, start_ray_for
from datg.search.settings import SearchSettings, Tuning, pair_name
from datg.search.state.changes import check_change, requested_settings
from datg.search.state.folder import (
    SEARCH_YAML,
    DriverLock,
    SearchFolder,
    find_folder,
    make_or_take_folder,
    named_folder,
    new_folder,
)
from datg.search.state.inbox import ENQUEUE, Inbox
from datg.search.study.driver import SearchDriver
from datg.trial.config import PRESETS

# A comparison may have it, the searches that it begins with may not.
SEARCHED_WITHOUT = {"evaluation.novel_curve": False}


def _layers(request: Request, dataset: Dataset) -> tuple[Layers, Any]:
    content = read_dataset_yaml(
        request.space_file or dataset_yaml_for(dataset.name, dataset.table.shape, request.spaces)
    )
    layers = Layers(PRESETS, "training.preset")
    space = add_dataset_yaml(layers, content)
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
    dataset = requested_data(dataset, layers, root)
    comparison = request.comparison
    settings = resolve_settings(
        dataset,
        layers,
        space,
        root=root,
        external_study=request.study_storage is not None,
        make_grid=None if comparison is None else partial(comparison.grid, dataset),
        references=request.references is not False and comparison is None,
    )
    own = flatten(settings.config.to_dict())
    origins = {key: source for key, _, source in explain(settings, layers) if key in own and source != "default"}
    told: dict[str, Any] = {"command": request.command, "origins": origins}
    if comparison is not None:
        told |= {"tuned": comparison.tuned_trials(), "asked": request.asked()}
    settings = settings.model_copy(update=told)
    return settings, layers, dataset


def _searches(request: Request) -> dict[str, list[SearchSettings]]:
    """Return the settings of the searches that a comparison begins with, by the pair of learner and strategy.

    Raises:
        ConfigError: naming the pair that cannot be searched.
    """
    comparison = request.comparison
    assert comparison is not None
    searches: dict[str, list[SearchSettings]] = {}
    for pair in comparison.pairs():
        names = dict(zip(("learner", "strategy"), pair, strict=True))
        own = {**{f"{key}.name": name for key, name in names.items()}, **comparison.options_of(pair)}
        for repeat in range(comparison.repeats):
            flags = {
                **request.flags,
                **own,
                **SEARCHED_WITHOUT,
                "search.trials": comparison.tune,
                "search.seed": repeat,
            }
            asked = replace(request, comparison=None, references=False, flags=flags)
            try:
                searches.setdefault(pair_name(*pair), []).append(_settings(asked)[0])
            except ConfigError as error:
                raise ConfigError(f"`--tune`, {pair_name(*pair)}: {error}") from error
    return searches


def show_settings(request: Request, resume: str | None) -> None:
    """Print every value of a search and where it came from, and, of a new one, how long it takes on this machine.

    A few iterations and tasks of each learner and strategy are run for that, and nothing of them is kept.
    """
    if resume:
        _show_resumed(request, find_folder(request.output, resume))
        return
    settings, layers, dataset = _settings(request)
    enqueued = read_enqueued(request.enqueue, settings)
    check_places(enqueued, settings, begun=0)
    for number, params in enumerate(enqueued, 1):
        print(_line(f"enqueued {number}", params, "--enqueue"))
    if (knowledge := _knowledge(request, settings)) is not None:
        print(_line("warm start", knowledge.remark, "--warm-start"))
    tuned = request.comparison is not None and request.comparison.tune
    searches = _searches(request) if tuned else {}
    for row in [
        *explain(settings, layers),
        *((f"search {pair}", one.space, "--tune") for pair, (one, *_) in searches.items()),
    ]:
        print(_line(*row))
    share = _share_here(request.resources)
    every = [settings, *(search for found in searches.values() for search in found)]
    length = measure_length(every, dataset, threads=share.per_trial.cpus, on_gpu=share.per_trial.gpus > 0)
    print(_describe_length(length, share))


def _show_resumed(request: Request, folder: SearchFolder) -> None:
    """Print every value that a search goes on with, and in what it would differ from what it was."""
    saved = SearchSettings.load(folder)
    wanted, _ = requested_settings(request, saved)
    for key, value, _ in explain(wanted, Layers()):
        print(_line(key, value, "search.yaml"))
    changed = saved.differences(wanted)
    changed += [] if wanted.trials == saved.trials else [f"trials: {saved.trials} -> {wanted.trials}"]
    for line in changed:
        print(f"changed: {line}")
    check_change(saved, wanted, trials=len(folder.trial_numbers()))
    enqueued = read_enqueued(request.enqueue, wanted)
    check_places(enqueued, wanted, begun=len(folder.trial_numbers()))
    for number, params in enumerate(enqueued, 1):
        print(_line(f"enqueued {number}", params, "--enqueue"))


def _share_here(asked: Resources) -> Allocation:
    """Return what a trial gets of this machine, to time it."""
    if asked.address is not None:  # what this machine has is not what trials get, but all that there is to time them on
        cpus, gpus = min(asked.cpus_per_trial, usable_cpus()), None if asked.gpus_per_trial != 0 else 0.0
        asked = Resources(address=asked.address, cpus_per_trial=cpus, gpus_per_trial=gpus)
    return allocate_here(asked)


@dataclass(frozen=True)
class Bill:
    """Hold what a comparison costs, with the searches that it begins with.

    Attributes:
        trainings: how many, those of searches included.
        iterations: of all of them, pruned by nobody.
        length: their seconds on this machine, timed from a few iterations of each kind; None where it was not timed.
        at_once: trainings that this machine runs at once.
        size: bytes on the disk, at most.
    """

    trainings: int
    iterations: int
    length: Length | None
    at_once: int
    size: int


def bill(request: Request, *, timed: bool = True) -> Bill:
    """Check a new comparison, and return what it costs; nothing of it is kept.

    Raises:
        ConfigError: it cannot be run.
        DataError: the data set is missing or does not suffice.
    """
    settings, _, dataset = _settings(request)
    searches = _searches(request) if request.comparison is not None and request.comparison.tune else {}
    every = [settings, *(search for found in searches.values() for search in found)]
    share = _share_here(request.resources)
    length = None
    if timed:
        length = measure_length(every, dataset, threads=share.per_trial.cpus, on_gpu=share.per_trial.gpus > 0)
    trainings = sum(one.trials + len(one.references) for one in every)
    return Bill(
        trainings,
        trainings * settings.config.training.iterations,
        length,
        share.concurrent,
        sum(bytes_needed(one, dataset.part("base"), share.concurrent) for one in every),
    )


def _line(key: str, value: Any, source: str) -> str:
    return f"{key:32} {value!s:40} {source}"


def _describe_length(length: Length, share: Allocation) -> str:
    """Return how long a search takes, and how much of a GPU's time, in a sentence; ``share`` is what a trial gets here."""
    each = f"a training takes about {format_duration(length.seconds / length.trainings)}"
    gpu = f", {length.seconds / 3600:.1f} GPU hours," if length.on_gpu else ""
    timed = f"timed on this machine, on {'a GPU of its own' if length.on_gpu else 'a CPU'}; what is pruned takes less"
    if share.asked.address is not None:
        return f"{each}, all {length.trainings} one after the other {format_duration(length.seconds)}{gpu} ({timed})"
    at_once = share.concurrent
    gpus = (
        math.ceil(at_once * share.per_trial.gpus) if length.on_gpu else at_once
    )  # that share one may be no faster together
    total = format_duration(length.at_once(gpus))
    return f"{each}, all {length.trainings} of them{gpu} {total} with up to {at_once} at once ({timed})"


def prepare_tuned(request: Request) -> SearchFolder:
    """Check a comparison whose configurations are searched first, and make its folder and those of its searches; run nothing.

    Each search, and then the comparison, is begun by going on with it.
    """
    settings, _, dataset = _settings(request)
    searches = _searches(request)
    several = len({search.config.learner_name for search, *_ in searches.values()}) > 1
    allocation = start_ray_for(request)  # a request that no node can meet leaves nothing behind
    end_ray()
    every = [settings, *(search for found in searches.values() for search in found)]
    needed = sum(bytes_needed(one, dataset.part("base"), allocation.most_concurrent) for one in every)
    check_room(request.output, needed)
    reraise_signal()
    folder = _make_folder(request, settings)
    with _being_made(folder) as made:
        names: dict[str, list[str]] = {}
        for pair, found in searches.items():
            for search in found:
                name = _search_name(folder, search, several_learners=several)
                made.append(make_or_take_folder(folder.beside(name).path, SEARCH_YAML))
                search.model_copy(update={"study": f"{name}-{search.id[:8]}", "comparison": folder.name}).save(made[-1])
                names.setdefault(pair, []).append(name)
        tuning = Tuning(trials=every[1].trials, searches=names)
        settings.model_copy(update={"study": f"{folder.name}-{settings.id[:8]}", "tuning": tuning}).save(folder)
    return folder


def _search_name(folder: SearchFolder, search: SearchSettings, *, several_learners: bool) -> str:
    """Return what a search of a comparison is called: after the comparison and what it is a search for."""
    config = search.config
    learner = f"-{config.learner_name}" if several_learners else ""
    repeat = f"-repeat-{search.seed}" if search.seed else ""
    return f"{folder.name}--{config.strategy_name}{learner}{repeat}"


def _make_folder(request: Request, settings: SearchSettings) -> SearchFolder:
    if request.name is not None:
        return named_folder(request.output, request.name)
    return new_folder(request.output, settings.config.dataset + ("" if request.comparison is None else "-comparison"))


def prepare(request: Request) -> SearchSession:
    """Check everything, then make the folder and the study of a new search."""
    settings, _, dataset = _settings(request)
    enqueued = read_enqueued(request.enqueue, settings)
    check_places(enqueued, settings, begun=0)
    knowledge = _knowledge(request, settings)
    # Ray before the folder: a request that no node can meet leaves nothing behind.
    allocation = start_ray_for(request)
    check_room(request.output, bytes_needed(settings, dataset.part("base"), allocation.most_concurrent))
    reraise_signal()
    folder = _make_folder(request, settings)
    with _being_made(folder):
        learned = {} if knowledge is None else {"warm_start": knowledge.search}
        settings = settings.model_copy(update={"study": f"{folder.name}-{settings.id[:8]}", **learned})
        if knowledge is not None:
            save(folder, knowledge)
        settings.save(folder)
        Inbox(folder).put_once(ENQUEUE, enqueued)
        stored = open_search_study(request, folder, settings, create=True)
        with stored.closed_on_error():
            settings.remember(stored)
            driver = SearchDriver(folder, settings, stored)
    remarks = [] if knowledge is None else [knowledge.remark]
    return open_session(request, folder, settings, dataset, driver, DriverLock(folder), allocation, remarks)


def _knowledge(request: Request, settings: SearchSettings) -> Knowledge | None:
    """Return the trials that the sampler is to begin with, if a search is named whose they are.

    Raises:
        ConfigError: it is no such search, or the new one itself.
    """
    if request.warm_start is None:
        return None
    if request.warm_start == request.name:
        raise ConfigError(f"`--warm-start` {request.warm_start} is the new search itself; name another one.")
    source = find_folder(request.output, request.warm_start)
    return gather(source, settings)


@contextlib.contextmanager
def _being_made(folder: SearchFolder) -> Iterator[list[SearchFolder]]:
    """Hold a new search's folder while its files are written; what does not become a search is removed with all that is added.

    Raises:
        ConfigError: another command has begun it meanwhile.
    """
    made = [folder]
    with DriverLock(folder):
        if folder.settings.exists():
            raise ConfigError(f"another command has just begun {folder.name}; call this one again to resume it.")
        try:
            yield made
        except BaseException:
            for one in made:
                shutil.rmtree(one.path, ignore_errors=True)
            raise
