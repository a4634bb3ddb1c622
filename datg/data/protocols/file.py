"""File: the lists of a YAML file."""

from datg.data.import_settings import ImportSettings
from datg.data.protocols.protocol import SplitProtocol
from datg.data.splits import AvailableClasses, Split
from datg.errors import DataError


def split_from_file(available: AvailableClasses, settings: ImportSettings) -> Split:
    """Return the lists ``base``, ``validation`` and ``novel`` of a YAML file."""
    if settings.split_file is None:
        raise DataError("protocol file needs --split-file with the lists base, validation and novel.")
    return Split(protocol="file", **settings.lists())


FILE = SplitProtocol(split_from_file)
