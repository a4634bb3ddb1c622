"""Sizes on a disk."""

import re
from pathlib import Path

from datg.errors import ConfigError

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def parse_size(text: str | None) -> int | None:
    """Bytes of such as ``500MB`` or ``1.5 GB``; None stays None.

    Raises:
        ConfigError: it is no size.
    """
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]B)\s*", text.upper())
    if not found or float(found[1]) == 0:
        raise ConfigError(f"`--disk-budget` must be a size such as 500MB or 20GB, got {text}.")
    return int(float(found[1]) * UNITS[found[2]])


def shown_size(size: float) -> str:
    """Such as ``1.2 GB``."""
    unit = next((name for name, value in reversed(UNITS.items()) if size >= value), "KB")
    return f"{size / UNITS[unit]:.3g} {unit}"


def bytes_in(folder: Path) -> int:
    """The size of all files below ``folder``; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total
