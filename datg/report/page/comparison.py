"""The report of a comparison: its rows, the searches that it begins with, learning curves."""

from datg.config import flatten
from datg.report.page import figures
from datg.report.page.dataset import data_blocks, picture_blocks
from datg.report.page.found import score_cells
from datg.report.page.page import Block, Figure, Section, Table, Text, cell, score, section
from datg.report.page.reproduction import draw_interactive
from datg.report.status import read_status
from datg.search.comparison.forms import describe_spreads, explain_intervals, format_row
from datg.search.comparison.table import compare
from datg.search.comparison.tuning import outcomes
from datg.search.reproduction.curves import figure_of, over_training
from datg.search.reproduction.forms import BANDS
from datg.search.settings import SearchSettings
from datg.search.state.folder import SearchFolder
from datg.search.state.records import RecordReader
from datg.trial.records import TrialRecord


def comparison_sections(folder: SearchFolder, settings: SearchSettings) -> list[Section]:
    """Return the report of a comparison, part by part."""
    records = RecordReader(folder, settings).records()
    return [
        section("What was found", lambda: _rows(folder, settings, records)),
        section("Searches", lambda: _searches(folder, settings)),
        section("Trainings", lambda: _trainings(records)),
        section("Novel classes over training", lambda: _novel_curves(settings, records)),
        section("Data", lambda: data_blocks(settings, None)),
        section("Pictures of the data", lambda: picture_blocks(settings, None)),
        section("How it was made", lambda: _made(settings)),
    ]


def _rows(folder: SearchFolder, settings: SearchSettings, records: list[TrialRecord]) -> list[Block]:
    status = read_status(folder)
    begun = f"{len(records)} of {settings.trials} trainings begun."
    if not records:
        return [Text([begun], "answer")]
    lines = [format_row(row) for row in compare(records)]
    return [
        Text(
            [
                f"Accuracy on novel classes, {settings.config.evaluation.test_tasks} tasks, the same for every row. {begun}"
            ]
        ),
        Table(list(lines[0]), [list(line.values()) for line in lines], sortable=True),
        Text(explain_intervals(settings)),
        *([Text(status.causes, "warning")] if status.causes else []),
    ]


def _searches(folder: SearchFolder, settings: SearchSettings) -> list[Block]:
    found = outcomes(folder, settings)
    if not found:
        return []
    rows = [
        [
            entry.search,
            entry.strategy,
            entry.learner,
            str(entry.trials),
            cell(entry.best),
            score(entry.validation),
            score(entry.fresh_validation),
            score(entry.accuracy),
        ]
        for entry in found
    ]
    validation = "validation (the best of all: optimistic)"
    head = ["search", "strategy", "learner", "trials", "best", validation, "fresh validation", "novel classes"]
    return [Table(head, rows), Text(describe_spreads(found))]


def _trainings(records: list[TrialRecord]) -> list[Block]:
    names = [" ".join(str(value) for value in record.searched.values()) for record in records]
    rows = [
        [
            str(record.number),
            *(cell(record.searched.get(key)) for key in ("strategy", "learner", "seed")),
            record.outcome or "not ended",
            *score_cells(record),
        ]
        for record in records
    ]
    head = ["trial", "strategy", "learner", "seed", "outcome", "validation", "novel classes"]
    curves = figures.learning_curves(records, names)
    return [
        Table(head, rows, sortable=True),
        Figure("Validation accuracy as it was", curves, "no training has been validated yet"),
    ]


def _novel_curves(settings: SearchSettings, records: list[TrialRecord]) -> list[Block]:
    """Return a figure for each learner, if the comparison measures novel classes over training."""
    if not settings.config.evaluation.novel_curve:
        return []
    pairs = list(dict.fromkeys((record.searched["learner"], record.searched["strategy"]) for record in records))
    blocks: list[Block] = [
        Text(["Measured when training has ended, on the weights of every validation; nothing is chosen by it."])
    ]
    for learner in dict.fromkeys(learner for learner, _ in pairs):
        own = [record for record in records if record.searched["learner"] == learner]
        points = {name: over_training(own, name) for other, name in pairs if other == learner}
        figure = figure_of("", learner, "iterations", points, [])
        blocks.append(Figure(f"{learner}; {BANDS}", draw_interactive(figure), "nothing has been evaluated yet"))
    return blocks


def _made(settings: SearchSettings) -> list[Block]:
    versions = ", ".join(f"{name} {version}" for name, version in settings.versions.items())
    rows = [
        [key, cell(value), settings.origins.get(key, "default")]
        for key, value in flatten(settings.config.to_dict()).items()
        if not key.startswith(("strategy.", "learner.")) and key != "seed"
    ]
    return [
        Text([f"Versions: {versions}."]),
        *([Text([settings.command], "code")] if settings.command else []),
        Table(["setting", "value", "from"], rows),
    ]
