"""The driver of a search: asks the study, tells the study, and knows what is going on. It knows nothing of Ray.

It is the study's only writer. A resumed search first hands out again, under their old numbers, the trials that the study
has as RUNNING; their folders hold the checkpoints from which they go on.
"""

import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import TrialState

from datg.errors import ConfigError
from datg.files import write_yaml
from datg.final_evaluation import EVALUATION
from datg.partition import lacks_embedding, vanilla_of, with_embedding
from datg.search.folder import SearchFolder
from datg.search.settings import SearchSettings
from datg.search.space import bounds_of, configured, fits, paper_setting, suggest
from datg.trial import BEST, CONFIG, Progress
from datg.trial_config import TrialConfig


@dataclass
class Situation:
    """What is going on, for display.

    Attributes:
        asked: trials wanted.
        outcomes: ended trials by outcome.
        running: trial number to the share of its iterations done.
        best: number, objective and its half-width of the best trial.
        evaluated: final evaluations done.
        started: monotonic seconds.
        ended_here: trials that ended since this driver started.
        preparing: what is done before the first trial.
    """

    asked: int
    outcomes: Counter[str] = field(default_factory=Counter)
    running: dict[int, float] = field(default_factory=dict)
    best: tuple[int, float, float] | None = None
    evaluated: int = 0
    started: float = field(default_factory=time.monotonic)
    ended_here: int = 0
    preparing: str = ""

    def seconds_left(self) -> float | None:
        """A guess from the trials ended so far; None before the first."""
        if not self.ended_here:
            return None
        each = (time.monotonic() - self.started) / self.ended_here
        return each * (self.asked - sum(self.outcomes.values()))


class SearchDriver:
    """Between an engine that runs trials and the study."""

    def __init__(self, folder: SearchFolder, settings: SearchSettings, study: optuna.Study) -> None:
        """Takes up the study where it stands; an empty one gets the paper's setting as its trial 0."""
        self.folder, self.settings, self.study = folder, settings, study
        self.config = settings.trial_config
        base_classes = len(settings.provenance["split"]["base"])
        self._bounds = {} if settings.grid else bounds_of(self.config, base_classes)
        self._running: dict[int, optuna.Trial] = {}
        self._pruned: set[int] = set()
        self.situation = Situation(settings.trials)
        self._take_up()

    def _take_up(self) -> None:
        trials = self.study.get_trials(deepcopy=False)
        if not trials and not self.settings.grid:
            setting = paper_setting(self.settings.ranges, self.config)
            if fits(self.settings.ranges, setting, self._bounds):
                self.study.enqueue_trial(setting)
        self._to_resume = [trial for trial in trials if trial.state == TrialState.RUNNING]
        for trial in trials:
            if trial.state.is_finished():
                self.situation.outcomes[outcome_of(trial)] += 1
                self._note_best(trial.number, trial.user_attrs.get("objective"), trial.user_attrs.get("ci95", 0.0))

    @property
    def ended(self) -> list[int]:
        """Numbers of the trials that have ended."""
        return [trial.number for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()]

    @property
    def all_done(self) -> bool:
        """Whether every trial has ended and, where it has weights, been evaluated."""
        ended = self.ended
        missing = [
            n
            for n in ended
            if (self.folder.trial(n) / BEST).exists() and not (self.folder.trial(n) / EVALUATION).exists()
        ]
        return len(ended) >= self.settings.trials and not missing

    def next_trial(self) -> int | None:
        """The number of the next trial to run, its configuration written to its folder; None when there is none left."""
        while self._to_resume:
            trial = optuna.Trial(self.study, self._to_resume.pop(0)._trial_id)
            if self._start(trial):
                return trial.number
        asked = [t for t in self.study.get_trials(deepcopy=False) if t.state != TrialState.WAITING]
        while len(asked) < self.settings.trials:
            trial = self.study.ask()
            if self._start(trial):
                return trial.number
            asked.append(trial)  # type: ignore[arg-type]
        return None

    def _start(self, trial: optuna.Trial) -> bool:
        """Writes the trial's configuration; a value that no check foresaw fails it here, before it costs anything."""
        self._running[trial.number] = trial
        try:
            config = with_embedding(configured(self.config, self._setting(trial)), self.folder.embedding / BEST)
        except ConfigError as error:
            self.finish(trial.number, "failed", str(error))
            return False
        write_yaml(self.folder.trial(trial.number) / CONFIG, config.values())
        self.situation.running[trial.number] = 0.0
        return True

    def _setting(self, trial: optuna.Trial) -> dict[str, Any]:
        if self.settings.grid:
            return self.settings.grid[trial.number]
        return suggest(trial, self.settings.ranges, self._bounds)

    def embedding_config(self) -> TrialConfig | None:
        """The network that must be trained before any trial, because base classes are clustered by its embeddings."""
        key = "strategy.cluster_features"
        searched = [entry.values for entry in self.settings.ranges if entry.key == key]
        settings = self.settings.grid or [{key: value} for values in searched for value in values] or [{}]
        lacking = any(lacks_embedding(configured(self.config, setting)) for setting in settings)
        return vanilla_of(self.config) if lacking else None

    def report(self, number: int, progress: Progress) -> bool:
        """Passes a validation to the study; returns whether the trial should be pruned."""
        trial = self._running[number]
        step = -(-progress.iteration // self.config.training.eval_every)
        self.situation.running[number] = progress.iteration / self.config.training.iterations
        self._note_best(number, progress.objective, progress.objective_ci95)
        trial.set_user_attr("objective", progress.objective)
        trial.set_user_attr("ci95", progress.objective_ci95)
        if step not in self.study._storage.get_trial(trial._trial_id).intermediate_values:
            trial.report(progress.objective, step)
        if progress.iteration < self.config.training.iterations and trial.should_prune():
            self._pruned.add(number)
        return number in self._pruned

    def finish(self, number: int, outcome: str, error: str = "") -> None:
        """Tells the study how a trial ended.

        Args:
            number: of the trial.
            outcome: finished, collapsed, diverged or failed; a trial that :meth:`report` pruned is pruned whatever it says.
            error: one line.
        """
        trial = self._running.pop(number, None)
        if trial is None:
            return
        if number in self._pruned:
            outcome, error = "pruned", ""
        trial.set_user_attr("outcome", outcome)
        if error:
            trial.set_user_attr("error", error)
        if outcome == "failed":
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            # A FAIL is invisible to samplers, so a diverged trial is told as pruned and infeasible: its neighbourhood
            # is then avoided.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # samplers that know no constraints say so
                trial.set_constraint("diverged", float(outcome == "diverged"))
                if outcome in ("finished", "collapsed"):
                    self.study.tell(trial, trial.user_attrs["objective"])
                else:
                    self.study.tell(trial, state=TrialState.PRUNED)
        self.situation.running.pop(number, None)
        self.situation.outcomes[outcome] += 1
        self.situation.ended_here += 1

    def _note_best(self, number: int, objective: float | None, ci95: float) -> None:
        best = self.situation.best
        if objective is not None and (best is None or objective > best[1]):
            self.situation.best = (number, objective, ci95)


def outcome_of(trial: optuna.trial.FrozenTrial) -> str:
    """The outcome of an ended trial."""
    return str(trial.user_attrs.get("outcome", trial.state.name.lower()))
