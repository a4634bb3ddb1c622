"""The driver of a search: it asks the study in memory, writes down what was decided, and knows what is going on.

It knows nothing of Ray, and is the only writer of the stored study. Nothing that has a consequence is handed out before it is
written: a suggestion, a trial to prune, an end. That a trial may go on is written behind. A driver that dies leaves whole facts;
the next one builds its study from them, and first hands out again, under their numbers, the trials that were running. Their
folders hold the checkpoints from which they go on.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from optuna.trial import FrozenTrial, Trial, TrialState

from datg.errors import ConfigError
from datg.search.enqueued import check_enqueued
from datg.search.knowledge import load
from datg.search.settings import SearchSettings
from datg.search.space import as_trial, contains, nested_with, suggest, with_params
from datg.search.state.folder import SearchFolder
from datg.search.state.inbox import Inbox
from datg.search.study import PRUNERS
from datg.search.study.memory import MemoryStudy
from datg.search.study.outcomes import ERROR_ATTRIBUTE, outcome_of
from datg.search.study.progress import SearchProgress
from datg.search.study.pruners import LAST_PRUNING
from datg.search.study.references import VISIBLE_SECONDS, References
from datg.search.study.requests import Requests
from datg.search.study.samplers import sampler_for
from datg.search.study.stored import PruningState, StoredStudy, pruning_state
from datg.search.study.writer import OrderedWriter
from datg.storage.files import write_text, write_yaml
from datg.storage.lease import TRIAL_LEASE, revoke
from datg.trial.config import TrialConfig
from datg.trial.folder import (
    BEST,
    CONFIG,
    EVALUATION,
    FRESH_VALIDATION,
    LAST,
    STOP,
    ValidationReport,
    await_report,
    read_now,
    read_reports,
)
from datg.trial.preparation import network_to_train, with_network
from datg.trial.records import FAILURES, OUTCOME, SUCCESSES, TrialOutcome, lacks_evaluation, read_trial, write_outcome
from datg.trial.selection import Selection, select

REQUEST = "request"  # attribute of a trial: the user's request that it was enqueued by
ON_REQUEST = "stopped because a user asked for it"
MOST_IN_A_ROW, LEAST_IN_A_ROW = 10, 3  # failures after which a search gives up: half of its trials, within these bounds


class SearchDriver:
    """Stand between an engine that runs trials and the study."""

    def __init__(self, folder: SearchFolder, settings: SearchSettings, stored: StoredStudy) -> None:
        """Take up the study where it stands; in an empty one the paper's setting becomes trial 0."""
        self.folder, self.settings, self.config = folder, settings, settings.config
        self._ranges = settings.ranges
        self._bounds, self._own_setting = settings.bounds, settings.own_setting
        self._stored, self._writer = stored, OrderedWriter()
        self._running: set[int] = set()
        self._broken: set[int] = set()  # by their machines, as often as is allowed
        interval = self.config.training.eval_every / self.config.training.iterations
        self.progress = SearchProgress(settings.trials, references=len(settings.references), interval=interval)
        self.references = References(folder, settings, stored, self._writer)
        self.out_of_reach = False  # whether the study failed to be written or read
        trials = stored.trials()
        knowledge = self._knowledge()
        pruner = PRUNERS[settings.pruner](settings.steps, len(knowledge))
        self._memory = MemoryStudy(stored.name, pruner, trials, knowledge)
        known = {trial.user_attrs[REQUEST]: trial.number for trial in trials if REQUEST in trial.user_attrs}
        self._requests = Requests(Inbox(folder), settings, known)
        self._take_up(trials)
        self.take_requests()

    def _knowledge(self) -> list[FrozenTrial]:
        """Return the trials of another search that the sampler begins with."""
        if not self.settings.warm_start:
            return []
        known, keys = load(self.folder), {entry.key for entry in self._ranges}
        return [
            as_trial(params, value, self._ranges, self._bounds)
            for params, value in zip(known.params, known.values, strict=True)
            if params.keys() == keys
            and contains(self._ranges, params, self._bounds)  # a resume may have changed the ranges
        ]

    def _take_up(self, trials: list[FrozenTrial]) -> None:
        if not trials and self._own_setting is not None:
            self._memory.enqueue(self._own_setting)
        self._states = {trial.number: pruning_state(trial) for trial in trials}
        running = [trial.number for trial in trials if trial.state == TrialState.RUNNING]
        self._to_resume = dict.fromkeys(
            running, 0.0
        )  # number to the monotonic second from which on it may be handed out
        self._ended: dict[int, str] = {}
        for trial in trials:
            if trial.state.is_finished():
                self._note_end(
                    trial.number, outcome_of(trial), str(trial.user_attrs.get(ERROR_ATTRIBUTE, "")), _end_of(trial)
                )
            self._note_best(trial.number, self._states[trial.number])
        self._take_missed_reports()

    def _take_missed_reports(self) -> None:
        """Take what a driver that died did not take, in the order in which it was measured, before anything is suggested."""
        missed = [
            (entry.time, number, entry)
            for number in self._to_resume
            for entry in read_reports(self.folder.trial(number), after=self._states[number].step)
        ]
        for _, number, entry in sorted(missed, key=lambda report: report[:2]):
            self._record_report(number, entry)
        self.flush()

    def _note_end(self, number: int, outcome: str, error: str, ended: float | None) -> None:
        """Write into the trial's folder how it ended, and remove what only a trial that goes on would need."""
        self._ended[number] = outcome
        self.progress.outcomes[outcome] += 1
        trial_dir = self.folder.trial(number)
        write_outcome(trial_dir, TrialOutcome(outcome, error, ended))
        (trial_dir / STOP).unlink(missing_ok=True)
        if outcome not in SUCCESSES:
            (trial_dir / LAST).unlink(missing_ok=True)

    @property
    def ended(self) -> list[int]:
        """Return the numbers of the trials that have ended."""
        return sorted(self._ended)

    @property
    def all_tried(self) -> bool:
        """Return whether as many trials as asked for have ended, or were broken by their machines."""
        return len(self._ended) + len(self._broken) >= self.settings.trials

    @property
    def unsettled(self) -> bool:
        """Return whether a trial runs, or waits to be tried again."""
        return bool(self._running or self._to_resume)

    @property
    def all_done(self) -> bool:
        """Return whether trials and references have ended and been evaluated where they have weights, finalists twice."""
        ended = self.ended
        if not self.references.all_done:
            return False
        if len(ended) < self.settings.trials or any(lacks_evaluation(self.folder.trial(n)) for n in ended):
            return False
        return not self.selection().unscored

    def selection(self) -> Selection:
        """Return what the search chooses once every trial has been tried; nothing before, and a comparison never chooses."""
        if self.settings.grid or not self.all_tried:
            return Selection()
        return select(read_trial(self.folder.trial(number), searched={}, tags={}) for number in self.ended)

    @property
    def hopeless(self) -> bool:
        """Return whether the last :attr:`patience` trials that ended since this driver started all failed.

        Failures end before successes: a small search gives up only if nothing has succeeded and nothing running is validated.
        """
        ended, patience = self.progress.ended_here, self.patience
        if self.all_tried or len(ended) < patience or any(outcome not in FAILURES for outcome in ended[-patience:]):
            return False
        works = any(outcome not in FAILURES for outcome in ended) or self.progress.scored & self.progress.running.keys()
        return patience == MOST_IN_A_ROW or not works

    @property
    def patience(self) -> int:
        """Return after how many failures in a row the search gives up."""
        return max(LEAST_IN_A_ROW, min(MOST_IN_A_ROW, self.settings.trials // 2))

    def next_trial(self) -> int | None:
        """Return the number of the next trial to run, its configuration in its folder; None when there is none now."""
        for number in [number for number, due in self._to_resume.items() if due <= time.monotonic()]:
            del self._to_resume[number]
            if self._start(number):
                return number
        while len(self._memory) < self.settings.trials:
            number = self._suggest()
            if self._start(number):
                return number
        return None

    def take_requests(self) -> None:
        """Read what users ask for: trials to come next, which wait for a number or for more --trials, and trials to end."""
        for request in self._requests.look():
            self._requests.answer(request, self._stop_trial(request.values.get("trial")))

    def _stop_trial(self, number: Any) -> str:
        """Have a trial that runs, or waits to be tried again, save and end as pruned; return what has become of it."""
        if number in self._ended:
            return f"trial {number} has ended: {self._ended[number]}"
        if number not in self._running and number not in self._to_resume:
            return f"trial {number} does not run"
        self._states[number] = replace(self._states[number], prune=True)
        self._write_and_wait(self._stored.record_decision, number, self._states[number])
        write_text(self.folder.trial(number) / STOP, "")
        if number in self._to_resume:  # nobody works on it
            del self._to_resume[number]
            self._running.add(number)
            self.finish(number, "pruned")
        return f"trial {number} is stopped"

    def _suggest(self) -> int:
        """Add a trial to both copies of the study: an enqueued one if there is any."""
        number, settings = len(self._memory), self.settings
        request = None if number == 0 and self._own_setting is not None else self._requests.next_enqueued()
        if request is not None:
            self._memory.enqueue(check_enqueued(request.values, settings))
        sampler = sampler_for(
            settings.sampler,
            seed=settings.seed,
            number=number,
            trials=settings.trials,
            keys=[entry.key for entry in self._ranges],
        )

        def ask(handle: Trial) -> None:
            if request is not None:
                handle.set_user_attr(REQUEST, request.name)
            suggest(handle, self._ranges, self._bounds)

        trial = self._memory.suggest(sampler, ask)
        self._states[number] = PruningState()
        self._write_and_wait(self._stored.add, trial)
        if request is not None:
            self._requests.begun(request, number)
        return number

    def _start(self, number: int) -> bool:
        """Write the trial's configuration; a value that no check foresaw fails it here, before it costs anything."""
        self._running.add(number)
        setting = self._setting(number)
        try:
            config = with_network(with_params(self.config, setting), self.folder.network / BEST)
        except ConfigError as error:
            write_yaml(self.folder.trial(number) / CONFIG, nested_with(self.config, setting))  # what was refused
            self.finish(number, "error", str(error))
            return False
        trial_dir = self.folder.trial(number)
        revoke(trial_dir / TRIAL_LEASE)  # who worked on it before does so no more
        for stale in (
            OUTCOME,
            EVALUATION,
            FRESH_VALIDATION,
        ):  # of weights that training will replace, or of an older study
            (trial_dir / stale).unlink(missing_ok=True)
        write_yaml(trial_dir / CONFIG, config.to_dict())
        self.progress.start(number, self._states[number].step / self.settings.steps)
        return True

    def _setting(self, number: int) -> dict[str, Any]:
        return self.settings.grid[number] if self.settings.grid else self._memory.trial(number).params

    def kinds_of_trials(self) -> list[TrialConfig]:
        """Return one configuration for each learner and strategy that is tried."""
        kinds = {str((entry["learner"], entry["strategy"])): entry for entry in self.settings.grid} or {"": {}}
        return [with_network(with_params(self.config, kind), self.folder.network / BEST) for kind in kinds.values()]

    def network_to_train(self) -> TrialConfig | None:
        """Return the network to train before any trial, because some trial's strategy may need it; None if none does."""
        searched = [{entry.key: value} for entry in self._ranges if entry.kind == "choice" for value in entry.values]
        settings = self.settings.grid or [{}, *searched]
        configs = (network_to_train(with_params(self.config, setting)) for setting in settings)
        return next((config for config in configs if config is not None), None)

    def look_at_running(self) -> None:
        """Read where running trials are, for display."""
        for number in list(self.progress.running):
            now = read_now(self.folder.trial(number))
            if now is not None:
                training = self.config.training
                share = now.iteration / training.iterations
                reported = math.ceil(now.iteration / training.eval_every) <= self._states[number].step
                self.progress.running[number] = max(self.progress.running[number], share)
                validates = now.validated and not reported  # where it is is told every few seconds only
                (self.progress.validating.add if validates else self.progress.validating.discard)(number)

    def report(self, number: int) -> bool:
        """Take the validations of a running trial that are new in its folder; return whether to prune it."""
        for entry in read_reports(self.folder.trial(number), after=self._states[number].step):
            self._record_report(number, entry)
            self.progress.running[number] = entry.iteration / self.config.training.iterations
        return self._states[number].prune

    def _record_report(self, number: int, entry: ValidationReport) -> None:
        training = self.config.training
        step = math.ceil(entry.iteration / training.eval_every)
        done = entry.iteration / training.iterations
        before = self._states[number]
        stopped = before.prune and (self.folder.trial(number) / STOP).exists()  # by a user: it may validate once more
        if step <= before.step or (before.prune and not stopped):
            return
        # The latest accuracy and not the best so far: pruners decide as well by it (benchmarks/pruning.py), and the stored
        # values are a curve to look at.
        asked = done <= LAST_PRUNING and not stopped
        prune, notes = self._memory.report(number, entry.accuracy, step, ask_pruner=asked)
        # No pruner ends the method's own setting: what the search gained is measured against it.
        prune = stopped or (prune and not (number == 0 and self._own_setting is not None))
        state = PruningState(step, entry.objective, entry.objective_ci95, prune, notes)
        self._states[number] = state
        self._note_best(number, state)
        self._writer.write(self._stored.record_report, number, state, entry.accuracy)
        if prune:
            self._writer.wait()

    def finish(self, number: int, outcome: str, error: str = "", *, iteration: int = 0) -> None:
        """Take a trial's last validations, then end it in both copies of the study.

        Args:
            number: of the trial.
            outcome: finished, collapsed, diverged, error (its configuration raised one every time) or failed (its machine
                or process broke every time: it has not ended, and the next driver goes on with it); a trial that
                :meth:`report` pruned is pruned whatever this says.
            error: one line.
            iteration: of its last validation, as its process reported; 0 for one that did not tell.
        """
        if number not in self._running:
            return
        if iteration:
            await_report(self.folder.trial(number), iteration, VISIBLE_SECONDS)
        prune = self.report(number)
        self._running.remove(number)
        state = self._states[number]
        if prune:
            outcome, error = "pruned", ON_REQUEST if (self.folder.trial(number) / STOP).exists() else ""
        elif outcome in SUCCESSES and state.step < self.settings.steps:
            outcome, error = "failed", f"its last validation is not in {self.folder.trial(number)}"
        if outcome == "failed":
            self._set_aside(number, error)
        else:
            self._memory.end(number, outcome, state.objective)
            self._write_and_wait(self._stored.end, number, outcome, error, state.objective)
            self._note_end(number, outcome, error, time.time())
        self.progress.running.pop(number, None)
        self.progress.ended_here.append(outcome)

    def _set_aside(self, number: int, error: str) -> None:
        """Leave a trial that its machine broke running in both copies of the study, noted as failed for who looks."""
        self._broken.add(number)
        self._write_and_wait(self._stored.note, number, "failed", error)
        write_outcome(self.folder.trial(number), TrialOutcome("failed", error, time.time(), final=False))
        self.progress.outcomes["failed"] += 1

    def release(self, number: int, *, again_after: float | None = None) -> None:
        """Let a trial go that was interrupted or broke; it stays running in the study.

        Args:
            number: of the trial.
            again_after: seconds after which this driver hands it out again; None leaves it to the next driver.
        """
        if again_after is not None and number in self._running:
            self._to_resume[number] = time.monotonic() + again_after
        self._running.discard(number)
        self.progress.running.pop(number, None)

    def _write_and_wait(self, action: Callable[..., None], *arguments: object) -> None:
        self._writer.write(action, *arguments)
        self._writer.wait()

    def flush(self) -> None:
        """Wait until everything that was decided is written.

        Raises:
            Exception: what the database raised.
        """
        self._writer.wait()

    def close(self) -> None:
        """Write what is still behind, and let the database go.

        Raises:
            Exception: what the database raised.
        """
        try:
            self._writer.write(self._stored.release)
            self._writer.wait()
        finally:
            self._writer.close()
            self._stored.close()

    def _note_best(self, number: int, state: PruningState) -> None:
        if state.objective is None:
            return
        self.progress.scored.add(number)
        best = self.progress.best
        if not self.settings.grid and (best is None or state.objective > best[1]):
            self.progress.best = (number, state.objective, state.ci95)


def _end_of(trial: FrozenTrial) -> float | None:
    """Return when a stored trial ended, in seconds since 1970."""
    return None if trial.datetime_complete is None else trial.datetime_complete.timestamp()
