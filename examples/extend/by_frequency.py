"""By frequency: the most frequent classes are base classes, the rarest novel."""

from datg.data.import_settings import ImportSettings
from datg.data.protocols.protocol import SplitProtocol
from datg.data.splits import AvailableClasses, Split


def split_by_frequency(available: AvailableClasses, settings: ImportSettings) -> Split:
    """Return a fifth of the classes for validation, a third as novel, and the others, the most frequent, as base classes."""
    names = sorted(available.counts, key=lambda name: (-available.counts[name], name))
    validation, novel = len(names) // 5, len(names) // 3
    base = len(names) - validation - novel
    return Split(
        protocol="by-frequency",
        base=sorted(names[:base]),
        validation=sorted(names[base : base + validation]),
        novel=sorted(names[base + validation :]),
    )


BY_FREQUENCY = SplitProtocol(split_by_frequency)
