"""A study's storage that reads a trial again only after it was written to.

Optuna's own cache reads all unfinished trials again whenever anybody asks for the trials, because another process may have
written to them: with 256 of them running, most of a driver's time. Here the driver is the one writer of its study.
"""

from functools import wraps
from typing import Any

from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage

_BEYOND = 2**31 - 1  # no trial has such an id; PostgreSQL knows no larger one


def _touching(name: str) -> Any:
    """A method of the cache that writes to a trial, after which the trial is read again.

    After, because another thread may read it in between; and even where it failed, for nobody knows what of it was done.
    """
    write = getattr(_CachedStorage, name)

    @wraps(write)
    def touching(self: "SoleWriterStorage", trial_id: int, *arguments: Any, **named: Any) -> Any:
        try:
            return write(self, trial_id, *arguments, **named)
        finally:
            self.touch(trial_id)

    return touching


class SoleWriterStorage(_CachedStorage):
    """Everything goes to the database at once; what other processes write after the first reading is not seen."""

    def __init__(self, backend: RDBStorage) -> None:
        super().__init__(backend)
        self._known: set[int] = set()  # studies that were read
        self._stale: set[int] = set()  # trials that were written to since they were read

    def touch(self, trial_id: int) -> None:
        """Has a trial read again: for those who write past this storage."""
        with self._lock:
            self._stale.add(trial_id)

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        if study_id not in self._known:
            super()._read_trials_from_remote_storage(study_id)
            self._known.add(study_id)
            return
        with self._lock:
            if self._stale:
                trials = self._backend._get_trials(study_id, None, self._stale, _BEYOND)
                self._add_trials_to_cache(study_id, trials)
                self._stale = set()

    set_trial_param = _touching("set_trial_param")
    set_trial_state_values = _touching("set_trial_state_values")
    set_trial_intermediate_value = _touching("set_trial_intermediate_value")
    set_trial_user_attr = _touching("set_trial_user_attr")
    set_trial_system_attr = _touching("set_trial_system_attr")
