"""How raw files become a data set: one frozen set of checked values, from a YAML's ``import`` section and from flags."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datg.config import sentences
from datg.errors import ConfigError, DataError
from datg.storage.files import read_yaml

PARTS = ("base", "validation", "novel")
Part = Literal["base", "validation", "novel"]


class ImportSettings(BaseModel):
    """Hold what an importer and a protocol may be told; each reads what concerns it.

    Attributes:
        form: of the raw files; None recognises it.
        protocol: how classes are split; None takes ``as-given`` where the raw form names the parts, else ``random``.
        min_examples: classes with fewer kept examples are left out.
        image_size: side of the stored pictures in pixels.
        duplicates: what happens to an example that stands in several classes.
        base_classes: of the protocols random, hold-out and leave-one-out.
        validation_classes: of the protocol random.
        novel_classes: of the protocol random.
        split_seed: of the protocols random, hold-out and leave-one-out.
        split_file: of the protocols file and groups: YAML with the lists base, validation and novel.
        groups: of the protocol groups, in the place of a split_file.
        ratio: of the protocol mini-imagenet-s: the share of the training classes that are base classes.
        held_out: of the protocols hold-out and leave-one-out: the share of a base class that only validation sees.
        left_out: of the protocol leave-one-out: the class that only validation sees.
        label_column: of cells: the column of ``obs`` that names the class.
        group_column: of cells: the column of ``obs`` by which cells may be split, such as their tissue.
        preparation: of cells: ``counts`` normalises, chooses genes and scales, ``none`` takes values as they are.
        scale_on: of cells: whether genes are chosen and scaled on all cells or on those of base groups.
        expected_genes: of cells: how many genes should be left; another is remarked on.
        counts: of cells: which matrix holds them: ``X``, ``raw``, or ``layer:NAME``.
        exclude: names of classes that are left out.
        class_list: of super-class folders: YAML with the file-name stems of each class; written if it does not exist.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: str | None = None
    protocol: str | None = None
    min_examples: Annotated[int, Field(ge=1)] = 20
    image_size: Annotated[int, Field(ge=16)] = 84
    duplicates: Literal["drop", "keep"] = "drop"
    base_classes: Annotated[int, Field(ge=1)] = 20
    validation_classes: Annotated[int, Field(ge=1)] = 12
    novel_classes: Annotated[int, Field(ge=1)] = 20
    split_seed: Annotated[int, Field(ge=0)] = 0
    split_file: Path | None = None
    groups: dict[Part, list[str]] | None = None
    ratio: Annotated[float, Field(gt=0, le=1)] = 0.2
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.2
    left_out: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    preparation: Literal["counts", "none"] = "counts"
    scale_on: Literal["all", "base"] = "all"
    expected_genes: Annotated[int, Field(ge=1)] | None = None
    counts: Annotated[str, Field(pattern=r"^(X|raw|layer:.+)$")] = "X"
    exclude: list[str] = []
    class_list: Path | None = None

    def lists(self) -> dict[str, list[str]]:
        """Return what the split file, or else ``groups``, lists as base, validation and novel.

        Raises:
            DataError: there is neither, or the file holds something else.
        """
        if self.split_file is None:
            if self.groups is None:
                raise DataError("protocol groups needs --split-file with the lists base, validation and novel.")
            return {str(part): names for part, names in self.groups.items()}
        lists = read_yaml(self.split_file)
        if set(lists) != set(PARTS) or not all(isinstance(lists[part], list) for part in PARTS):
            raise DataError(
                f"{self.split_file} must hold the three lists base, validation and novel, got {sorted(map(str, lists))}."
            )
        return {part: [str(name) for name in lists[part]] for part in PARTS}

    @classmethod
    def from_dict(cls, values: dict[str, Any], *, source: str) -> "ImportSettings":
        """Check ``values``.

        Raises:
            ConfigError: with every mistake, each naming its key and ``source``.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            messages = sentences(error, cls)
            raise ConfigError("\n".join(f"{source}: {sentence}" for sentence in messages)) from None
