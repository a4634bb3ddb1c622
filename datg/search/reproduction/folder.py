"""A reproduction's folder: what was asked for, and which comparisons beside it answer that."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from datg.errors import ConfigError, StateError
from datg.search.reproduction.paper import LEARNERS, TABLES
from datg.search.reproduction.plan import Unit
from datg.search.settings import SearchSettings, shortened
from datg.search.state.folder import SearchFolder, check_name
from datg.search.state.records import RecordReader
from datg.storage.files import read_yaml, write_yaml
from datg.trial.records import TrialRecord

REPRODUCTION = "reproduction.yaml"


class Reproduction(BaseModel):
    """Hold everything that decides what a reproduction does.

    Attributes:
        asked: by option, as :meth:`check_asked` compares it.
        targets: tables and figures.
        datasets: in order; those that were not at hand are not in any unit.
        units: the comparisons, in the order in which they run.
        left_out: what is not run, and why, a sentence each.
        missing: how to import each data set that was not at hand.
        full_iterations: of a training on each data set, where ``quick`` trains for less.
        quick: whether fewer iterations, seeds and tasks are run than the table wants.
        data_root: where data sets were found.
        command: by which it was begun.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    asked: dict[str, Any]
    targets: tuple[str, ...]
    datasets: tuple[str, ...]
    learners: tuple[str, ...] = LEARNERS
    shots: tuple[int, ...]
    seeds: int
    units: list[Unit]
    left_out: list[str] = []
    missing: dict[str, str] = {}
    full_iterations: dict[str, int] = {}
    quick: bool = False
    data_root: str
    command: str = ""

    def save(self, folder: SearchFolder) -> None:
        """Write it into its folder."""
        write_yaml(folder.path / REPRODUCTION, self.model_dump(mode="json"))

    @classmethod
    def load(cls, folder: SearchFolder) -> "Reproduction":
        """Read it.

        Raises:
            StateError: the file is damaged, or of another version.
        """
        path = folder.path / REPRODUCTION
        try:
            return cls.model_validate(read_yaml(path))
        except (ConfigError, ValidationError) as error:
            raise StateError(
                f"{path} cannot be read ({str(error).splitlines()[0]}); restore it from a copy, or begin another reproduction."
            ) from error

    def check_asked(self, asked: dict[str, Any]) -> None:
        """Refuse to go on with another reproduction than this one.

        Args:
            asked: what is asked for now; only what is in it is compared.

        Raises:
            ConfigError: naming each difference.
        """
        differing = [key for key, value in asked.items() if self.asked.get(key) != value]
        if differing:
            lines = [
                f"  --{key}: {' -> '.join(shortened(value) for value in (self.asked.get(key), asked[key]))}"
                for key in differing
            ]
            lines.append("go back to those, or begin another one under another --name.")
            raise ConfigError("\n".join(["this reproduction has begun otherwise, and it cannot change:", *lines]))

    @property
    def tables(self) -> list[str]:
        """Return which of the paper's tables it makes."""
        return [name for name in self.targets if name in TABLES]


@dataclass
class ReproductionResults:
    """Read what the comparisons of a reproduction have found so far."""

    folder: SearchFolder
    reproduction: Reproduction
    _read: dict[str, tuple[SearchSettings, list[TrialRecord]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read every comparison that has begun."""
        for unit in self.reproduction.units:
            folder = unit_folder(self.folder, unit)
            if folder.settings.exists():
                settings = SearchSettings.load(folder)
                self._read[unit.suffix] = settings, RecordReader(folder, settings).records()

    def records(self, unit: Unit) -> list[TrialRecord]:
        """Return the trainings of a comparison that have begun."""
        return self._read[unit.suffix][1] if unit.suffix in self._read else []

    def settings(self, unit: Unit) -> SearchSettings | None:
        """Return the settings of a comparison; None before it has begun."""
        return self._read[unit.suffix][0] if unit.suffix in self._read else None

    def begun(self) -> Iterator[tuple[Unit, SearchSettings, list[TrialRecord]]]:
        """Return every comparison that has begun."""
        for unit in self.reproduction.units:
            settings = self.settings(unit)
            if settings is not None:
                yield unit, settings, self.records(unit)


def unit_folder(folder: SearchFolder, unit: Unit) -> SearchFolder:
    """Return where a comparison of a reproduction lies: beside it."""
    return folder.beside(f"{folder.name}-{unit.suffix}")


def is_reproduction(path: Path) -> bool:
    """Return whether a reproduction lies in a folder."""
    return (path / REPRODUCTION).exists()


def find_reproduction(output: Path, name: str) -> SearchFolder:
    """Return the folder of a reproduction, by name below ``output`` or by path.

    Raises:
        ConfigError: there is none.
    """
    for path in (output / name, Path(name)):
        if is_reproduction(path):
            return SearchFolder(path.absolute())
    there = sorted(path.parent.name for path in output.glob(f"*/{REPRODUCTION}"))
    listed = f"reproductions there: {', '.join(there)}" if there else "there is none yet"
    raise ConfigError(f"`{name}` is no reproduction in {output}; {listed}.")


def begun_as(output: Path, name: str) -> bool:
    """Return whether a reproduction has begun under a name."""
    return is_reproduction(output / check_name(name))
