"""What a search was asked for: resolved from flags and YAML once, saved in its folder, read again by a resume."""

import hashlib
import importlib.metadata
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import optuna
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import datg
from datg.config import USER_SOURCES, Layers, flatten, sentences
from datg.data.catalog import Dataset
from datg.errors import ConfigError, StateError, unknown_name
from datg.files import read_yaml, write_yaml
from datg.learners import LEARNERS
from datg.search.folder import SearchFolder
from datg.search.space import Space, bounds_of, check_space, parse_space, whole_space
from datg.search.study import SETTINGS as REMEMBERED
from datg.search.study import check_names, only_settings, sqlite_url
from datg.strategies import STRATEGIES
from datg.trial import check_trial, provenance_of
from datg.trial_config import PRESETS, TrialConfig

SEARCH_DEFAULTS: dict[str, Any] = {"trials": 50, "sampler": "tpe", "pruner": "halving", "seed": 0}
MakeGrid = Callable[[TrialConfig], list[dict[str, Any]]]
BESIDE = ("ray", "mlflow")  # versions that decide no result
SHOWN = 80  # characters of a value in a list of differences
VERSIONS_OF = ("datg", "torch", "ray", "optuna", "mlflow", "numpy", "scikit-learn")


class SearchSettings(BaseModel):
    """Everything that decides what a search does.

    Attributes:
        id: tells this search from others of the same name; its runs in MLflow are found by it.
        study: the study's name in its storage.
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
        versions: of the packages that matter, and of this package's code.
        changes: what ``--allow-change`` let through: when, after how many trials, and the differences.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    study: str = ""
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
    changes: list[dict[str, Any]] = []

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

    def differences(self, other: "SearchSettings") -> list[str]:
        """What decides results and is not the same in ``other``, a line each."""
        lines = []
        for what, old, new in (
            ("", flatten(self.config), flatten(other.config)),
            ("space ", self.space, other.space),
            ("grid ", dict(enumerate(self.grid)), dict(enumerate(other.grid))),
            ("", {"sampler": self.sampler, "pruner": self.pruner}, {"sampler": other.sampler, "pruner": other.pruner}),
            ("", {"seed": self.seed}, {"seed": other.seed}),
            ("data ", flatten(self.provenance), flatten(other.provenance)),
            ("version of ", _deciding(self.versions), _deciding(other.versions)),
        ):
            keys = [*old, *(key for key in new if key not in old)]
            lines += [
                f"{what}{key}: {_short(old.get(key))} -> {_short(new.get(key))}"
                for key in keys
                if old.get(key) != new.get(key)
            ]
        return lines

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
        """Reads ``search.yaml``; if it is damaged, what the study in the folder remembers of it.

        Raises:
            StateError: neither can be read.
        """
        try:
            return cls.model_validate(read_yaml(folder.settings))
        except (ConfigError, ValidationError) as error:
            remembered = only_settings(sqlite_url(folder.study)) if folder.study.exists() else None
            if remembered is None:
                raise StateError(
                    f"{folder.settings} is damaged or missing, and there is no study beside it that remembers it; restore it "
                    f"from a copy ({str(error).splitlines()[0]})"
                ) from error
            return cls.model_validate(remembered)

    def remember(self, study: optuna.Study) -> None:
        """Leaves a copy in the study, by which ``search.yaml`` is checked and restored."""
        study.set_user_attr(REMEMBERED, self.model_dump(mode="json"))


def _deciding(versions: dict[str, str]) -> dict[str, str]:
    return {name: version for name, version in versions.items() if name not in BESIDE}


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def versions() -> dict[str, str]:
    """The versions that a result was made with; ``code`` is a digest of this package's source files."""
    found = {name: importlib.metadata.version(name) for name in VERSIONS_OF}
    return {**found, "code": code_digest()}


def code_digest() -> str:
    """Tells two states of this package's code apart."""
    package = Path(datg.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


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
