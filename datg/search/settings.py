"""What a search was asked for: resolved from flags and YAML once, saved in its folder, read again by a resume."""

import importlib.metadata
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datg.config import USER_SOURCES, Layers, flatten, sentences
from datg.data.catalog import Dataset
from datg.errors import ConfigError, StateError, unknown_name
from datg.files import read_yaml, write_yaml
from datg.learners import LEARNERS
from datg.search.folder import SearchFolder
from datg.search.space import Space, bounds_of, check_space, parse_space, whole_space
from datg.search.study import check_names
from datg.strategies import STRATEGIES
from datg.trial import check_trial, provenance_of
from datg.trial_config import PRESETS, TrialConfig

SEARCH_DEFAULTS: dict[str, Any] = {"trials": 50, "sampler": "tpe", "pruner": "halving", "seed": 0}
MakeGrid = Callable[[TrialConfig], list[dict[str, Any]]]
VERSIONS_OF = ("datg", "torch", "ray", "optuna", "mlflow", "numpy", "scikit-learn")


class SearchSettings(BaseModel):
    """Everything that decides what a search does.

    Attributes:
        id: tells this search from others of the same name; its runs in MLflow are found by it.
        config: the configuration that every trial starts from, nested values.
        space: what is searched.
        grid: instead of a space: the setting of every trial, by its number (a comparison).
        trials: how many trials there will be.
        sampler: suggests configurations.
        pruner: ends unpromising trials.
        seed: of the sampler.
        external_study: whether the study lives in a database that must be named again on resume.
        provenance: fingerprint and split of the data.
        data_root: where the data set was found.
        versions: of the packages that matter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    config: dict[str, Any]
    space: dict[str, Any]
    grid: list[dict[str, Any]] = []
    trials: Annotated[int, Field(ge=1)]
    sampler: str
    pruner: str
    seed: Annotated[int, Field(ge=0)]
    external_study: bool
    provenance: dict[str, Any]
    data_root: str
    versions: dict[str, str]

    @property
    def trial_config(self) -> TrialConfig:
        """The base configuration, checked."""
        return TrialConfig.of(self.config)

    @property
    def ranges(self) -> Space:
        """The space, checked."""
        return parse_space(self.space)

    @property
    def steps(self) -> int:
        """Validations of a full trial."""
        training = self.trial_config.training
        return -(-training.iterations // training.eval_every)

    def searched(self, number: int, params: dict[str, Any]) -> dict[str, Any]:
        """What tells trial ``number`` from the others: what was suggested for it, or its place in the grid."""
        if not self.grid:
            return params
        setting = self.grid[number]
        return {section: setting[section]["name"] for section in ("learner", "strategy")} | {"seed": setting["seed"]}

    def save(self, folder: SearchFolder) -> None:
        """Writes ``search.yaml``."""
        write_yaml(folder.settings, self.model_dump(mode="json"))

    @classmethod
    def load(cls, folder: SearchFolder) -> "SearchSettings":
        """Reads ``search.yaml``.

        Raises:
            StateError: it is damaged.
        """
        try:
            return cls.model_validate(read_yaml(folder.settings))
        except (ConfigError, ValidationError) as error:
            raise StateError(f"{folder.settings} is damaged; restore it from a copy: {error}") from error


def versions() -> dict[str, str]:
    """The versions that a result was made with."""
    return {name: importlib.metadata.version(name) for name in VERSIONS_OF}


def resolve_settings(
    dataset: Dataset,
    layers: Layers,
    raw_space: Any,
    *,
    root: Path,
    external_study: bool,
    make_grid: MakeGrid | None = None,
) -> SearchSettings:
    """Makes checked settings of everything that the user said.

    Args:
        dataset: what is searched on.
        layers: keys of a :class:`TrialConfig`, and ``search.trials|sampler|pruner|seed``.
        raw_space: the ``space`` section of the YAML, or None.
        root: where the data set was found.
        external_study: whether the study lives elsewhere.
        make_grid: of a comparison: the setting of every trial, from the configuration that they start from.

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
    config = TrialConfig.of({**nested, "dataset": dataset.name, "seed": search["seed"]})
    check_names(str(search["sampler"]), str(search["pruner"]))
    space: Space = []
    grid: list[dict[str, Any]] = []
    if make_grid is None:
        space = _space(raw_space or {}, config, layers, dataset)
    else:
        _refuse_search_keys(layers)
        grid = make_grid(config)
        search |= {"trials": len(grid), "pruner": "none", "sampler": "random"}
    try:
        return SearchSettings(
            id=uuid.uuid4().hex,
            config=config.values(),
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


def _space(given: Any, config: TrialConfig, layers: Layers, dataset: Dataset) -> Space:
    """What is searched: what the strategy and the YAML name, without the keys that the user has set."""
    check_trial(config, dataset)
    whole = whole_space(given, config)
    space = [entry for entry in whole if layers.sources.get(entry.key) not in USER_SOURCES]
    if not space:
        raise ConfigError(
            f"nothing is left to search for strategy {config.strategy_name}; add a key to the `space` of the YAML, or train it "
            "with launchers/train.py."
        )
    check_space(space, config, bounds_of(config, len(dataset.split.base)))
    return space


def _refuse_search_keys(layers: Layers) -> None:
    for key, source in layers.sources.items():
        if key.startswith("search.") and source in USER_SOURCES:
            raise ConfigError(f"`{key}` cannot be set: a comparison's trials stand in a grid.")


def explain(settings: SearchSettings, layers: Layers) -> list[tuple[str, Any, str]]:
    """Every value of a search with where it came from, for ``--dry-run``."""
    search = {f"search.{key}": getattr(settings, key) for key in ("trials", "sampler", "pruner", "seed")}
    rows = []
    for key, value in {**flatten(settings.config), **search}.items():
        source = "grid" if settings.grid and key.startswith("search.") else layers.sources.get(key)
        if source is None and key in PRESETS[settings.config["training"]["preset"]]:
            source = f"preset {settings.config['training']['preset']}"
        rows.append((key, value, source or "default"))
    own = settings.trial_config.strategy.ranges()
    for key, entry in settings.space.items():
        rows.append((f"space.{key}", entry, "strategy" if own.get(key) == entry else "YAML"))
    for number, setting in enumerate(settings.grid):
        rows.append((f"trial {number}", setting, "grid"))
    return rows
