"""What a search says: one line while it runs, and what to do next when it ends."""

import shlex
from pathlib import Path

from datg.cli.mlflow_runs import how_to_compare
from datg.data.catalog import data_root, data_root_flag
from datg.errors import without_password
from datg.report.selection import describe_selection
from datg.report.status import causes
from datg.runtime.called import called, command, how_to_resume
from datg.runtime.exit_codes import ExitCode
from datg.runtime.progress import format_duration
from datg.search.comparison.forms import describe_spreads, explain_intervals
from datg.search.comparison.tuning import outcomes
from datg.search.session import SearchSession
from datg.search.state.folder import COMPARISON_FORMS
from datg.search.study.progress import SearchProgress
from datg.tracking.sent import Unsent
from datg.tracking.store import tracking_uri
from datg.trial.final_evaluation import ON_FRESH_VALIDATION, ON_NOVEL
from datg.trial.folder import CONFIG
from datg.trial.selection import select


def summary(session: SearchSession, code: int, uri: str, unsent: Unsent | None) -> list[str]:
    """Return what happened, and what to do next, in lines."""
    folder, resume = session.folder, _resume(session)
    lines = causes(session.records())
    errors = {} if session.tasks is None else session.tasks.errors
    lines += [f"{what}: {error}" for what, error in errors.items()]
    if session.stop.requested and code in (ExitCode.RESUMABLE, ExitCode.CTRL_C):
        lines.append(how_it_stopped(session))
    elif code == ExitCode.NO_SUCCESS and session.stop.requested:
        lines.append(f"{session.stop.reason}; the causes are above. Once they are fixed, resume with: {resume}")
    elif code == ExitCode.DAMAGED:
        root = data_root_flag(data_root(saved=session.settings.data_root))
        again = command("train", folder.path / "trials" / "TRIAL" / CONFIG, *root)
        lines.append(
            f"best weights of the trials above are damaged: restore them from a copy, or train a configuration again: {again}"
        )
    elif code == ExitCode.NO_SUCCESS:
        lines.append("no trial succeeded" + ("; the causes are above." if causes(session.records()) else "."))
    else:
        lines += _results(session)
        if code == ExitCode.RESUMABLE:
            lines.append(f"what failed above is not lost; try it again with: {resume}")
    lines.append(f"compare in MLflow: {how_to_compare(folder, session.settings, uri)}")
    if unsent is not None:
        lines.append(f"MLflow lacks {unsent}; send the rest with: {how_to_send(folder.path, uri)}")
    return lines


def how_to_send(folder: Path, uri: str) -> str:
    """Return the command that sends what MLflow lacks of a search to the store ``uri``."""
    named = [] if uri == tracking_uri(None) else ["--tracking-uri", shlex.quote(without_password(uri))]
    return command("sync_mlflow", called(folder), *named)


def how_it_stopped(session: SearchSession) -> str:
    """Return why a search was stopped, and how to go on with it."""
    return f"stopped ({session.stop.reason}); go on with: {_resume(session)}"


def _resume(session: SearchSession) -> str:
    settings = session.settings
    return how_to_resume(
        session.folder.path, above=settings.comparison, comparison=bool(settings.grid), external=settings.external_study
    )


def _results(session: SearchSession) -> list[str]:
    """Return what a search or a comparison has found, and where it stands; nothing before every trial was tried."""
    folder, settings, records = session.folder, session.settings, session.records()
    selection = select(records)
    if selection.best is None or not session.driver.all_tried:
        return []
    if settings.grid:
        tables = [path.name for form in COMPARISON_FORMS if (path := folder.comparison(form)).exists()]
        return [
            *explain_intervals(settings),
            *describe_spreads(outcomes(folder, settings)),
            f"tables: {', '.join(tables)} in {folder.path}",
        ]
    return [
        *describe_selection(selection, records, session.references(), settings),
        f"best configuration: {folder.best}",
        f"export: {command('export', called(folder.path), '--top 3 --out configs')}",
    ]


def status_line(progress: SearchProgress) -> str:
    """Return one line: best so far with its interval, running, ended by outcome, time left."""
    parts = [progress.preparing] if progress.preparing else []
    if progress.best is not None:
        number, objective, ci95 = progress.best
        parts.append(f"best of {len(progress.scored)} {objective:.4f} ± {ci95:.4f} (trial {number})")
    running = ", ".join(
        f"{number}: {share:.0%}{' validating' if number in progress.validating else ''}"
        for number, share in sorted(progress.running.items())
    )
    parts.append(f"running {len(progress.running)}" + (f" ({running})" if running else ""))
    parts += [f"{outcome} {count}" for outcome, count in sorted(progress.outcomes.items())]
    parts.append(f"evaluated {progress.evaluated[ON_NOVEL.part]} of {progress.asked}")
    if progress.references:
        parts.append(f"{progress.references_done} of {progress.references} references done")
    if progress.finalists:
        scored = progress.evaluated[ON_FRESH_VALIDATION.part]
        parts.append(f"{scored} of {progress.finalists} finalists scored on fresh validation tasks")
    left = progress.seconds_left()
    if left:
        parts.append(f"about {format_duration(left)} left")
    return "; ".join(parts)
