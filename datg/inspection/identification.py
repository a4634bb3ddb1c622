"""Which class of a data set without names is which class of another copy that has names.

The published pickles of miniImageNet number their classes. Some pictures of each numbered class look for their nearest neighbour
among all pictures of a named copy, by thumbnails of 8 x 8 pixels (copies differ in how they were resized), and vote.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datg.data.catalog import Dataset
from datg.data.class_table import ClassTable
from datg.data.episodes import DeviceTable
from datg.data.import_settings import PARTS
from datg.errors import DataError
from datg.runtime.called import command
from datg.storage.files import write_yaml

THUMBNAIL = 8
VOTES = 20
SURE = 0.5  # more than this share of the votes
AT_ONCE = 512


@dataclass(frozen=True)
class Identity:
    """Hold what a numbered class is.

    Attributes:
        name: of the class in the named copy that most pictures voted for.
        of: all votes.
    """

    name: str
    votes: int
    of: int

    @property
    def sure(self) -> bool:
        """Return whether more than half of the pictures agree."""
        return self.votes > SURE * self.of


def identify(numbered: ClassTable, named: ClassTable) -> dict[str, Identity]:
    """Find each class of ``numbered`` in ``named``.

    Raises:
        DataError: the examples are no pictures.
    """
    if len(numbered.shape) != 3 or len(named.shape) != 3:
        raise DataError("`--identify-by` compares pictures, and one of the two data sets holds none.")
    named_thumbnails = thumbnails(named, np.concatenate([named.rows_of_class(class_) for class_ in range(len(named))]))
    owners = np.repeat(np.arange(len(named)), named.counts)
    identities = {}
    for class_, name in enumerate(numbered.names):
        chosen = numbered.rows_of_class(class_, VOTES)
        nearest = torch.cdist(thumbnails(numbered, chosen), named_thumbnails).argmin(1).numpy()
        winner, votes = Counter(owners[nearest].tolist()).most_common(1)[0]
        identities[name] = Identity(named.names[winner], votes, len(chosen))
    return identities


def thumbnails(table: ClassTable, rows: np.ndarray) -> Tensor:
    """Return `(len(rows), 192)` thumbnails of the pictures at ``rows``."""
    classes, parts = DeviceTable.from_table(table), []
    for start in range(0, len(rows), AT_ONCE):
        pictures = classes.gather(torch.from_numpy(rows[start : start + AT_ONCE]))
        parts.append(torch.nn.functional.adaptive_avg_pool2d(pictures, THUMBNAIL).flatten(1))
    return torch.cat(parts)


def write_identities(numbered: Dataset, named: Dataset, identities: dict[str, Identity], path: Path) -> list[str]:
    """Write names, votes and the split of ``numbered`` in the names of ``named``; return what is not sure.

    The file serves as --split-file of an import of the named copy; if a class is unsure or two are the same, it holds no split.
    """
    taken = Counter(identity.name for identity in identities.values())
    doubts = [
        f"{name}: {identity.name} with {identity.votes} of {identity.of} votes"
        + (f", like {taken[identity.name] - 1} other classes" if taken[identity.name] > 1 else "")
        for name, identity in identities.items()
        if not identity.sure or taken[identity.name] > 1
    ]
    content: dict[str, Any] = {} if doubts else {p: [identities[c].name for c in numbered.split.part(p)] for p in PARTS}
    lines = [
        f"#   {name}: {identity.name} ({identity.votes} of {identity.of})\n" for name, identity in identities.items()
    ]
    way = command("import_data", named.name, "RAW --protocol file --split-file", path)
    head = f"# {way}\n" if content else ""
    write_yaml(
        path, content, header=head + f"# Classes of {numbered.name} in {named.name}, with votes:\n" + "".join(lines)
    )
    return doubts
