"""How long work tells how far it is."""

from collections.abc import Callable

ProgressCallback = Callable[
    [str, int, int], None
]  # called with what is done, how much of it, and of how much (0: unknown)
