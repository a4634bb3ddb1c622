"""A search from the request to the last evaluation, new or resumed."""

import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

from datg.config import Layers, parse_settings
from datg.data.catalog import Dataset, data_root, open_dataset, with_test_dataset
from datg.data.dataset_yaml import add_dataset_yaml, dataset_yaml_for, read_dataset_yaml
from datg.errors import ConfigError
from datg.runtime.signals import reraise_signal
from datg.search.disk_space import bytes_needed, check_room
from datg.search.request import Request
from datg.search.resolve import explain, resolve_settings
from datg.search.settings import SearchSettings
from datg.search.state.folder import DriverLock, find_folder, new_folder
from datg.search.study.driver import SearchDriver
from datg.trial.config import PRESETS

if TYPE_CHECKING:
    pass
from datg.search.session import SearchSession, open_search_study, open_session, start_ray_for


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
    dataset = with_test_dataset(dataset, layers.values.get("evaluation.test_dataset"), root)
    settings = resolve_settings(
        dataset,
        layers,
        space,
        root=root,
        external_study=request.study_storage is not None,
        make_grid=None if request.comparison is None else partial(request.comparison.grid, dataset),
        references=request.references is not False and request.comparison is None,
    )
    return settings, layers, dataset


def show_settings(request: Request, resume: str | None) -> None:
    """Print every value of a search and where it came from; start nothing."""
    if resume:
        settings, layers = SearchSettings.load(find_folder(request.output, resume)), Layers()
    else:
        settings, layers, _ = _settings(request)
    for key, value, source in explain(settings, layers):
        print(f"{key:32} {value!s:40} {source if not resume else 'search.yaml'}")


def prepare(request: Request) -> SearchSession:
    """Check everything, then make the folder and the study of a new search."""
    settings, _, dataset = _settings(request)
    # Ray before the folder: a request that no node can meet leaves nothing behind.
    allocation = start_ray_for(request.resources)
    check_room(request.output, bytes_needed(settings, dataset.part("base"), allocation.most_concurrent))
    kind = "" if request.comparison is None else "-comparison"
    reraise_signal()
    folder = new_folder(request.output, settings.config.dataset + kind)
    lock = DriverLock(folder)
    try:
        with lock:
            settings = settings.model_copy(update={"study": f"{folder.name}-{settings.id[:8]}"})
            settings.save(folder)
            stored = open_search_study(request, folder, settings, create=True)
            settings.remember(stored)
            driver = SearchDriver(folder, settings, stored)
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    return open_session(request, folder, settings, dataset, driver, lock, allocation, [])
