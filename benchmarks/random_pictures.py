"""A data set of random pictures, 84 x 84 by default, for benchmarks that need no real ones."""

from pathlib import Path

import numpy as np

from datg.data.class_table import TableWriter
from datg.data.splits import Split

NAME = "random_pictures"
SIZE = 84
BASE, VALIDATION, NOVEL = 30, 20, 50


def write_pictures(folder: Path, examples_a_class: int = 30, *, side: int = SIZE) -> None:
    """Write random pictures in as many classes as DermNet-S has."""
    rng = np.random.default_rng(0)
    names = [f"class {index}" for index in range(BASE + VALIDATION + NOVEL)]
    with TableWriter(folder, shape=(3, side, side), dtype="uint8") as writer:
        for name in names:
            for _ in range(examples_a_class):
                example = rng.integers(0, 256, size=(3, side, side), dtype=np.uint8)
                writer.add(example, class_name=name, source="", sha256=bytes(32))
        base, rest = names[:BASE], names[BASE:]
        split = Split(protocol="file", base=base, validation=rest[:VALIDATION], novel=rest[VALIDATION:])
        writer.finish({"split": split.model_dump()})
