"""The trials of a search, read from their folders again and again, and of each only what has changed."""

from pathlib import Path
from typing import Any

from datg.config import flatten
from datg.errors import StateError
from datg.search.settings import SearchSettings
from datg.search.state.folder import SearchFolder, find_folder
from datg.trial.folder import BEST, CONFIG, EVALUATION, FRESH_VALIDATION, PROGRESS
from datg.trial.records import OUTCOME, TrialRecord, context_tags, read_config, read_trial

_Signature = tuple[int | None, ...]


def open_records(output: Path, search: str) -> tuple[SearchFolder, SearchSettings, list[TrialRecord]]:
    """Open a search to read it, by name below ``output`` or by path.

    Raises:
        ConfigError: there is no such search.
        StateError: it is damaged.
    """
    folder = find_folder(output, search)
    settings = SearchSettings.load(folder)
    return folder, settings, RecordReader(folder, settings).records()


class RecordReader:
    """Reads the trials of a search again and again, and of each only what has changed."""

    def __init__(self, folder: SearchFolder, settings: SearchSettings) -> None:
        self._folder, self._settings = folder, settings
        self._tags = context_tags(settings.config, folder.name)
        self._known: dict[int, tuple[_Signature, TrialRecord]] = {}

    def records(self) -> list[TrialRecord]:
        """Return the trials begun so far, by number."""
        return [self._record(number) for number in self._folder.trial_numbers() if self._has_begun(number)]

    def _has_begun(self, number: int) -> bool:
        """Return whether the driver has written what the trial is; its folder is there a moment earlier."""
        trial_dir = self._folder.trial(number)
        return number in self._known or any((trial_dir / name).exists() for name in (CONFIG, OUTCOME, BEST))

    def _record(self, number: int) -> TrialRecord:
        cached = self._known.get(number)
        signature = _signature(self._folder.trial(number))
        if cached is None or cached[0] != signature:
            cached = self._known[number] = signature, self._read(number)
        return cached[1]

    def _read(self, number: int) -> TrialRecord:
        searched = self._settings.searched(number, self._params(number))
        own_tags = {key: str(value) for key, value in searched.items() if key in self._tags}
        tags = {**self._tags, **own_tags, "trial": str(number)}
        return read_trial(self._folder.trial(number), searched=searched, tags=tags)

    def _params(self, number: int) -> dict[str, Any]:
        if self._settings.grid:
            return {}
        try:
            values = flatten(read_config(self._folder.trial(number)))
        except StateError:
            return {}
        return {key: values.get(key) for key in self._settings.space}


def _signature(trial_dir: Path) -> _Signature:
    """Return what changes with each of a trial's files: they are replaced, so number and time; None for one that is not there."""
    times: list[int | None] = []
    for name in (CONFIG, PROGRESS, OUTCOME, EVALUATION, FRESH_VALIDATION):
        try:
            status = (trial_dir / name).stat()
            times += [status.st_ino, status.st_mtime_ns]
        except OSError:
            times.append(None)
    return tuple(times)
