"""DermNet-S (paper 5.1): the largest classes train, the smallest are novel."""

from datg.data.import_settings import ImportSettings
from datg.data.protocols.protocol import SplitProtocol
from datg.data.raw_data import listed
from datg.data.splits import AvailableClasses, Split
from datg.errors import DataError

DERMNET_CLASSES = 203  # with at least 30 pictures each
DERMNET_BASE, DERMNET_VALIDATION, DERMNET_NOVEL = 30, 30, 53
MINIMUM_VALIDATION = 5


def dermnet_s(available: AvailableClasses, settings: ImportSettings) -> Split:
    """Split by size, then name: the 30 largest are base, the 53 smallest novel, up to 30 before those validation.

    With the paper's 203 classes validation is ranks 121 to 150: nearest in size to the novel ones.
    """
    needed = DERMNET_BASE + MINIMUM_VALIDATION + DERMNET_NOVEL
    counts = available.counts
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    if len(ranked) < needed:
        raise DataError(
            f"protocol dermnet-s needs at least {needed} classes (30 base, 5 validation, 53 novel), got {len(ranked)}; "
            "lower --min-examples or choose --protocol random with fewer classes."
        )
    novel = len(ranked) - DERMNET_NOVEL
    remarks = []
    if len(ranked) != DERMNET_CLASSES:
        remarks.append(
            f"DermNet-S has {DERMNET_CLASSES} classes, these are {len(ranked)}: the parts are not those of the paper."
        )
    for border, what in ((DERMNET_BASE, "base"), (novel, "novel")):
        size = counts[ranked[border]]
        if counts[ranked[border - 1]] == size:
            tied = [name for name in ranked if counts[name] == size]
            remarks.append(
                f"{len(tied)} classes of {size} examples tie at the border of the {what} classes; they are ranked by name, "
                f"another copy may rank them otherwise: {listed(tied)}."
            )
    return Split(
        protocol="dermnet-s",
        base=ranked[:DERMNET_BASE],
        validation=ranked[max(DERMNET_BASE, novel - DERMNET_VALIDATION) : novel],
        novel=ranked[novel:],
        remarks=remarks,
    )


DERMNET_S = SplitProtocol(dermnet_s)
