"""When two names mean one class: in the same Unicode form, without spaces around them, and whatever their case."""

import unicodedata
from collections.abc import Iterable


def normal(name: str) -> str:
    """Return the form in which names are compared: NFC, stripped, case-folded."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name.strip()).casefold())


def as_known(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return ``names`` as the data set writes those that it has; the others as they are."""
    written = {normal(name): name for name in known}
    return [written.get(normal(name), name) for name in names]
