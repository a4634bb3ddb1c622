"""Sizes on a disk."""

from pathlib import Path

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def format_size(size: float) -> str:
    """Return such as ``1.2 GB``."""
    unit = next((name for name, value in reversed(UNITS.items()) if size >= value), "KB")
    return f"{size / UNITS[unit]:.3g} {unit}"


def total_size(folder: Path) -> int:
    """Return the size of all files below ``folder``; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total
