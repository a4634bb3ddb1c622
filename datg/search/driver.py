"""The driver of a search: asks the study, tells the study, and knows what is going on. It knows nothing of Ray.

It is the study's only writer. A resumed search first hands out again, under their old numbers, the trials that the study
has as RUNNING; their folders hold the checkpoints from which they go on.
"""

import time
import warnings
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from datg.claim import CLAIM, revoke
from datg.errors import ConfigError
from datg.files import write_yaml
from datg.partition import lacks_embedding, vanilla_of, with_embedding
from datg.records import Note, lacks_evaluation, write_note
from datg.search.folder import SearchFolder
from datg.search.settings import SearchSettings
from datg.search.space import bounds_of, configured, fits, paper_setting, suggest
from datg.search.study import forget_rungs, forget_suggestion, rungs_of, sampler_for
from datg.trial import BEST, CONFIG, LAST, Progress, read_progress
from datg.trial_config import TrialConfig

HEARD = "heard"  # the attribute of a trial that says what its driver has heard and decided
IN_A_ROW = 10  # failures after which a search gives up
SUCCESSES, FAILURES = ("finished", "collapsed"), ("diverged", "error", "failed")


@dataclass(frozen=True)
class Heard:
    """What a driver has heard of a trial, and decided; saved after each decision.

    Attributes:
        step: validations heard.
        objective: of the last one.
        ci95: its half-width.
        prune: whether the trial is to end.
        rungs: rungs of successive halving that it has passed.
    """

    step: int = 0
    objective: float | None = None
    ci95: float = 0.0
    prune: bool = False
    rungs: int = 0


@dataclass
class _Running:
    trial: optuna.Trial
    heard: Heard


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
        ended_here: outcomes of the trials that ended since this driver started.
        preparing: what is done before the first trial.
    """

    asked: int
    outcomes: Counter[str] = field(default_factory=Counter)
    running: dict[int, float] = field(default_factory=dict)
    best: tuple[int, float, float] | None = None
    evaluated: int = 0
    started: float = field(default_factory=time.monotonic)
    ended_here: list[str] = field(default_factory=list)
    preparing: str = ""

    def seconds_left(self) -> float | None:
        """A guess from the trials ended so far; None before the first."""
        if not self.ended_here:
            return None
        each = (time.monotonic() - self.started) / len(self.ended_here)
        return each * (self.asked - sum(self.outcomes.values()))


class SearchDriver:
    """Between an engine that runs trials and the study."""

    def __init__(self, folder: SearchFolder, settings: SearchSettings, study: optuna.Study) -> None:
        """Takes up the study where it stands; an empty one gets the paper's setting as its trial 0."""
        self.folder, self.settings, self.study = folder, settings, study
        self.config = settings.trial_config
        base_classes = len(settings.provenance["split"]["base"])
        self._bounds = {} if settings.grid else bounds_of(self.config, base_classes)
        self._running: dict[int, _Running] = {}
        self.situation = Situation(settings.trials)
        self.out_of_reach = False  # whether the study failed to be written or read
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
                self._leave_note(trial)
            heard = trial.user_attrs.get(HEARD)
            if heard:
                self._note_best(trial.number, heard["objective"], heard["ci95"])

    def _leave_note(self, trial: FrozenTrial) -> None:
        """Tells in the trial's folder how it ended, and removes what only a trial that goes on would need."""
        place, outcome = self.folder.trial(trial.number), outcome_of(trial)
        ended = None if trial.datetime_complete is None else trial.datetime_complete.timestamp()
        write_note(place, Note(outcome, str(trial.user_attrs.get("error", "")), ended))
        if outcome not in SUCCESSES:
            (place / LAST).unlink(missing_ok=True)

    @property
    def ended(self) -> list[int]:
        """Numbers of the trials that have ended."""
        return [trial.number for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()]

    def ended_from_worst(self) -> list[int]:
        """Numbers of the trials that have ended, the worst validation first, and those that can be exported last."""
        trials = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()]
        scores = {t.number: (t.user_attrs.get(HEARD) or {}).get("objective") or 0.0 for t in trials}
        return [t.number for t in sorted(trials, key=lambda t: (outcome_of(t) in SUCCESSES, scores[t.number]))]

    @property
    def all_done(self) -> bool:
        """Whether every trial has ended and, where it has weights, been evaluated."""
        ended = self.ended
        return len(ended) >= self.settings.trials and not any(lacks_evaluation(self.folder.trial(n)) for n in ended)

    @property
    def hopeless(self) -> bool:
        """Whether the last :data:`IN_A_ROW` trials that ended since this driver started all failed."""
        last = self.situation.ended_here[-IN_A_ROW:]
        return len(last) == IN_A_ROW and all(outcome in FAILURES for outcome in last)

    def next_trial(self) -> int | None:
        """The number of the next trial to run, its configuration written to its folder; None when there is none left."""
        while self._to_resume:
            trial = self._again(self._to_resume.pop(0))
            if self._start(trial):
                return trial.number
        while (number := self._next_number()) is not None:
            self.study.sampler = self._sampler(number)
            trial = self.study.ask()
            assert trial.number == number, "somebody else writes into this study"
            if self._start(trial):
                return number
        return None

    def _next_number(self) -> int | None:
        """That of the trial that the study would give, if more are wanted."""
        trials = self.study.get_trials(deepcopy=False)
        waiting = [trial.number for trial in trials if trial.state == TrialState.WAITING]
        if len(trials) - len(waiting) >= self.settings.trials:
            return None
        return waiting[0] if waiting else len(trials)

    def _sampler(self, number: int, key: str = "") -> BaseSampler:
        return sampler_for(self.settings.sampler, self.settings.seed, number, self.settings.trials, key)

    def _again(self, trial: FrozenTrial) -> optuna.Trial:
        """A trial of an earlier driver; one that died in the middle of suggesting gets the same suggestions."""
        if all(entry.key in trial.params for entry in self.settings.ranges):
            self.study.sampler = optuna.samplers.RandomSampler()
        else:
            forget_suggestion(self.study, trial)
            self.study.sampler = self._sampler(trial.number)
        return optuna.Trial(self.study, trial._trial_id)

    def _start(self, trial: optuna.Trial) -> bool:
        """Writes the trial's configuration; a value that no check foresaw fails it here, before it costs anything."""
        frozen: FrozenTrial = trial._get_latest_trial()
        self._running[trial.number] = _Running(trial, Heard(**frozen.user_attrs.get(HEARD, {})))
        try:
            config = with_embedding(configured(self.config, self._setting(trial)), self.folder.embedding / BEST)
        except ConfigError as error:
            self.finish(trial.number, "error", str(error))
            return False
        revoke(self.folder.trial(trial.number) / CLAIM)  # who worked on it before does so no more
        write_yaml(self.folder.trial(trial.number) / CONFIG, config.values())
        self.situation.running[trial.number] = 0.0
        return True

    def _setting(self, trial: optuna.Trial) -> dict[str, Any]:
        if self.settings.grid:
            return self.settings.grid[trial.number]

        def before(key: str) -> None:
            self.study.sampler = self._sampler(trial.number, key)

        return suggest(trial, self.settings.ranges, self._bounds, before=before)

    def kinds_of_trials(self) -> list[TrialConfig]:
        """One configuration for each learner and strategy that is tried."""
        kinds = {str((entry["learner"], entry["strategy"])): entry for entry in self.settings.grid} or {"": {}}
        return [with_embedding(configured(self.config, kind), self.folder.embedding / BEST) for kind in kinds.values()]

    def embedding_config(self) -> TrialConfig | None:
        """The network that must be trained before any trial, because base classes are clustered by its embeddings."""
        key = "strategy.cluster_features"
        searched = [entry.values for entry in self.settings.ranges if entry.key == key]
        settings = self.settings.grid or [{key: value} for values in searched for value in values] or [{}]
        lacking = any(lacks_embedding(configured(self.config, setting)) for setting in settings)
        return vanilla_of(self.config) if lacking else None

    def report(self, number: int, progress: Progress) -> bool:
        """Passes a validation to the study; returns whether the trial should be pruned.

        What a driver that died did not hear of comes first, from the trial's folder; what is known already changes nothing.
        """
        running = self._running[number]
        every = self.config.training.eval_every
        missed = []
        if self._step(progress) > running.heard.step + 1:
            earlier = read_progress(self.folder.trial(number))
            missed = [entry for entry in earlier if running.heard.step * every < entry.iteration < progress.iteration]
        for entry in [*missed, progress]:
            self._hear(running, entry)
        return running.heard.prune

    def _step(self, progress: Progress) -> int:
        return -(-progress.iteration // self.config.training.eval_every)

    def _hear(self, running: "_Running", progress: Progress) -> None:
        step, number = self._step(progress), running.trial.number
        self.situation.running[number] = progress.iteration / self.config.training.iterations
        self._note_best(number, progress.objective, progress.objective_ci95)
        if step <= running.heard.step or running.heard.prune:
            return
        before: FrozenTrial = running.trial._get_latest_trial()
        if step in before.intermediate_values:
            forget_rungs(self.study, before, running.heard.rungs)
        else:
            running.trial.report(progress.objective, step)
        prune = progress.iteration < self.config.training.iterations and bool(running.trial.should_prune())
        after: FrozenTrial = running.trial._get_latest_trial()
        running.heard = Heard(step, progress.objective, progress.objective_ci95, prune, rungs_of(after))
        running.trial.set_user_attr(HEARD, asdict(running.heard))

    def finish(self, number: int, outcome: str, error: str = "") -> None:
        """Tells the study how a trial ended.

        Args:
            number: of the trial.
            outcome: finished, collapsed, diverged, error (its configuration raised one every time) or failed (its machine
                or process broke every time); a trial that :meth:`report` pruned is pruned whatever it says.
            error: one line.
        """
        running = self._running.get(number)
        if running is None:
            return
        history = read_progress(self.folder.trial(number))
        if history:
            self.report(number, history[-1])  # it may not have been heard
        del self._running[number]
        if running.heard.prune:
            outcome, error = "pruned", ""
        trial = running.trial
        trial.set_user_attr("outcome", outcome)
        if error:
            trial.set_user_attr("error", error)
        if outcome == "failed":
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            # A FAIL is invisible to samplers, so what a configuration broke is told as pruned and infeasible: its
            # neighbourhood is then avoided.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # samplers that know no constraints say so
                trial.set_constraint("broken", float(outcome in ("diverged", "error")))
                if outcome in SUCCESSES:
                    self.study.tell(trial, running.heard.objective)
                else:
                    self.study.tell(trial, state=TrialState.PRUNED)
        self._leave_note(self.study._storage.get_trial(trial._trial_id))
        self.situation.running.pop(number, None)
        self.situation.outcomes[outcome] += 1
        self.situation.ended_here.append(outcome)

    def release(self, number: int, *, again: bool = False) -> None:
        """A trial was interrupted: in the study it goes on running, for the next driver to take up, or ``again`` for this one."""
        running = self._running.pop(number, None)
        self.situation.running.pop(number, None)
        if again and running is not None:
            self._to_resume.append(self.study._storage.get_trial(running.trial._trial_id))

    def _note_best(self, number: int, objective: float | None, ci95: float) -> None:
        best = self.situation.best
        if objective is not None and (best is None or objective > best[1]):
            self.situation.best = (number, objective, ci95)


def outcome_of(trial: optuna.trial.FrozenTrial) -> str:
    """The outcome of an ended trial."""
    return str(trial.user_attrs.get("outcome", trial.state.name.lower()))
