"""Files of a search's folder that were damaged while nobody drove it: mended where the rest allows it, named in any case.

A trial that was running and has lost its checkpoint begins anew and comes out the same, since it depends on its configuration
alone. An evaluation that cannot be read is made again from the best weights.
"""

from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from datg.checkpoint import check_checkpoint, load_checkpoint
from datg.errors import StateError
from datg.files import write_text, write_yaml
from datg.final_evaluation import EVALUATION
from datg.records import read_test
from datg.search.driver import HEARD
from datg.search.folder import SearchFolder
from datg.trial import BEST, CONFIG, LAST, PROGRESS, progress_lines, read_progress


def mend(folder: SearchFolder, study: optuna.Study) -> list[str]:
    """Looks at every trial's files; returns a line for each that was damaged.

    Raises:
        OSError: something cannot be read or replaced.
    """
    for half_written in folder.path.glob("**/.*.????????"):  # by a process that was killed
        half_written.unlink(missing_ok=True)
    lines = _mend_running(folder.embedding, "the network for clustering", heard=False)
    for trial in study.get_trials(deepcopy=False):
        place, heard = folder.trial(trial.number), bool(trial.user_attrs.get(HEARD, {}).get("step"))
        if trial.state.is_finished():
            lines += _mend_ended(place, trial, heard=heard)
        else:
            lines += _mend_running(place, f"trial {trial.number}", heard=heard)
    return lines


def _mend_running(place: Path, who: str, *, heard: bool) -> list[str]:
    """Without all of its checkpoint a trial begins anew."""
    broken = _broken(place / LAST, needed=heard)
    begun = not broken and (place / LAST).exists() and bool(load_checkpoint(place / LAST)[1]["history"])
    broken += _broken(place / BEST, needed=begun)
    if not broken:
        return []
    for name in (LAST, BEST, PROGRESS):
        (place / name).unlink(missing_ok=True)
    return [f"{text}; {who} begins anew" for text in broken]


def _mend_ended(place: Path, trial: FrozenTrial, *, heard: bool) -> list[str]:
    lines = []
    if (place / EVALUATION).exists() and read_test(place) is None:
        (place / EVALUATION).unlink()
        lines.append(f"{place / EVALUATION} is damaged; it is made again")
    if not (place / EVALUATION).exists():
        broken = _broken(place / BEST, needed=heard)
        lines += [f"{text}; trial {trial.number} cannot be evaluated without it" for text in broken]
    return lines + _mend_progress(place, trial) + _mend_config(place)


def _mend_progress(place: Path, trial: FrozenTrial) -> list[str]:
    """From the last checkpoint, if that is still there."""
    told = len(trial.intermediate_values)
    if len(read_progress(place)) >= told:
        return []
    if (place / LAST).exists() and not _broken(place / LAST, needed=True):
        write_text(place / PROGRESS, progress_lines(load_checkpoint(place / LAST)[1]["history"]))
        return [f"{place / PROGRESS} was damaged; it was made again from {LAST}"]
    return [
        f"{place / PROGRESS} is damaged: it lacks validations of trial {trial.number}; their objectives are in the study, and "
        "launchers/replay.py makes the trial again"
    ]


def _mend_config(place: Path) -> list[str]:
    path = place / CONFIG
    try:
        whole = path.read_text(encoding="utf-8").endswith("\n")
    except (FileNotFoundError, UnicodeDecodeError):
        whole = False
    if whole or _broken(place / BEST, needed=True):
        return []
    write_yaml(path, load_checkpoint(place / BEST)[1]["config"])
    return [f"{path} was damaged; it was made again from {BEST}"]


def _broken(path: Path, *, needed: bool) -> list[str]:
    """What is wrong with a checkpoint, if anything is."""
    if not path.exists():
        return [f"{path} is missing"] if needed else []
    try:
        check_checkpoint(path)
    except StateError:
        return [f"{path} is damaged"]
    return []
