"""A reproduction made from what the user asks for: the data that are at hand, the comparisons, and the request of each."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from datg.config import Layers, parse_settings
from datg.data.catalog import Dataset, open_dataset
from datg.data.dataset_yaml import add_dataset_yaml, dataset_yaml_for, read_dataset_yaml
from datg.data.splits import TaskSize
from datg.errors import ConfigError, DataError, StateError, unknown_name
from datg.runtime.called import command
from datg.search.comparison.grid import OWN_SECTIONS, Comparison, options_of, without_own_sections
from datg.search.reproduction.folder import AtHand, Reproduction, unit_folder
from datg.search.reproduction.paper import DATASETS
from datg.search.reproduction.plan import Unit, Wanted, make_plan
from datg.search.request import Request
from datg.search.state.folder import SearchFolder, check_name
from datg.search.versions import versions
from datg.trial.config import PRESETS, TrainingSection

# Settings that make a row or a point what it is.
OWN_KEYS = {
    "base_classes": ": figure4b has it",
    "task.shots": ", but with --shots",
    "evaluation.test_dataset": ": table2 has it",
    "evaluation.novel_curve": ": figure4a has it",
}
QUICK_SEEDS, SEEDS = 2, 3
QUICK_ITERATIONS = 200  # at most
QUICK_VALIDATIONS = 4
QUICK_TASKS = {"evaluation.validation_tasks": 100, "evaluation.test_tasks": 500}
# Of Meta-Dropout, whose 30 draws of noise would cost more than all else together.
QUICK_OPTIONS = {"strategy.samples_test": 2}


def find_datasets(names: tuple[str, ...], root: Path) -> tuple[dict[str, Dataset], dict[str, str]]:
    """Return the data sets that are at hand, and of the others how one comes by them.

    Args:
        names: that were asked for; empty for those of the paper.
        root: where data sets live.

    Raises:
        DataError: one that was asked for is missing, or none of the paper's is there.
    """
    found, missing = {}, {}
    for name in names or DATASETS:
        try:
            found[name] = open_dataset(name, root)
        except DataError:
            if names or (root / name).exists():  # asked for by name, or there and damaged
                raise
            missing[name] = f"import it (docs/data_sets/{name}.md): {command('import_data', name, 'RAW_FILES')}"
    if not found:
        raise DataError(
            f"none of the paper's data sets ({', '.join(DATASETS)}) is in {root}; import one "
            f"({command('import_data', 'NAME RAW_FILES')}), or name one of your own or the built-in one with --datasets glyphs."
        )
    return found, missing


def make_reproduction(
    wanted: Wanted,
    datasets: Mapping[str, Dataset],
    missing: dict[str, str],
    *,
    seeds: int,
    quick: bool,
    given: list[str],
    asked: dict[str, Any],
    spaces: Path,
    root: Path,
    called_by: str,
) -> Reproduction:
    """Return what is to be run.

    Args:
        wanted: what is asked for.
        datasets: those of it that are at hand.
        missing: how one comes by the others.
        seeds: training seeds of each row.
        quick: whether it is a quick look.
        given: what was given by ``--set``.
        asked: everything by option, by which the same command is known again.
        spaces: the folder of the YAML files that go with data sets.
        root: where data sets live.
        called_by: the command, as it was called.

    Raises:
        ConfigError: something that was asked for by name cannot be run, or an option belongs to no row.
    """
    fixed = {name: _fixed(dataset, spaces) for name, dataset in datasets.items()}
    chosen = parse_settings(given).get("task.ways")
    ways = {
        name: chosen if isinstance(chosen, int) else int(layers.values.get("task.ways", TaskSize().ways))
        for name, layers in fixed.items()
    }
    plan = make_plan(wanted, datasets, ways)
    _check_options(plan.units, given)
    return Reproduction(
        asked=asked,
        targets=wanted.targets,
        datasets=wanted.datasets,
        learners=wanted.learners,
        shots=wanted.shots,
        strategies=wanted.strategies,
        seeds=seeds,
        units=plan.units,
        left_out=plan.left_out,
        missing=missing,
        at_hand={name: _at_hand(dataset, fixed[name]) for name, dataset in datasets.items()},
        quick=quick,
        data_root=str(root),
        command=called_by,
        versions=versions(),
    )


def _at_hand(dataset: Dataset, fixed: Layers) -> AtHand:
    own = TrainingSection.model_fields["iterations"].default
    return AtHand(
        shape=dataset.table.shape,
        base_classes=len(dataset.split.base),
        fingerprint=dataset.table.fingerprint,
        iterations=int(fixed.values.get("training.iterations", own)),
        split=dataset.split.model_dump(exclude={"remarks"}),
        fixed=dict(fixed.values),
    )


def check_unchanged(reproduction: Reproduction, root: Path, spaces: Path, *, allow_change: bool) -> None:
    """Refuse to go on with other data, values or versions than a reproduction began with.

    Args:
        reproduction: that has begun.
        root: where data sets live now.
        spaces: the folder of the YAML files that go with data sets.
        allow_change: whether code and libraries may be others.

    Raises:
        DataError: a data set is missing.
        StateError: something is not what it was.
    """
    for name, known in reproduction.at_hand.items():
        dataset = open_dataset(name, root)
        if changes := known.changes(_at_hand(dataset, _fixed(dataset, spaces))):
            raise StateError(
                f"{name} in {root} is not what it was when this reproduction began ({', '.join(changes)}), and a table of both "
                "would compare nothing; undo that, or begin another reproduction."
            )
    now = versions()
    others = [
        f"{key} {old} -> {now.get(key, 'none')}" for key, old in reproduction.versions.items() if now.get(key) != old
    ]
    if others and not allow_change:
        raise StateError(
            f"this reproduction began with other versions ({', '.join(others)}); go back to them, begin another, or accept them "
            "with --allow-change."
        )


def _fixed(dataset: Dataset, spaces: Path) -> Layers:
    """Return the fixed values that go with a data set."""
    layers = Layers(PRESETS, "training.preset")
    add_dataset_yaml(layers, read_dataset_yaml(dataset_yaml_for(dataset.name, dataset.table.shape, spaces)))
    return layers


def _check_options(units: list[Unit], given: list[str]) -> None:
    """Refuse options of strategies and learners that no comparison has."""
    for key, instead in OWN_KEYS.items():
        if key in parse_settings(given):
            raise ConfigError(f"`{key}` is what a table or figure is about, and is not given with --set{instead}.")
    known = options_of({unit.learner for unit in units}, {name for unit in units for name in unit.strategies})
    for key in parse_settings(given):
        if key.partition(".")[0] in OWN_SECTIONS and key not in known:
            raise ConfigError("no row of this reproduction has it: " + unknown_name("key", key, known))


def check_names(reproduction: Reproduction, name: str) -> None:
    """Refuse names of data sets that no comparison can be called after.

    Args:
        reproduction: whose comparisons are called ``<name>-<suffix>``.
        name: of the reproduction.

    Raises:
        ConfigError: naming the data set.
    """
    seen: dict[str, Unit] = {}
    for unit in reproduction.units:
        try:
            check_name(f"{name}-{unit.suffix}")
        except ConfigError as error:
            raise ConfigError(
                f"a comparison on {unit.dataset} cannot be called {name}-{unit.suffix}: give another --name, or import the data "
                f"set under another one ({error})"
            ) from error
        if unit.suffix in seen:
            raise ConfigError(
                f"two comparisons would be called {name}-{unit.suffix}; import {unit.dataset} under another name."
            )
        seen[unit.suffix] = unit


def check_places(reproduction: Reproduction, folder: SearchFolder) -> None:
    """Refuse a name under which a comparison of it is there already, as the left of another reproduction.

    Raises:
        ConfigError: naming it.
    """
    for unit in reproduction.units:
        if (place := unit_folder(folder, unit).path).exists():
            raise ConfigError(
                f"`--name` {folder.name}: {place} is there already, and would be taken for a part of this reproduction; choose "
                "another name, or move it away."
            )


def request_for(unit: Unit, reproduction: Reproduction, folder: SearchFolder, general: Request) -> Request:
    """Return the request of one comparison.

    Args:
        unit: which.
        reproduction: it belongs to.
        folder: of the reproduction.
        general: resources, places, and what was given by ``--set``.
    """
    given = general.settings
    own = options_of([unit.learner], unit.strategies)
    settings = {
        key: value
        for key, value in parse_settings(given).items()
        if key.partition(".")[0] not in OWN_SECTIONS or key in own
    }
    quick = _quick(reproduction.at_hand[unit.dataset].iterations, settings) if reproduction.quick else {}
    settings = {**{key: value for key, value in quick.items() if key in own}, **settings}
    comparison = Comparison.parse(
        unit.learner, ",".join(unit.strategies), reproduction.seeds, settings=settings, tuned=[], tune=unit.tune
    )
    flags = {
        **{key: value for key, value in quick.items() if key.partition(".")[0] not in OWN_SECTIONS},
        **general.flags,
        "task.shots": unit.shots,
        "evaluation.test_dataset": unit.tested_on,
        "base_classes": unit.base_classes,
        "evaluation.novel_curve": unit.novel_curve or None,
    }
    return replace(
        general,
        dataset=unit.dataset,
        flags={key: value for key, value in flags.items() if value is not None},
        settings=without_own_sections(given),
        comparison=comparison,
        name=unit_folder(folder, unit).name,
    )


def _quick(full: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a quick look, but those that the user has set."""
    iterations = settings.get("training.iterations", min(full, QUICK_ITERATIONS))
    every = max(1, iterations // QUICK_VALIDATIONS) if isinstance(iterations, int) else 1
    quick = {"training.iterations": iterations, "training.eval_every": every, **QUICK_TASKS, **QUICK_OPTIONS}
    return {key: value for key, value in quick.items() if key not in settings}
