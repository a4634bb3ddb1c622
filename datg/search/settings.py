"""What a search was asked for: resolved from flags and YAML once, saved in its folder, read again by a resume."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from datg.config import flatten, sentences
from datg.errors import ConfigError, StateError
from datg.search.space import Space, bounds_of, contains, default_params, parse_space
from datg.search.state.folder import SearchFolder
from datg.search.study import PRUNERS, SAMPLERS
from datg.storage.files import read_yaml, write_yaml
from datg.trial.config import TrialConfig

if TYPE_CHECKING:
    from datg.search.study.stored import StoredStudy

BESIDE = ("ray", "mlflow")  # versions that decide no result
SHOWN = 80  # characters of a value in a list of differences


class Tuning(BaseModel):
    """Hold the searches that find a comparison's configurations.

    Attributes:
        trials: of each search.
        searches: names of the folders beside that of the comparison, by :func:`pair_name`; the first one's best is trained with
            several seeds, the others repeat it with other seeds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: Annotated[int, Field(ge=1)]
    searches: dict[str, list[str]]

    @property
    def repeats(self) -> int:
        """Return how many searches each pair of learner and strategy has."""
        return max(map(len, self.searches.values()))

    @property
    def in_order(self) -> list[str]:
        """Return the names of all searches: the first of every pair, then the second."""
        return [names[repeat] for repeat in range(self.repeats) for names in self.searches.values()]


def pair_name(learner: str, strategy: str) -> str:
    """Return what a learner with a strategy is called among settings."""
    return f"{strategy} with {learner}"


class SearchSettings(BaseModel):
    """Hold everything that decides what a search does.

    Attributes:
        id: tells this search from others of the same name; its runs in MLflow are found by it.
        study: the study's name in its storage.
        config: the configuration that every trial starts from.
        space: what is searched.
        grid: instead of a space: the setting of every trial, by its number (a comparison).
        tuning: by which searches the configurations of a comparison are found; None where defaults are compared.
        tuned: how many trials a configuration is the best of, by :func:`pair_name`.
        comparison: name of the comparison that this search finds a configuration for; empty if it stands for itself.
        references: what the best is measured against beside the trials: by name, what replaces values of ``config``.
        trials: how many trials there will be.
        sampler: suggests configurations.
        pruner: ends unpromising trials.
        external_study: whether the study lives in a database that must be named again on resume.
        provenance: fingerprint and split of the data.
        data_root: where the data set was found.
        versions: of the packages that matter, and of this package's code.
        asked: what a comparison was asked for, to recognise the same command.
        command: by which the search was begun.
        origins: where the values of ``config`` come from, of those that are no defaults.
        warm_start: the search whose trials the sampler knows from the beginning, copied into the folder; empty for none.
        changes: what ``--allow-change`` let through: when, after how many trials, and the differences.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    study: str = ""
    config: TrialConfig
    space: dict[str, Any]
    grid: list[dict[str, Any]] = []
    tuning: Tuning | None = None
    tuned: dict[str, int] = {}
    comparison: str = ""
    references: dict[str, dict[str, Any]] = {}
    trials: Annotated[int, Field(ge=1)]
    sampler: str
    pruner: str
    seed: Annotated[int, Field(ge=0)]
    external_study: bool
    provenance: dict[str, Any]
    data_root: str
    versions: dict[str, str]
    asked: dict[str, Any] = {}
    command: str = ""
    origins: dict[str, str] = {}
    warm_start: str = ""
    changes: list[dict[str, Any]] = []

    @field_validator("sampler", "pruner")
    @classmethod
    def _is_known(cls, name: str, info: ValidationInfo) -> str:
        choices: Iterable[str] = SAMPLERS if info.field_name == "sampler" else PRUNERS
        if name not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return name

    @property
    def ranges(self) -> Space:
        """Return the space, checked."""
        return parse_space(self.space)

    @property
    def steps(self) -> int:
        """Return validations of a full trial."""
        training = self.config.training
        return -(-training.iterations // training.eval_every)

    @property
    def bounds(self) -> dict[str, Any]:
        """Return the named bounds of the space; none for a comparison."""
        return {} if self.grid else bounds_of(self.config, len(self.provenance["split"]["base"]))

    @property
    def own_setting(self) -> dict[str, Any] | None:
        """Return the searched values of the configuration itself, the method's own setting unless the user has set others.

        It is trial 0. None where it lies outside the space, and for a comparison.
        """
        if self.grid:
            return None
        params = default_params(self.ranges, self.config)
        return params if contains(self.ranges, params, self.bounds) else None

    def differences(self, other: "SearchSettings") -> list[str]:
        """Return what decides results and is not the same in ``other``, a line each."""
        lines = []
        for what, old, new in (
            ("", flatten(self.config.to_dict()), flatten(other.config.to_dict())),
            ("space ", self.space, other.space),
            ("grid ", dict(enumerate(self.grid)), dict(enumerate(other.grid))),
            ("", {"sampler": self.sampler, "pruner": self.pruner}, {"sampler": other.sampler, "pruner": other.pruner}),
            ("", {"seed": self.seed}, {"seed": other.seed}),
            ("data ", flatten(self.provenance), flatten(other.provenance)),
            ("version of ", _deciding(self.versions), _deciding(other.versions)),
        ):
            keys = [*old, *(key for key in new if key not in old)]
            lines += [
                f"{what}{key}: {shortened(old.get(key))} -> {shortened(new.get(key))}"
                for key in keys
                if old.get(key) != new.get(key)
            ]
        return lines

    def searched(self, number: int, params: dict[str, Any]) -> dict[str, Any]:
        """Return what tells trial ``number`` from the others: what was suggested for it, or its place in the grid."""
        if not self.grid:
            return params
        setting = self.grid[number]
        names = {section: setting[section]["name"] for section in ("learner", "strategy")}
        tuned = self.tuned.get(pair_name(**names))
        return names | {"seed": setting["seed"]} | ({} if tuned is None else {"tuned": tuned})

    def save(self, folder: SearchFolder) -> None:
        """Write ``search.yaml``."""
        write_yaml(folder.settings, self.model_dump(mode="json"))

    @classmethod
    def load(cls, folder: SearchFolder) -> "SearchSettings":
        """Read ``search.yaml``; if it is damaged, what the study in the folder remembers of it.

        Raises:
            StateError: neither can be read.
        """
        try:
            return cls.model_validate(read_yaml(folder.settings))
        except (ConfigError, ValidationError) as error:
            remembered = _recover(folder)
            if remembered is None:
                raise StateError(
                    f"{folder.settings} is damaged or missing, and there is no study beside it that remembers it; restore it "
                    f"from a copy ({str(error).splitlines()[0]})"
                ) from error
            return cls.from_remembered(remembered)

    @classmethod
    def from_remembered(cls, remembered: dict[str, Any]) -> "SearchSettings":
        """Check what a study remembers of its search.

        Raises:
            StateError: it is of a version whose settings this one does not know.
        """
        try:
            return cls.model_validate(remembered)
        except ValidationError as error:
            messages = sentences(error, cls)
            raise StateError(
                f"the search was begun by another version of this package ({messages[0]}); go on with it by that version "
                f"({remembered.get('versions', {}).get('datg', 'unknown')}), or start a new one."
            ) from error

    def remember(self, study: "StoredStudy") -> None:
        """Leave a copy in the study, by which ``search.yaml`` is checked and restored."""
        study.remember(self.model_dump(mode="json"))


def _recover(folder: SearchFolder) -> dict[str, Any] | None:
    from datg.search.study.stored import recover_settings, sqlite_url

    return recover_settings(sqlite_url(folder.study)) if folder.study.exists() else None


def _deciding(versions: dict[str, str]) -> dict[str, str]:
    return {name: version for name, version in versions.items() if name not in BESIDE}


def shortened(value: Any) -> str:
    """Return a value as it stands in a list of differences."""
    text = "nothing" if value is None else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
