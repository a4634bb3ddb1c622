"""The trials of a search, read from their folders again and again, and of each only what has changed."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from datg.config import flatten
from datg.errors import StateError
from datg.search.settings import SearchSettings
from datg.search.space import with_params
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
    """Read the trials of a search again and again, and of each only what has changed."""

    def __init__(self, folder: SearchFolder, settings: SearchSettings) -> None:
        self._folder, self._settings = folder, settings
        self._tags = context_tags(settings.config, folder.name)
        self._known: dict[Path, tuple[_Signature, TrialRecord]] = {}

    def records(self) -> list[TrialRecord]:
        """Return the trials begun so far, by number."""
        places = {self._folder.trial(number): partial(self._read, number) for number in self._folder.trial_numbers()}
        return self._read_new(places)

    def references(self) -> list[TrialRecord]:
        """Return the references begun so far."""
        return self._read_new(
            {self._folder.reference(name): partial(self._read_reference, name) for name in self._settings.references}
        )

    def _read_new(self, places: Mapping[Path, Callable[[], TrialRecord]]) -> list[TrialRecord]:
        """Return the records of the folders that have begun; those that have changed are read."""
        records = []
        for path, read in places.items():
            if not self._has_begun(path):
                continue
            signature = _signature(path)
            if path not in self._known or self._known[path][0] != signature:
                self._known[path] = signature, read()
            records.append(self._known[path][1])
        return records

    def _has_begun(self, path: Path) -> bool:
        """Return whether the driver has written what stands there; the folder is there a moment earlier."""
        return path in self._known or any((path / name).exists() for name in (CONFIG, OUTCOME, BEST))

    def _read(self, number: int) -> TrialRecord:
        searched = self._settings.searched(number, self._params(number))
        own_tags = {key: str(value) for key, value in searched.items() if key in self._tags}
        tags = {**self._tags, **own_tags, "trial": str(number)}
        return read_trial(self._folder.trial(number), searched=searched, tags=tags)

    def _read_reference(self, name: str) -> TrialRecord:
        config = with_params(self._settings.config, self._settings.references[name])
        tags = {**context_tags(config, self._folder.name), "reference": name}
        return read_trial(self._folder.reference(name), searched={}, tags=tags, reference=name)

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
