"""A comparison's rows as text, as plain values, and as files: Markdown, LaTeX, and CSV by row and by seed."""

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from datg.search.comparison.table import REFERENCES, Row, compare
from datg.search.comparison.tuning import Outcome, outcomes, spreads
from datg.search.settings import SearchSettings
from datg.search.state.folder import SearchFolder
from datg.storage.files import write_text
from datg.trial.accuracies import Mean, Summary
from datg.trial.records import TrialRecord

INTERVALS = (
    "The first ± is the 95 % interval over tasks, for these very trainings; the second is Student's 95 % interval over training "
    "seeds. Differences are paired by task and by seed."
)
EXPLAIN_SPREADS = (
    "How the outcome of a search spreads when it is repeated with other seeds of sampler and training; ± is Student's 95 % "
    "interval over searches. The rows above are of the first search of each."
)
ONE_SEED = (
    "With one training seed there is no interval over seeds: how much another seed would change a row is not known; --seeds 5 "
    "tells."
)


def explain_intervals(settings: SearchSettings) -> list[str]:
    """Return what a reader must know of the intervals of a comparison's table, a sentence a line."""
    seeds = {setting["seed"] for setting in settings.grid}
    return [INTERVALS, ONE_SEED] if len(seeds) == 1 else [INTERVALS]


def format_row(row: Row, *, between: str = " ") -> dict[str, str]:
    """Return a row as a reader wants it, the two intervals of a cell parted by ``between``."""
    return {
        "learner": row.learner,
        "strategy": row.strategy + ("" if row.tuned is None else f"{between}({describe_tuning(row.tuned)})"),
        "seeds": str(row.seeds),
        "novel accuracy": format_summary(row.score, between, signed=False),
        **{f"minus {name}": format_summary(row.differences.get(name), between, signed=True) for name in REFERENCES},
        "remarks": row.failures,
    }


def format_rows(rows: list[Row]) -> list[dict[str, str]]:
    """Return rows for a terminal: seeds below tasks, without a column that says nothing."""
    lines = [format_row(row, between="\n") for row in rows]
    silent = ["remarks"] if not any(row.failures for row in rows) else []
    silent += ["learner"] if len({row.learner for row in rows}) == 1 else []
    return [{key: value for key, value in line.items() if key not in silent} for line in lines]


def describe_tuning(trials: int) -> str:
    """Return of how many trials a configuration is the best; 0 where a search found none, so that it is the default."""
    return f"best of {trials}" if trials else "default: no trial finished"


def format_summary(summary: Summary | None, between: str = " ", *, signed: bool) -> str:
    """Return a mean with its intervals over tasks and over seeds; empty where there is none."""
    if summary is None:
        return ""
    seeds = "" if summary.seeds_ci95 is None else f"{between}± {summary.seeds_ci95:.4f}"
    return f"{summary.mean:{'+' if signed else ''}.4f} ± {summary.ci95:.4f}{seeds}"


def row_values(row: Row) -> dict[str, Any]:
    """Return a row as a program wants it."""
    values: dict[str, Any] = {
        "learner": row.learner,
        "strategy": row.strategy,
        "tuned": row.tuned,
        "seeds": row.seeds,
        "failures": row.failures,
    }
    spread = None if row.score is None else row.score.spread
    values |= summary_values("accuracy", row.score) | {"spread": spread}
    for name in REFERENCES:
        values |= summary_values(f"minus_{name}", row.differences.get(name))
    return values


def summary_values(key: str, summary: Summary | None) -> dict[str, float | None]:
    """Return a mean with its intervals as a program wants it, under ``key``."""
    if summary is None:
        return {key: None, f"{key}_ci95": None, f"{key}_seeds_ci95": None}
    return {key: summary.mean, f"{key}_ci95": summary.ci95, f"{key}_seeds_ci95": summary.seeds_ci95}


def seed_values(record: TrialRecord) -> dict[str, Any]:
    """Return one seed of a row as a program wants it."""
    last, test = record.last, record.test
    return {
        **{key: record.searched[key] for key in ("learner", "strategy", "seed")},
        "outcome": record.outcome or record.state,
        "best_iteration": None if last is None else last.best_iteration,
        "validation": None if last is None else last.objective,
        "validation_ci95": None if last is None else last.objective_ci95,
        "accuracy": None if test is None else test.accuracy,
        "accuracy_ci95": None if test is None else test.ci95,
    }


def format_spreads(found: list[Outcome]) -> list[dict[str, str]]:
    """Return what repeated searches found, a row for each learner and strategy; nothing without repeats."""
    if len(found) == len({(outcome.learner, outcome.strategy) for outcome in found}):
        return []
    return [
        {
            "learner": spread.learner,
            "strategy": spread.strategy,
            "searches": str(spread.searches),
            "fresh validation of the best": _mean(spread.fresh_validation),
            "its novel accuracy": _mean(spread.accuracy),
        }
        for spread in spreads(found)
    ]


def describe_spreads(found: list[Outcome]) -> list[str]:
    """Return the same in sentences."""
    return [
        f"{row['strategy']} with {row['learner']}, {row['searches']} searches with other seeds (± over searches): fresh "
        f"validation of the best {row['fresh validation of the best']}, its novel accuracy {row['its novel accuracy']}"
        for row in format_spreads(found)
    ]


def _mean(mean: Mean | None) -> str:
    if mean is None:
        return ""
    return f"{mean.value:.4f}" + ("" if mean.ci95 is None else f" ± {mean.ci95:.4f}")


def write_tables(folder: SearchFolder, settings: SearchSettings, records: list[TrialRecord]) -> None:
    """Write the table of a comparison into its folder, in every form."""
    rows = compare(records)
    found = outcomes(folder, settings)
    write_text(folder.comparison("md"), _markdown(folder, settings, rows, found))
    write_text(folder.comparison("tex"), _latex(folder, settings, rows))
    write_text(folder.comparison("csv"), csv_text(row_values(row) for row in rows))
    if found:
        write_text(folder.comparison("searches.csv"), csv_text(asdict(outcome) for outcome in found))
    write_text(folder.comparison("seeds.csv"), csv_text(seed_values(record) for row in rows for record in row.records))


def csv_text(entries: Iterable[dict[str, Any]]) -> str:
    """Return equal mappings, of which there is one at least, as the text of a CSV file."""
    table, lines = io.StringIO(), list(entries)
    writer = csv.DictWriter(table, lines[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return table.getvalue()


def _caption(folder: SearchFolder, settings: SearchSettings) -> str:
    config = settings.config
    task, training = config.task, config.training
    fewer = "" if config.base_classes is None else f", {config.base_classes} base classes"
    other = "" if config.evaluation.test_dataset is None else f" of {config.evaluation.test_dataset}"
    return (
        f"{folder.name}: {config.dataset}{fewer}, {config.backbone_name}, {task.ways}-way {task.shots}-shot, "
        f"preset {training.preset}, {training.iterations} iterations, {config.evaluation.test_tasks} tasks of novel "
        f"classes{other}, the same for every row."
    )


def _markdown(folder: SearchFolder, settings: SearchSettings, rows: list[Row], found: list[Outcome]) -> str:
    text = " ".join([_caption(folder, settings), *explain_intervals(settings)])
    lines = [text, "", *markdown_table([format_row(row) for row in rows])]
    spread = format_spreads(found)
    if spread:
        lines += ["", EXPLAIN_SPREADS, "", *markdown_table(spread)]
    return "\n".join([*lines, ""])


def markdown_table(lines: list[dict[str, str]]) -> list[str]:
    """Return equal mappings, of which there is one at least, as the lines of a Markdown table."""
    table = [lines[0].keys(), ["---"] * len(lines[0]), *(line.values() for line in lines)]
    return [f"| {' | '.join(cells)} |" for cells in table]


def _latex(folder: SearchFolder, settings: SearchSettings, rows: list[Row]) -> str:
    return latex_table([format_row(row) for row in rows], [_caption(folder, settings), *explain_intervals(settings)])


def latex_table(lines: list[dict[str, str]], comments: list[str]) -> str:
    """Return equal mappings, of which there is one at least, as a LaTeX table (booktabs) below comments."""
    head, *body = (
        " & ".join(_escaped(cell) for cell in cells) + r" \\"
        for cells in [list(lines[0]), *(line.values() for line in lines)]
    )
    begin = r"\begin{tabular}{ll" + "r" * (len(lines[0]) - 3) + "l}"
    table = [begin, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*(f"% {line}" for line in comments), *table, ""])


def _escaped(cell: str) -> str:
    return cell.replace("_", r"\_").replace("±", r"$\pm$").replace("—", "---")
