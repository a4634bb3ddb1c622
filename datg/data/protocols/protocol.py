"""What every protocol is."""

from collections.abc import Callable
from dataclasses import dataclass

from datg.data.import_settings import ImportSettings
from datg.data.raw_data import RawData
from datg.data.splits import AvailableClasses, Split


@dataclass(frozen=True)
class SplitProtocol:
    """Describe one way to split.

    Attributes:
        divide: divides classes before that, if the protocol does.
    """

    choose: Callable[[AvailableClasses, ImportSettings], Split]
    divide: Callable[[RawData, ImportSettings], RawData] | None = None
