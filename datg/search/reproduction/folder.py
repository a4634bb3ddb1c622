"""A reproduction's folder: what was asked for, and which comparisons beside it answer that."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from datg.errors import ConfigError, StateError
from datg.search.comparison.table import Scores, scores_of
from datg.search.reproduction.paper import LEARNERS, ORDER
from datg.search.reproduction.plan import Unit
from datg.search.settings import SearchSettings, shortened
from datg.search.state.folder import SearchFolder, check_name, check_owner
from datg.search.state.records import RecordReader
from datg.storage.files import read_yaml, write_yaml
from datg.trial.records import TrialRecord

REPRODUCTION = "reproduction.yaml"


class AtHand(BaseModel):
    """Hold what a reproduction keeps of a data set.

    Attributes:
        shape: of an example.
        base_classes: how many there are.
        fingerprint: of its examples.
        iterations: of a training on it, where a quick look trains for less.
        split: which classes are in which part; None where it began before that was kept.
        fixed: values of the YAML file that goes with it; likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: tuple[int, ...]
    base_classes: int
    fingerprint: str
    iterations: int
    split: dict[str, Any] | None = None
    fixed: dict[str, Any] | None = None

    def changes(self, now: "AtHand") -> list[str]:
        """Return what of the data set is another than it was, in words; what was not kept is not compared."""
        kept = {"fingerprint": "its examples", "split": "its split", "fixed": "the values of its YAML file"}
        before, after = self.model_dump(mode="json"), now.model_dump(mode="json")
        return [what for key, what in kept.items() if before[key] not in (None, after[key])]


class Reproduction(BaseModel):
    """Hold everything that decides what a reproduction does.

    Attributes:
        name: of its folder, after which its comparisons are called; empty where it began before that was kept.
        asked: by option, as :meth:`check_asked` compares it.
        targets: tables and figures.
        datasets: in order; those that were not at hand are not in any unit.
        strategies: rows that are wanted.
        units: the comparisons, in the order in which they run.
        left_out: what is not run, and why, a sentence each.
        missing: how to import each data set that was not at hand.
        at_hand: what is known of each data set that was.
        quick: whether fewer iterations, seeds and tasks are run than the table wants.
        data_root: where data sets were found.
        command: by which it was begun.
        versions: with which it was begun; empty where it began before they were kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""
    asked: dict[str, Any]
    targets: tuple[str, ...]
    datasets: tuple[str, ...]
    learners: tuple[str, ...] = LEARNERS
    shots: tuple[int, ...]
    strategies: tuple[str, ...] = ORDER
    seeds: int
    units: list[Unit]
    left_out: list[str] = []
    missing: dict[str, str] = {}
    at_hand: dict[str, AtHand] = {}
    quick: bool = False
    data_root: str
    command: str = ""
    versions: dict[str, str] = {}

    def save(self, folder: SearchFolder) -> None:
        """Write it into its folder."""
        write_yaml(folder.path / REPRODUCTION, self.model_dump(mode="json"))

    @classmethod
    def load(cls, folder: SearchFolder) -> "Reproduction":
        """Read it.

        Raises:
            StateError: the file is damaged, or of another version; or the folder was renamed.
        """
        path = folder.path / REPRODUCTION
        try:
            reproduction = cls.model_validate(read_yaml(path))
        except (ConfigError, ValidationError) as error:
            raise StateError(
                f"{path} cannot be read ({str(error).splitlines()[0]}); restore it from a copy, or begin another reproduction."
            ) from error
        if reproduction.name not in ("", folder.name):
            back = shlex.join(["mv", str(folder.path), str(folder.path.with_name(reproduction.name))])
            raise StateError(
                f"{folder.name} was begun as {reproduction.name}, after which its comparisons are called; rename it back: {back}"
            )
        return reproduction

    @property
    def rest(self) -> list[str]:
        """Return what is not run, and by which command what is missing comes, a sentence each."""
        return [*self.left_out, *(f"{name} is not at hand; {how}" for name, how in self.missing.items())]

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
            lines.append("use the old values, or begin another under a new --name.")
            raise ConfigError("\n".join(["this reproduction began with other values and cannot change:", *lines]))


@dataclass
class ReproductionResults:
    """Read what the comparisons of a reproduction have found so far."""

    folder: SearchFolder
    reproduction: Reproduction
    _read: dict[str, tuple[SearchSettings, list[TrialRecord]]] = field(default_factory=dict)
    _scores: dict[str, dict[str, Scores]] = field(default_factory=dict)

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

    def scores(self, unit: Unit) -> dict[str, Scores]:
        """Return accuracies by seed of each strategy of a comparison, read once."""
        if unit.suffix not in self._scores:
            records = self.records(unit)
            self._scores[unit.suffix] = {
                name: scores_of([record for record in records if record.searched["strategy"] == name])
                for name in unit.strategies
            }
        return self._scores[unit.suffix]

    def begun(self) -> Iterator[tuple[Unit, SearchSettings, list[TrialRecord]]]:
        """Return every comparison that has begun."""
        for unit in self.reproduction.units:
            settings = self.settings(unit)
            if settings is not None:
                yield unit, settings, self.records(unit)


def unit_folder(folder: SearchFolder, unit: Unit) -> SearchFolder:
    """Return where a comparison of a reproduction lies: beside it."""
    return folder.beside(f"{folder.name}-{unit.suffix}")


def reproduction_in(output: Path, name: str) -> SearchFolder | None:
    """Return the folder of a reproduction, by name below ``output`` or by path; None if there is none.

    Raises:
        StateError: it is somebody else's, or others may write there.
    """
    for path in (output / name, Path(name)):
        if (path / REPRODUCTION).exists():
            check_owner(path)
            return SearchFolder(path.absolute())
    return None


def find_reproduction(output: Path, name: str) -> SearchFolder:
    """Return the folder of a reproduction, by name below ``output`` or by path.

    Raises:
        ConfigError: there is none.
    """
    found = reproduction_in(output, name)
    if found is not None:
        return found
    there = sorted(path.parent.name for path in output.glob(f"*/{REPRODUCTION}"))
    listed = f"reproductions there: {', '.join(there)}" if there else "there is none yet"
    raise ConfigError(f"`{name}` is no reproduction in {output}; {listed}.")


def begun_as(output: Path, name: str) -> bool:
    """Return whether a reproduction has begun under a name."""
    return (output / check_name(name) / REPRODUCTION).exists()
