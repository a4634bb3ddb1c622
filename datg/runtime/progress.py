"""How long work tells how far it is, and durations in words."""

from collections.abc import Callable

ProgressCallback = Callable[
    [str, int, int], None
]  # called with what is done, how much of it, and of how much (0: unknown)


def format_duration(seconds: float) -> str:
    """Return seconds in words, such as ``2 h 05 min``, ``3 min 20 s`` or ``12 s``."""
    whole = int(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"
