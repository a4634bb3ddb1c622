"""What can go wrong for a user: each message is one sentence with name, rule and value, then the way out."""

import difflib
import re
from collections.abc import Iterable

LISTED = 12  # longer tables are listed only where no name comes near


class DatgError(Exception):
    """Name a mistake of the user or a state of the world."""


class ConfigError(DatgError, ValueError):
    """Name a flag, key, value or combination that cannot be run."""


class DataError(DatgError, ValueError):
    """Name files or data sets that are missing, damaged or too small."""


class StateError(DatgError):
    """Name a search's folder or study that is damaged or belongs to something else."""


class TrialTaken(DatgError):
    """Say that another process has taken over a trial's folder."""


class TrialDiverged(DatgError):
    """Say that training produced a NaN or infinite loss; the configuration is to blame."""


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> str:
    """Return the sentence for a name that is not in a table, with the nearest known name.

    Args:
        kind: what the name stands for, e.g. ``"strategy"``.
        name: what the user wrote.
        choices: the names of the table.
    """
    choices = sorted(choices)
    nearest = difflib.get_close_matches(name, choices, n=1)
    if nearest and len(choices) > LISTED:
        return f"`{name}` is not a known {kind}; did you mean `{nearest[0]}`?"
    hint = f"did you mean `{nearest[0]}`? " if nearest else ""
    return f"`{name}` is not a known {kind}; {hint}Known: {', '.join(choices)}."


def has_password(url: str) -> bool:
    """Return whether ``url`` holds a password, before its host or among its options."""
    return re.search(r"//[^/@\s]*:[^/@\s]*@|password=", url) is not None


def without_password(text: str) -> str:
    """Return ``text`` without the user and password of any address in it."""
    return re.sub(r"password=[^&\s]*", "password=...", re.sub(r"//[^/@\s]*@", "//", text))
