"""The report of a final training: its seeds, their learning curves, where the configuration comes from."""

from pathlib import Path

from datg.config import flatten
from datg.final_training.run import TRAINING
from datg.final_training.seeds import read_seeds
from datg.report.page import figures
from datg.report.page.found import score_cells
from datg.report.page.made_from import summary_cells, trained
from datg.report.page.page import Block, Figure, Section, Table, Text, cell, section
from datg.storage.files import read_yaml
from datg.trial.records import TrialRecord


def training_sections(folder: Path) -> list[Section]:
    """Return the report of a final training, part by part."""
    content = read_yaml(folder / TRAINING)
    names = (path.name.removeprefix("seed-") for path in folder.glob("seed-*") if path.is_dir())
    records = read_seeds(folder, sorted(int(name) for name in names if name.isdigit()), {})
    return [
        section("What was found", lambda: _answer(folder, records)),
        section("How it went", lambda: _course(records)),
        section("How it was made", lambda: _made(content)),
    ]


def _answer(folder: Path, records: list[TrialRecord]) -> list[Block]:
    rows = [
        [
            str(record.number),
            record.outcome or "not ended",
            *score_cells(record),
        ]
        for record in records
    ]
    errors = [f"seed {record.number} {record.outcome}: {record.error}" for record in records if record.error]
    return [
        Text(["Accuracy on novel classes, all seeds on the same tasks:"]),
        Table(["seeds", "mean", "± over tasks", "± over seeds"], [summary_cells(trained(folder))]),
        Table(["seed", "outcome", "validation", "novel classes"], rows),
        *([Text(errors, "warning")] if errors else []),
    ]


def _course(records: list[TrialRecord]) -> list[Block]:
    curves = figures.learning_curves(records, [f"seed {record.number}" for record in records])
    return [Figure("Validation accuracy as it was", curves, "no seed has been validated yet")]


def _made(content: dict[str, object]) -> list[Block]:
    config, provenance = content.get("config"), content.get("provenance")
    origin = provenance if isinstance(provenance, dict) else {}
    lines = [f"Configuration of trial {origin['trial']} of {origin['search']}."] if origin.get("search") else []
    values = flatten(config) if isinstance(config, dict) else {}
    return [Text(lines), Table(["setting", "value"], [[key, cell(value)] for key, value in values.items()])]
