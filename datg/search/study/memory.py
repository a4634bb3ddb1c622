"""The study in memory, on which samplers and pruners work with public calls only, at memory speed.

It is built from the stored study when a driver starts, and from then on holds what was decided. Its trials have places, which
are not their numbers: results of other searches may come to stand among them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from datg.search.study.outcomes import tell
from datg.search.study.stored import pruning_state


@dataclass(frozen=True)
class _Running:
    """A trial that is under way.

    Attributes:
        trial: Optuna's handle.
        sampled: names of what the sampler noted of it; the rest is the pruner's.
    """

    trial: optuna.Trial
    sampled: frozenset[str]


class MemoryStudy:
    """Suggest values, take validations, prune."""

    def __init__(
        self, name: str, pruner: BasePruner, stored: Iterable[FrozenTrial], knowledge: Iterable[FrozenTrial] = ()
    ) -> None:
        """Build the study from what the database remembers.

        Args:
            name: of the stored study, because Hyperband derives a trial's bracket from it.
            pruner: is asked after a validation.
            stored: its trials, by number.
            knowledge: finished trials of another search, for the sampler; they have no number.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._storage = InMemoryStorage()
        self._study = optuna.create_study(
            study_name=name, storage=self._storage, direction="maximize", pruner=pruner, sampler=RandomSampler()
        )
        self._id = self._storage.get_study_id_from_name(name)
        self._places: list[int] = []  # of the trials, by number
        self._running: dict[int, _Running] = {}
        self._study.add_trials(list(knowledge))
        before = len(self._study.trials)
        for trial in stored:
            self._study.add_trial(_rebuilt(trial))
            self._places.append(before + trial.number)
            if trial.state == TrialState.RUNNING:
                handle = optuna.Trial(self._study, self._id_of(trial.number))
                self._running[trial.number] = _Running(handle, frozenset(trial.system_attrs))

    def __len__(self) -> int:
        """Return how many trials this search has."""
        return len(self._places)

    def _id_of(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, self._places[number])

    def trial(self, number: int) -> FrozenTrial:
        """Return a trial as it stands."""
        return self._storage.get_trial(self._id_of(number))

    def enqueue(self, params: dict[str, Any]) -> None:
        """Make ``params`` the next suggestion."""
        self._study.enqueue_trial(params)

    def suggest(self, sampler: BaseSampler, ask: Callable[[optuna.Trial], object]) -> FrozenTrial:
        """Add a trial, whose values ``ask`` takes from it one by one; its number is the next one."""
        self._study.sampler = sampler
        handle = self._study.ask()
        ask(handle)
        number = len(self._places)
        self._places.append(handle.number)
        trial = self.trial(number)
        self._running[number] = _Running(handle, frozenset(trial.system_attrs))
        return trial

    def report(self, number: int, value: float, step: int, *, ask_pruner: bool) -> tuple[bool, dict[str, Any]]:
        """Add a validation of a running trial, and let the pruner decide on it if ``ask_pruner``.

        Returns:
            Whether to prune the trial, and what the pruner has noted of it so far, by name.
        """
        running = self._running[number]
        running.trial.report(value, step)
        prune = ask_pruner and bool(running.trial.should_prune())  # MedianPruner returns numpy's bool
        attributes = self.trial(number).system_attrs
        return prune, {name: noted for name, noted in attributes.items() if name not in running.sampled}

    def end(self, number: int, outcome: str, objective: float | None) -> None:
        """End a running trial; see :func:`~datg.search.study.outcomes.tell`."""
        tell(self._study, self._running.pop(number).trial, outcome, objective)


def _rebuilt(stored: FrozenTrial) -> FrozenTrial:
    """Return a stored trial as it stood in memory when its last decision was written."""
    noted = pruning_state(stored)
    return create_trial(
        state=stored.state,
        values=stored.values,
        params=stored.params,
        distributions=stored.distributions,
        intermediate_values={s: v for s, v in stored.intermediate_values.items() if s <= noted.step},
        system_attrs={**stored.system_attrs, **noted.notes},
    )
