"""What a search says: one line while it runs, and what to do next when it ends."""

from collections import defaultdict

from datg.display import duration
from datg.records import FAILED, TrialRecord
from datg.search.conduct import DAMAGED, NO_SUCCESS, UNFINISHED, Prepared
from datg.search.driver import Situation
from datg.search.folder import SearchFolder
from datg.search.settings import SearchSettings
from datg.stop import CTRL_C, HOPELESS, RESUMABLE
from datg.tracking.view import Unsent, how_to_look

SHOWN_NUMBERS = 12  # of trials with one cause


def how_to_resume(folder: SearchFolder, settings: SearchSettings) -> str:
    """The command that goes on with a search."""
    launcher = "compare" if settings.grid else "search"
    storage = " --study-storage URL" if settings.external_study else ""
    return f"python launchers/{launcher}.py --resume {folder.name}{storage}"


def causes(records: list[TrialRecord]) -> list[str]:
    """Failures by cause, the most frequent first, a line each."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for record in records:
        if record.state == FAILED:
            found[record.outcome, record.error].append(record.number)
    lines = []
    for (outcome, error), numbers in sorted(found.items(), key=lambda entry: -len(entry[1])):
        listed = ", ".join(map(str, numbers[:SHOWN_NUMBERS])) + (", ..." if len(numbers) > SHOWN_NUMBERS else "")
        lines.append(f"{len(numbers)} x {outcome}: {error or 'no reason was given'} (trial {listed})")
    return lines


def closing_lines(prepared: Prepared, code: int, uri: str, unsent: Unsent | None) -> list[str]:
    """What happened, and what to do next."""
    folder, settings = prepared.folder, prepared.settings
    resume = how_to_resume(folder, settings)
    lines = causes(prepared.records())
    errors = {} if prepared.evaluations is None else prepared.evaluations.errors
    lines += [f"trial {number} not evaluated: {error}" for number, error in sorted(errors.items())]
    if prepared.stop.requested and code in (RESUMABLE, CTRL_C):
        lines.append(f"stopped ({prepared.stop.reason}); go on with: {resume}")
    elif code == HOPELESS and prepared.stop.requested:
        lines.append(f"{prepared.stop.reason}; their causes stand above. Once they are mended, go on with: {resume}")
    elif code == UNFINISHED:
        lines.append(f"some final evaluations failed; try them again with: {resume}")
    elif code == DAMAGED:
        lines.append(
            "best weights of the trials above are damaged: restore them from a copy, or make them again with replay.py."
        )
    elif code == NO_SUCCESS:
        lines.append("no trial succeeded; the causes stand above.")
    elif settings.grid:
        lines.append(f"tables: {folder.comparison('md')} and {folder.comparison('csv').name} beside it")
    else:
        lines.append(f"best configuration: {folder.best}")
        lines.append(f"export: python launchers/export.py {folder.name} --top 3 --out configs")
    lines.append(f"compare in MLflow: {how_to_look(uri)}")
    if unsent is not None:
        lines.append(f"MLflow lacks {unsent}; send the rest with: python launchers/sync_mlflow.py {folder.name}")
    return lines


def describe(situation: Situation) -> str:
    """One line: best so far with its interval, running, ended by outcome, time left."""
    parts = [situation.preparing] if situation.preparing else []
    if situation.best is not None:
        number, objective, ci95 = situation.best
        parts.append(f"best {objective:.4f} ± {ci95:.4f} (trial {number})")
    running = ", ".join(f"{number}: {share:.0%}" for number, share in sorted(situation.running.items()))
    parts.append(f"running {len(situation.running)}" + (f" ({running})" if running else ""))
    parts += [f"{outcome} {count}" for outcome, count in sorted(situation.outcomes.items())]
    parts.append(f"evaluated {situation.evaluated} of {situation.asked}")
    left = situation.seconds_left()
    if left:
        parts.append(f"about {duration(left)} left")
    return "; ".join(parts)
