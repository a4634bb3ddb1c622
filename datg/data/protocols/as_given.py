"""As given: the parts that the raw form names."""

from datg.data.import_settings import ImportSettings
from datg.data.protocols.protocol import SplitProtocol
from datg.data.splits import AvailableClasses, Split


def as_given(available: AvailableClasses, settings: ImportSettings) -> Split:
    """Return the parts that the raw form itself names: train, val and test."""
    return Split(protocol="as-given", **available.named_parts("as-given"))


AS_GIVEN = SplitProtocol(as_given)
