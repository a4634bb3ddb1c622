"""DATG: hyperparameter search for few-shot learning on diverse and authentic generated tasks.

From Python: :func:`open_dataset`, :class:`TrialConfig`, :func:`run_trial`, :func:`run_search`, :func:`open_search`,
:func:`evaluate`, :func:`load_model`; see :mod:`datg.api`, which is loaded when one of them is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datg.api import FewShotModel as FewShotModel
    from datg.api import SearchResult as SearchResult
    from datg.api import StopTrial as StopTrial
    from datg.api import TrialConfig as TrialConfig
    from datg.api import evaluate as evaluate
    from datg.api import load_model as load_model
    from datg.api import open_dataset as open_dataset
    from datg.api import open_search as open_search
    from datg.api import run_search as run_search
    from datg.api import run_trial as run_trial

__version__ = "0.2.0"
_PUBLIC = (
    *("FewShotModel", "SearchResult", "StopTrial", "TrialConfig", "evaluate", "load_model"),
    *("open_dataset", "open_search", "run_search", "run_trial"),
)


def __getattr__(name: str) -> Any:
    """Load the public interface when one of its names is asked for."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'datg' has no attribute '{name}'")
    from datg import api

    return getattr(api, name)


def __dir__() -> list[str]:
    """Return the public names, too."""
    return sorted([*globals(), *_PUBLIC])
