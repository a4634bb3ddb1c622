"""A search's settings made from everything that the user said."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from datg.config import USER_SOURCES, Layers, flatten, sentences
from datg.data.catalog import Dataset, with_test_dataset
from datg.errors import ConfigError, unknown_name
from datg.learners import LEARNERS
from datg.runtime.called import command
from datg.search.references import references_of
from datg.search.settings import SearchSettings
from datg.search.space import Space, bounds_of, check_space, whole_space
from datg.search.study import PRUNERS, SAMPLERS
from datg.search.versions import versions
from datg.strategies import STRATEGIES
from datg.trial.config import PRESETS, TrialConfig
from datg.trial.data import provenance_of
from datg.trial.prepare import check_trial

SEARCH_DEFAULTS: dict[str, Any] = {"trials": 50, "sampler": "tpe", "pruner": "halving", "seed": 0}
MakeGrid = Callable[[TrialConfig], list[dict[str, Any]]]


def requested_data(dataset: Dataset, layers: Layers, root: Path) -> Dataset:
    """Return ``dataset`` as the user wants it: with so many base classes, tested there.

    Raises:
        ConfigError: it has not so many, or the two data sets do not go together.
        DataError: the other one is missing.
    """
    number = layers.values.get("base_classes")
    if isinstance(number, int) and number > 0:  # anything else is refused with the configuration
        dataset = dataset.with_base_classes(number)
    return with_test_dataset(dataset, layers.values.get("evaluation.test_dataset"), root)


def resolve_settings(
    dataset: Dataset,
    layers: Layers,
    raw_space: Any,
    *,
    root: Path,
    external_study: bool,
    make_grid: MakeGrid | None = None,
    references: bool = False,
) -> SearchSettings:
    """Make checked settings of everything that the user said.

    Args:
        dataset: what is searched on.
        layers: keys of a :class:`TrialConfig`, and ``search.trials|sampler|pruner|seed``.
        raw_space: the ``space`` section of the YAML, or None.
        root: where the data set was found.
        external_study: whether the study lives elsewhere.
        make_grid: of a comparison: the setting of every trial, from the configuration that they start from.
        references: whether the search is measured against trainings beside its trials.

    Raises:
        ConfigError: with every mistake.
        DataError: the data do not suffice.
    """
    for key, flag in (("seed", "--seed" if make_grid is None else "--seeds"), ("dataset", "--dataset")):
        if layers.sources.get(key) == "--set":
            raise ConfigError(f"`{key}` of a search is given with {flag}, not with --set.")
    nested = layers.nested()
    search = {**SEARCH_DEFAULTS, **nested.pop("search", {})}
    for key in search:
        if key not in SEARCH_DEFAULTS:
            raise ConfigError(unknown_name("key", f"search.{key}", [f"search.{name}" for name in SEARCH_DEFAULTS]))
    for section, table in (("learner", LEARNERS), ("strategy", STRATEGIES)):
        name = nested.get(section, {}).get("name")
        if name is not None and name not in table:
            raise ConfigError(unknown_name(section, str(name), table))
    config = TrialConfig.from_dict({**nested, "dataset": dataset.name, "seed": search["seed"]})
    _check_names(str(search["sampler"]), str(search["pruner"]))
    space: Space = []
    grid: list[dict[str, Any]] = []
    if make_grid is None:
        if config.evaluation.novel_curve:
            raise ConfigError(
                "`evaluation.novel_curve` evaluates novel classes over training, and no search may have that: leave it out, or "
                f"compare with it: {command('compare', '--novel-curve')}."
            )
        space = _space(raw_space or {}, config, layers, dataset)
    else:
        _refuse_search_keys(layers)
        grid = make_grid(config)
        search |= {"trials": len(grid), "pruner": "none", "sampler": "random"}
    try:
        settings = SearchSettings(
            id=uuid.uuid4().hex,
            config=config,
            space={entry.key: {entry.kind: list(entry.values)} for entry in space},
            grid=grid,
            external_study=external_study,
            provenance=provenance_of(dataset),
            data_root=str(root),
            versions=versions(),
            **search,
        )
    except ValidationError as error:
        raise ConfigError("\n".join(sentences(error, SearchSettings, "search."))) from None
    return settings.model_copy(update={"references": references_of(settings)}) if references else settings


def _check_names(sampler: str, pruner: str) -> None:
    for flag, name, choices in (("sampler", sampler, SAMPLERS), ("pruner", pruner, PRUNERS)):
        if name not in choices:
            raise ConfigError(f"`--{flag}` is wrong: " + unknown_name(flag, name, choices))


def _space(given: Any, config: TrialConfig, layers: Layers, dataset: Dataset) -> Space:
    """Return what is searched: what the strategy and the YAML name, without the keys that the user has set."""
    check_trial(config, dataset)
    whole = whole_space(given, config)
    space = [entry for entry in whole if layers.sources.get(entry.key) not in USER_SOURCES]
    if not space:
        raise ConfigError(
            f"nothing is left to search for strategy {config.strategy_name}; add a key to the `space` of the YAML, or train it "
            f"with: {command('train', 'CONFIG')}."
        )
    check_space(space, config, bounds_of(config, len(dataset.split.base)))
    return space


def _refuse_search_keys(layers: Layers) -> None:
    for key, source in layers.sources.items():
        if key.startswith("search.") and source in USER_SOURCES:
            raise ConfigError(f"`{key}` cannot be set: a comparison's trials stand in a grid.")


def explain(settings: SearchSettings, layers: Layers) -> list[tuple[str, Any, str]]:
    """Return every value of a search with where it came from, for ``--dry-run``."""
    search = {f"search.{key}": getattr(settings, key) for key in ("trials", "sampler", "pruner", "seed")}
    rows = []
    for key, value in {**flatten(settings.config.to_dict()), **search}.items():
        source = "grid" if settings.grid and key.startswith("search.") else layers.sources.get(key)
        if source is None and key in PRESETS[settings.config.training.preset]:
            source = f"preset {settings.config.training.preset}"
        rows.append((key, value, source or "default"))
    strategy_ranges = settings.config.strategy.ranges()
    for key, entry in settings.space.items():
        rows.append((f"space.{key}", entry, "strategy" if strategy_ranges.get(key) == entry else "YAML"))
    for number, setting in enumerate(settings.grid):
        rows.append((f"trial {number}", setting, "grid"))
    for name, setting in settings.references.items():
        rows.append((f"reference {name}", setting or "the configuration above", "--no-references leaves it out"))
    return rows
