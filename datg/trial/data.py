"""What a trial may see of a data set."""

from dataclasses import dataclass, field
from typing import Any

from datg.data.catalog import Dataset
from datg.data.class_table import ClassTable


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


def provenance_of(dataset: Dataset) -> dict[str, Any]:
    """Return which data a result belongs to."""
    provenance = {"fingerprint": dataset.table.fingerprint, "split": dataset.split.model_dump()}
    other = dataset.tested_on
    return provenance if other is None else {**provenance, "tested on": {"dataset": other.name, **provenance_of(other)}}
