"""What a trial may see of a data set."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datg.data.catalog import Dataset, open_dataset, with_test_dataset
from datg.data.class_table import ClassTable
from datg.trial.config import TrialConfig


@dataclass(frozen=True)
class TrialData:
    """Hold what a trial may see: base and validation classes, and where they come from. Never the novel classes.

    Attributes:
        provenance: fingerprint and split of the data set, saved with every result.
    """

    base: ClassTable
    validation: ClassTable
    provenance: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dataset(cls, dataset: Dataset) -> "TrialData":
        """Return the parts of ``dataset`` that a trial may see."""
        return cls(dataset.part("base"), dataset.part("validation"), provenance_of(dataset))


def open_data(config: TrialConfig, root: Path) -> Dataset:
    """Return the data set of a configuration: as many of its base classes as it says, tested where it says.

    Raises:
        DataError: a data set is missing.
        ConfigError: it has fewer base classes, or the two do not go together.
    """
    dataset = open_dataset(config.dataset, root).with_base_classes(config.base_classes)
    return with_test_dataset(dataset, config.evaluation.test_dataset, root)


def provenance_of(dataset: Dataset) -> dict[str, Any]:
    """Return which data a result belongs to."""
    provenance = {"fingerprint": dataset.table.fingerprint, "split": dataset.split.model_dump()}
    other = dataset.tested_on
    return provenance if other is None else {**provenance, "tested on": {"dataset": other.name, **provenance_of(other)}}
