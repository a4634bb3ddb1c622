"""A search as its folder shows it, with what a report computes of it once."""

from dataclasses import dataclass
from functools import cached_property

import optuna

from datg.report.page.importances import Importance, importances
from datg.report.page.page import score
from datg.report.page.study import as_study, whole
from datg.report.status import Status, read_status
from datg.search.settings import SearchSettings
from datg.search.state.folder import SearchFolder
from datg.search.state.records import RecordReader
from datg.trial.records import TrialRecord
from datg.trial.selection import Selection, select


@dataclass(frozen=True)
class Search:
    """Hold what a search's folder tells."""

    folder: SearchFolder
    settings: SearchSettings
    records: list[TrialRecord]
    references: list[TrialRecord]
    status: Status
    running: bool = False

    @classmethod
    def read(cls, folder: SearchFolder, *, running: bool = False) -> "Search":
        """Read it, ``running`` or ended.

        Raises:
            StateError: it is damaged beyond reading, or of another version.
        """
        settings = SearchSettings.load(folder)
        reader = RecordReader(folder, settings)
        return cls(folder, settings, reader.records(), reader.references(), read_status(folder), running)

    @cached_property
    def selection(self) -> Selection:
        """Return the best and its ties."""
        return select(self.records)

    @cached_property
    def study(self) -> optuna.Study:
        """Return the trials as Optuna knows them."""
        return as_study(self.settings, self.records)

    @cached_property
    def importances(self) -> list[Importance]:
        """Return what each setting mattered; nothing where there are too few trials."""
        return importances(self.study) if len(self.settings.space) > 1 else []

    @property
    def scored(self) -> list[TrialRecord]:
        """Return trials with a score and all of their settings."""
        return whole(self.settings, self.records)

    def describe(self) -> str:
        """Return what was searched, in a line."""
        config, task = self.settings.config, self.settings.config.task
        return (
            f"{config.strategy_name} with {config.learner_name} on {config.dataset}, {task.ways}-way {task.shots}-shot, "
            f"{config.training.iterations} iterations; sampler {self.settings.sampler}, pruner {self.settings.pruner}"
            + (f"; the sampler knew the trials of {self.settings.warm_start}." if self.settings.warm_start else ".")
        )


def state_name(record: TrialRecord, running: bool) -> str:
    """Return how a trial ended; without an end it runs, or is interrupted where nobody drives its search."""
    return record.outcome or ("running" if running else "interrupted")


def score_cells(record: TrialRecord) -> list[str]:
    """Return validation and novel classes of a training as cells; empty where there is none yet."""
    last, test = record.last, record.test
    return [
        "" if last is None else score(last.objective, last.objective_ci95),
        "" if test is None else score(test.accuracy, test.ci95),
    ]
