"""Random: base, validation and novel classes drawn with a seed."""

import numpy as np

from datg.data.import_settings import PARTS, ImportSettings
from datg.data.protocols.protocol import SplitProtocol
from datg.data.splits import AvailableClasses, Split
from datg.errors import DataError
from datg.runtime.random_streams import derive_seed

SIZES = ("base_classes", "validation_classes", "novel_classes")
FLAGS = "--base-classes, --validation-classes, --novel-classes"


def random_split(available: AvailableClasses, settings: ImportSettings) -> Split:
    """Return the asked numbers of base, validation and novel classes, drawn with a seed; fewer where none was asked for."""
    base, validation, novel = (getattr(settings, name) for name in SIZES)
    classes, remarks = len(available.counts), []
    if base + validation + novel > classes:
        if settings.model_fields_set.intersection(SIZES):
            raise DataError(
                f"protocol random needs {base} base + {validation} validation + {novel} novel classes, got {classes}; lower "
                "--base-classes, --validation-classes or --novel-classes, or lower --min-examples."
            )
        base, validation, novel = proportional((base, validation, novel), classes, available.ways)
        parts = f"{base} base + {validation} validation + {novel} novel"
        remarks = [f"the {classes} classes were split into {parts}; {FLAGS} change it."]
    if available.parts:
        named = [part for part in PARTS if part in available.parts.values()]
        keeping = "as-given" if "validation" in named else "hold-out"
        remarks.append(
            f"the raw files name {' and '.join(named)} classes, and this split draws from all of them; --protocol {keeping} "
            "keeps them apart."
        )
    rng = np.random.default_rng(derive_seed(settings.split_seed, "split"))
    names = [str(name) for name in rng.permutation(sorted(available.counts))]
    return Split(
        protocol="random",
        base=sorted(names[:base]),
        validation=sorted(names[base : base + validation]),
        novel=sorted(names[base + validation : base + validation + novel]),
        remarks=remarks,
    )


def proportional(wanted: tuple[int, int, int], classes: int, ways: int) -> tuple[int, int, int]:
    """Return parts in about the wanted proportions, each of at least ``ways`` classes, base of twice that if it can.

    Raises:
        DataError: there are fewer than three times ``ways`` classes.
    """
    if classes < 3 * ways:
        fits = classes // 3
        way_out = f"give --ways {fits}" if fits >= 2 else "get more classes"
        raise DataError(
            f"{classes} classes are too few for {ways}-way tasks in three parts; {way_out}, or lower --min-examples."
        )
    base_least = 2 * ways if classes >= 4 * ways else ways
    _, validation, novel = (max(ways, round(number * classes / sum(wanted))) for number in wanted)
    spare = classes - base_least - validation - novel
    if spare < 0:
        lowered = max(ways, novel + spare)
        validation, novel = max(ways, validation + spare + novel - lowered), lowered
    return classes - validation - novel, validation, novel


RANDOM = SplitProtocol(random_split)
