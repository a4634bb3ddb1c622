"""Check a search's folder before resuming: rebuild files that other files allow, report the ones that cannot be rebuilt.

A trial that was running and has lost its checkpoint begins anew and comes out the same, since it depends on its configuration
alone. An evaluation that cannot be read is made again from the best weights.
"""

from collections.abc import Iterable
from pathlib import Path

from optuna.trial import FrozenTrial

from datg.errors import ConfigError, StateError
from datg.runtime.called import command
from datg.search.state.folder import SearchFolder
from datg.search.study.stored import pruning_state
from datg.storage.checkpoint import check_checkpoint, load_checkpoint
from datg.storage.files import read_yaml, write_text, write_yaml
from datg.trial.config import TrialConfig
from datg.trial.folder import (
    BEST,
    BEST_VALIDATION,
    CONFIG,
    EVALUATION,
    FRESH_VALIDATION,
    LAST,
    PROGRESS,
    read_reports,
    report_lines,
)
from datg.trial.records import OUTCOME, SUCCESSES, read_outcome, read_score


def repair(folder: SearchFolder, trials: list[FrozenTrial], references: Iterable[str] = ()) -> list[str]:
    """Look at every trial's files, and those of references; return a line for each that was damaged.

    Raises:
        OSError: something cannot be read or replaced.
    """
    for half_written in folder.path.glob("**/.*.????????"):  # by a process that was killed
        half_written.unlink(missing_ok=True)
    lines = _repair_running(folder.network, "the network that is trained first", has_reports=False)
    for trial in trials:
        trial_dir, has_reports = folder.trial(trial.number), pruning_state(trial).step > 0
        if trial.state.is_finished():
            lines += _repair_ended(trial_dir, trial, has_reports=has_reports)
        else:
            lines += _repair_running(trial_dir, f"trial {trial.number}", has_reports=has_reports)
        lines += _check_best_validation(trial_dir, trial.number)
    for name in references:
        lines += _repair_reference(folder.reference(name), f"reference {name}")
    return lines


def _repair_reference(place: Path, who: str) -> list[str]:
    """Have a reference that has lost a part of what it is measured by begin anew: it comes out the same."""
    lines, ended = _repair_evaluations(place), read_outcome(place)
    whole = bool(read_reports(place)) and (place / BEST).exists()
    if ended is not None and ended.outcome in SUCCESSES and not whole and not (place / LAST).exists():
        (place / OUTCOME).unlink()  # as left by who was killed below
    validation = place / BEST_VALIDATION
    if (place / BEST).exists() and read_score(validation) is None:
        (place / BEST).unlink()
    anew = _repair_running(place, who, has_reports=bool(read_reports(place)))
    if anew:
        for name in (OUTCOME, EVALUATION, BEST_VALIDATION):
            (place / name).unlink(missing_ok=True)
    return lines + (anew or _rewrite_reports(place, least=0))


def _check_best_validation(trial_dir: Path, number: int) -> list[str]:
    """Name a trial whose accuracies by validation task are lost; a better validation writes them again."""
    path = trial_dir / BEST_VALIDATION
    if not (trial_dir / BEST).exists() or read_score(path) is not None:
        return []
    path.unlink(missing_ok=True)
    return [f"{path} is damaged or missing; whether trial {number} ties with the best is not known without it"]


def _repair_running(trial_dir: Path, who: str, *, has_reports: bool) -> list[str]:
    """Have a trial that has lost a part of its checkpoint begin anew."""
    broken = _broken(trial_dir / LAST, needed=has_reports)
    begun = not broken and (trial_dir / LAST).exists() and bool(load_checkpoint(trial_dir / LAST)[1]["history"])
    broken += _broken(trial_dir / BEST, needed=begun)
    if not broken:
        return []
    for name in (LAST, BEST, PROGRESS):
        (trial_dir / name).unlink(missing_ok=True)
    return [f"{text}; {who} begins anew" for text in broken]


def _repair_ended(trial_dir: Path, trial: FrozenTrial, *, has_reports: bool) -> list[str]:
    lines = _repair_evaluations(trial_dir)
    if not (trial_dir / EVALUATION).exists():
        broken = _broken(trial_dir / BEST, needed=has_reports)
        lines += [f"{text}; trial {trial.number} cannot be evaluated without it" for text in broken]
    return lines + _repair_reports(trial_dir, trial) + _repair_config(trial_dir)


def _repair_evaluations(folder: Path) -> list[str]:
    lines = []
    for path in (folder / EVALUATION, folder / FRESH_VALIDATION):
        if path.exists() and read_score(path) is None:
            path.unlink()
            lines.append(f"{path} is damaged; it is made again")
    return lines


def _repair_reports(trial_dir: Path, trial: FrozenTrial) -> list[str]:
    """Rebuild validations from the last checkpoint, if that is still there."""
    told = len(trial.intermediate_values)
    if len(read_reports(trial_dir)) >= told:
        return []
    return _rewrite_reports(trial_dir, least=told) or [
        f"{trial_dir / PROGRESS} is damaged: it lacks validations of trial {trial.number}; their objectives are in "
        f"the study, and {command('train', trial_dir / CONFIG)} trains its configuration again"
    ]


def _rewrite_reports(folder: Path, *, least: int) -> list[str]:
    """Write validations as the last checkpoint has them, if it is there and has at least so many and more than the file."""
    if not (folder / LAST).exists() or _broken(folder / LAST, needed=True):
        return []
    history = load_checkpoint(folder / LAST)[1]["history"]
    if len(history) < max(least, len(read_reports(folder)) + 1):
        return []
    write_text(folder / PROGRESS, report_lines(history))
    return [f"{folder / PROGRESS} was damaged; it was made again from {LAST}"]


def _repair_config(trial_dir: Path) -> list[str]:
    path = trial_dir / CONFIG
    if _broken(trial_dir / BEST, needed=True):
        return []
    config = load_checkpoint(trial_dir / BEST)[1]["config"]
    try:
        if TrialConfig.from_dict(config).matches(read_yaml(path)):
            return []
    except ConfigError:
        pass
    write_yaml(path, config)
    return [f"{path} was damaged; it was made again from {BEST}"]


def _broken(path: Path, *, needed: bool) -> list[str]:
    """Return what is wrong with a checkpoint, if anything is."""
    if not path.exists():
        return [f"{path} is missing"] if needed else []
    try:
        check_checkpoint(path)
    except StateError:
        return [f"{path} is damaged"]
    return []
