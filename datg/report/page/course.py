"""How a search went, and how it was made."""

import time

from datg.config import flatten
from datg.report.page import figures
from datg.report.page.found import Search
from datg.report.page.page import Block, Figure, Table, Text, cell
from datg.runtime.called import called, command, how_to_resume
from datg.runtime.progress import format_duration
from datg.search.export import how_to_train
from datg.storage.lease import TRIAL_LEASE, read_lease
from datg.trial.records import FAILED, TrialRecord


def course_blocks(search: Search) -> list[Block]:
    """Return the best so far, all learning curves, and who computed when."""
    best, one = search.selection.best, [("", search.records)]
    names = [f"trial {record.number}" for record in search.records]
    timed = [
        (_worker(record), str(record.number if not record.reference else record.reference), record)
        for record in [*search.records, *search.references]
        if record.reports
    ]
    none, now = "no trial has ended with a score yet", time.time() if search.running else None
    curves = figures.learning_curves(search.records, names, f"trial {best.number}" if best else "")
    return [
        Figure("Best so far, over trials", figures.best_so_far(one), none, small=True),
        Figure("Best so far, over hours", figures.best_so_far(one, by_hours=True), none, small=True),
        Figure("Validation accuracy as it was, all trials", curves, "no trial has been validated yet"),
        Figure(
            "Who computed when (interruptions are not drawn)",
            figures.timeline(timed, now),
            none,
        ),
    ]


def _worker(record: TrialRecord) -> str:
    lease = read_lease(record.folder / TRIAL_LEASE)
    return "unknown" if lease is None else f"{lease.host}, {lease.device}, process {lease.pid}"


def made_blocks(search: Search) -> list[Block]:
    """Return versions, the command, what it cost, how to go on, and every setting with where it came from."""
    settings = search.settings
    every = [*search.records, *search.references]
    seconds = sum(record.last.seconds for record in every if record.last)
    on_gpu = sum(
        r.last.seconds for r in every if r.last and (w := read_lease(r.folder / TRIAL_LEASE)) and w.device != "cpu"
    )
    space = [
        [key, kind, ", ".join(map(cell, values))]
        for key, entry in settings.space.items()
        for kind, values in entry.items()
    ]
    origins = settings.origins
    values = [
        [key, cell(value), origins.get(key, "default")]
        for key, value in flatten(settings.config.to_dict()).items()
        if key not in settings.space
    ]
    gpu = f", {on_gpu / 3600:.2f} h of them on GPUs" if on_gpu else ""
    failed = sum(record.state == FAILED for record in search.records)
    lines = [f"Trials and references took {format_duration(seconds)} one after the other{gpu}; {failed} trials failed."]
    lines += [
        f"Changed on {change['when']} after {change['trials before']} trials: {'; '.join(change['differences'])}"
        for change in settings.changes
    ]
    versions = ", ".join(f"{name} {version}" for name, version in settings.versions.items())
    return [
        Text([*lines, f"Versions: {versions}."]),
        *([Text([settings.command], "code")] if settings.command else []),
        Text(["To go on:"]),
        Text(_commands(search), "code"),
        Text(["What was searched:"]),
        Table(["setting", "kind", "range"], space),
        Text(["What was not:"]),
        Table(["setting", "value", "from"], values),
    ]


def _commands(search: Search) -> list[str]:
    settings, folder, name = search.settings, search.folder.path, called(search.folder.path)
    comparison = settings.comparison
    resume = how_to_resume(folder, above=comparison, comparison=False, external=settings.external_study)
    return [
        resume if comparison else f"{resume}    # with more --trials it goes on",
        command("export", name, "--top 3 --out configs"),
        how_to_train(f"configs/{search.folder.name}-top1.yaml", settings),
        command("replay", name, search.selection.best.number if search.selection.best else 0),
    ]
