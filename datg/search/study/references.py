"""Between an engine that trains the references of a search, and their folders and study.

They have a study of their own: one trial with other parameters empties the space that samplers find in common to all trials.
"""

import math
import time

from optuna.trial import FrozenTrial, TrialState, create_trial

from datg.search.settings import SearchSettings
from datg.search.space import with_params
from datg.search.state.folder import SearchFolder
from datg.search.study.stored import StoredStudy
from datg.search.study.writer import OrderedWriter
from datg.storage.files import write_yaml
from datg.storage.lease import TRIAL_LEASE, revoke
from datg.trial.config import TrialConfig
from datg.trial.folder import BEST, CONFIG, await_report
from datg.trial.preparation import with_network
from datg.trial.records import DONE, SUCCESSES, TrialOutcome, TrialRecord, read_trial, write_outcome

VISIBLE_SECONDS = 30.0  # in which a file that another machine wrote must be seen here


class References:
    """Know the references of a search: which are missing, and how they ended."""

    def __init__(
        self, folder: SearchFolder, settings: SearchSettings, stored: StoredStudy, writer: OrderedWriter
    ) -> None:
        """Write into the study what a driver that died has not written of those that have ended."""
        self._folder, self._settings, self._stored, self._writer = folder, settings, stored, writer
        for record in self.records():
            if record.outcome:
                writer.write(self._store, record)

    def records(self) -> list[TrialRecord]:
        """Return them as their folders show them."""
        return [
            read_trial(self._folder.reference(name), searched={}, tags={}, reference=name)
            for name in self._settings.references
        ]

    @property
    def all_done(self) -> bool:
        """Return whether each has ended, and been evaluated if it has weights."""
        return all(record.complete for record in self.records())

    def start(self, name: str) -> TrialConfig:
        """Take a reference's folder from whoever had it, and return its configuration, which then stands there."""
        place = self._folder.reference(name)
        config = with_params(self._settings.config, self._settings.references[name])
        config = with_network(config, self._folder.network / BEST)
        revoke(place / TRIAL_LEASE)
        write_yaml(place / CONFIG, config.to_dict())
        return config

    def finish(self, name: str, outcome: str, error: str = "") -> None:
        """Write down how a reference ended.

        Raises:
            Exception: what the database raised.
        """
        place = self._folder.reference(name)
        if outcome in SUCCESSES:
            await_report(place, self._settings.config.training.iterations, VISIBLE_SECONDS)
        write_outcome(place, TrialOutcome(outcome, error, time.time()))
        self._writer.write(self._store, read_trial(place, searched={}, tags={}, reference=name))
        self._writer.wait()

    def _store(self, record: TrialRecord) -> None:
        self._stored.add_reference(self._as_trial(record))

    def _as_trial(self, record: TrialRecord) -> FrozenTrial:
        done, every = record.state == DONE, self._settings.config.training.eval_every
        return create_trial(
            state=TrialState.COMPLETE if done else TrialState.FAIL,
            value=record.objective if done else None,
            intermediate_values={math.ceil(entry.iteration / every): entry.accuracy for entry in record.reports},
            user_attrs={"reference": record.reference, "outcome": record.outcome, "ended": record.ended},
        )
