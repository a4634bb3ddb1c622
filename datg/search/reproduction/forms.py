"""A reproduction as text and files: every table as Markdown, CSV and LaTeX, points of figures as CSV, all of it on one page."""

from dataclasses import dataclass, replace
from typing import Any

from datg.runtime.progress import format_duration
from datg.search.comparison.forms import (
    INTERVALS,
    csv_text,
    describe_tuning,
    format_summary,
    latex_table,
    markdown_table,
    seed_values,
    summary_values,
)
from datg.search.reproduction.curves import ReproducedFigure, reproduce_figure
from datg.search.reproduction.folder import ReproductionResults
from datg.search.reproduction.paper import FIGURES, PROTOCOL, TABLES
from datg.search.reproduction.plan import Unit
from datg.search.reproduction.tables import Claim, ReproducedTable, Row, reproduce_table
from datg.search.settings import SearchSettings
from datg.storage.files import write_text
from datg.storage.lease import TRIAL_LEASE, read_lease

PAGE = "results.md"
DASH = "—"
BANDS = "bands are Student's 95 % intervals over seeds, or over tasks where there is one seed"
VERDICTS = (
    "An ordering is confirmed or refuted if Student's 95 % interval over training seeds excludes 0, and undecided otherwise; "
    "each by itself, without a correction for how many there are. With one seed there is no such interval."
)


@dataclass(frozen=True)
class Reproduced:
    """Hold everything that a reproduction has found so far."""

    results: ReproductionResults
    tables: list[ReproducedTable]
    figures: list[ReproducedFigure]

    @classmethod
    def read(cls, results: ReproductionResults) -> "Reproduced":
        """Make tables and figures from the trainings that have been evaluated."""
        targets = results.reproduction.targets
        tables = [
            found for name in targets if name in TABLES and (found := reproduce_table(TABLES[name], results)).rows
        ]
        figures = [reproduce_figure(name, results) for name in targets if name in FIGURES]
        quick = results.reproduction.quick
        return cls(
            results,
            [replace(found, claims=_judged(found.claims, quick=quick)) for found in tables],
            [replace(figure, claims=_judged(figure.claims, quick=quick)) for figure in figures if figure is not None],
        )

    @property
    def scored(self) -> bool:
        """Return whether there is any accuracy."""
        rows = any(row.ours is not None for found in self.tables for row in found.rows)
        return rows or any(any(figure.lines.values()) for figure in self.figures)

    @property
    def claims(self) -> list[Claim]:
        """Return what became of everything that the paper says."""
        of_tables = [claim for table in self.tables for claim in table.claims]
        return of_tables + [claim for figure in self.figures for claim in figure.claims]


def _judged(claims: list[Claim], *, quick: bool) -> list[Claim]:
    return [replace(claim, quick=quick) for claim in claims]


def format_row(row: Row, *, between: str = " ") -> dict[str, str]:
    """Return a row as a reader wants it, long cells parted by ``between``."""
    paper = DASH if row.paper is None else f"{row.paper:.4f}" + (" (a misprint)" if row.misprinted else "")
    tuned = "" if row.tuned is None else f"{between}({describe_tuning(row.tuned)})"
    return {
        "data": row.column.title,
        "shots": str(row.column.shots),
        "learner": row.learner,
        "strategy": row.strategy + tuned,
        "seeds": str(0 if row.ours is None else row.ours.seeds),
        "ours": format_summary(row.ours, between, signed=False) or DASH,
        "paper": paper,
        "minus paper": DASH if row.difference is None else f"{row.difference:+.4f}",
        "remarks": row.remark,
    }


def without_silent(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return formatted rows without columns that say nothing: equal learners and shots, no remarks, no number of the paper's."""
    silent = {key for key in ("data", "shots", "learner") if len({row[key] for row in rows}) == 1}
    silent |= {key for key in ("paper", "minus paper") if {row[key] for row in rows} == {DASH}}
    silent |= set() if any(row["remarks"] for row in rows) else {"remarks"}
    return [{key: value for key, value in row.items() if key not in silent} for row in rows]


def describe_claim(claim: Claim) -> str:
    """Return what became of a claim in a sentence."""
    found = format_summary(claim.difference, signed=True)
    return f"{claim.verdict}: {claim.text} ({claim.where})" + (f": {found}" if found else "")


def format_claim(claim: Claim) -> dict[str, str]:
    """Return what became of a claim as a reader wants it."""
    return {
        "the paper says": claim.text,
        "on": claim.where,
        "difference": format_summary(claim.difference, signed=True) or DASH,
        "here": claim.verdict,
    }


def row_values(row: Row) -> dict[str, Any]:
    """Return a row as a program wants it."""
    column = row.column
    return {
        "dataset": column.dataset,
        "tested_on": column.tested_on,
        "shots": column.shots,
        "learner": row.learner,
        "strategy": row.strategy,
        "tuned": row.tuned,
        "seeds": 0 if row.ours is None else row.ours.seeds,
        **summary_values("accuracy", row.ours),
        "paper": row.paper,
        "paper_misprinted": row.misprinted,
        "minus_paper": row.difference,
        "remark": row.remark,
    }


def claim_values(claim: Claim) -> dict[str, Any]:
    """Return what became of a claim as a program wants it."""
    where = {"claim": claim.text, "where": claim.where}
    return where | summary_values("difference", claim.difference) | {"verdict": claim.verdict}


def figure_values(figure: ReproducedFigure) -> list[dict[str, Any]]:
    """Return the points of a figure as a program wants them: all seeds together, then each."""
    key = figure.axis.replace(" ", "_")
    together = [
        {"strategy": strategy, key: place, "seed": "all", **summary_values("accuracy", summary)}
        for strategy, line in figure.lines.items()
        for place, summary in line.items()
    ]
    return together + [
        {"strategy": strategy, key: place, "seed": seed, **summary_values("accuracy", None), "accuracy": accuracy}
        for strategy, seeds in figure.seeds.items()
        for seed, line in seeds.items()
        for place, accuracy in line.items()
    ]


def describe_conditions(results: ReproductionResults, units: list[Unit] | None = None) -> list[str]:
    """Return under which conditions comparisons were run, a sentence a line; all of them without ``units``."""
    lines = []
    for unit, settings, _ in results.begun():
        config = settings.config
        if config.base_classes is None and (units is None or unit in units):
            lines.append(
                f"{_describe_data(results, settings)}: {config.backbone_name}, {config.task.ways}-way, preset "
                f"{config.training.preset}, {config.training.iterations} iterations, {config.evaluation.test_tasks} tasks of "
                "novel classes."
            )
    return [*([quick] if (quick := describe_quick(results)) else []), *dict.fromkeys(lines)]


def _describe_data(results: ReproductionResults, settings: SearchSettings) -> str:
    """Return which data a comparison is on, and on how many classes of which split it is tested."""
    split, other = settings.provenance["split"], settings.provenance.get("tested on")
    parts = ("base", "validation", "novel") if other is None else ("base", "validation")
    classes = ", ".join(f"{len(split[part])} {part}" for part in parts)
    shape = " x ".join(map(str, results.reproduction.at_hand[settings.config.dataset].shape))
    told = f"{settings.config.dataset} ({shape}; {classes} classes, split {split['protocol']})"
    if other is None:
        return told
    tested = other["split"]
    return f"{told}, tested on {other['dataset']} ({len(tested['novel'])} novel classes, split {tested['protocol']})"


def describe_quick(results: ReproductionResults) -> str:
    """Return what a quick look leaves out; empty for a reproduction that is none."""
    reproduction = results.reproduction
    if not reproduction.quick:
        return ""
    shares = {
        f"{settings.config.training.iterations} of {reproduction.at_hand[unit.dataset].iterations} iterations on {unit.dataset}"
        for unit, settings, _ in results.begun()
    }
    parts = [*sorted(shares), f"{reproduction.seeds} seeds"]
    return f"A QUICK LOOK, not a result: {', '.join(parts)}."


def describe_effort(results: ReproductionResults) -> str:
    """Return how much was trained, for how long, and on what."""
    reports = [record.last for _, _, records in results.begun() for record in records if record.last is not None]
    seconds = format_duration(sum(report.seconds for report in reports))
    places = [read_lease(record.folder / TRIAL_LEASE) for _, _, records in results.begun() for record in records]
    kinds = sorted({f"{place.device} ({place.processor})" for place in places if place is not None and place.is_active})
    on = f" on {', '.join(kinds)}" if kinds else ""
    return f"{len(reports)} trainings, {seconds} of training and validation one after the other{on}; searches apart."


def write_files(reproduced: Reproduced) -> None:
    """Write all tables and points into the folder of the reproduction, in every form; pictures apart."""
    results = reproduced.results
    place = results.folder.path
    for found in reproduced.tables:
        rows = [format_row(row) for row in found.rows]
        header = [f"{found.table.title}.", *describe_conditions(results, found.units), INTERVALS]
        claims = [format_claim(claim) for claim in found.claims]
        write_text(place / f"{found.table.name}.md", "\n".join(_table_lines(found, header, rows, claims)))
        write_text(place / f"{found.table.name}.tex", latex_table(rows, header))
        write_text(place / f"{found.table.name}.csv", csv_text(row_values(row) for row in found.rows))
    for figure in reproduced.figures:
        if points := figure_values(figure):
            write_text(place / f"{figure.name}.csv", csv_text(points))
    if reproduced.claims:
        write_text(place / "claims.csv", csv_text(claim_values(claim) for claim in reproduced.claims))
    seeds = [
        {
            **unit.model_dump(include={"dataset", "tested_on", "shots", "base_classes"}),
            "tuned": record.searched.get("tuned"),
            **seed_values(record),
        }
        for unit, _, records in results.begun()
        for record in records
    ]
    if seeds:
        write_text(place / "seeds.csv", csv_text(seeds))
    write_text(place / PAGE, "\n".join(_page(reproduced)))


def _table_lines(
    found: ReproducedTable, header: list[str], rows: list[dict[str, str]], claims: list[dict[str, str]]
) -> list[str]:
    lines = [" ".join(header), "", *markdown_table(rows), ""]
    return [*lines, *([VERDICTS, "", *markdown_table(claims), ""] if claims else [])]


def _versions(results: ReproductionResults) -> list[str]:
    """Return the versions that comparisons were made with, each once."""
    told = (
        ", ".join(f"{name} {version}" for name, version in settings.versions.items())
        for _, settings, _ in results.begun()
    )
    return list(dict.fromkeys(told))


def _page(reproduced: Reproduced) -> list[str]:
    """Return everything as one Markdown page."""
    results = reproduced.results
    lines = [f"# {results.folder.name}", ""]
    lines += [f"    {results.reproduction.command}", ""] if results.reproduction.command else []
    lines += [PROTOCOL, "", *(f"- {line}" for line in describe_conditions(results)), f"- {describe_effort(results)}"]
    lines += [*(f"- Versions: {versions}." for versions in _versions(results)), ""]
    quick = describe_quick(results)
    for found in reproduced.tables:
        header = [*([quick] if quick else []), INTERVALS]
        rows, claims = [format_row(row) for row in found.rows], [format_claim(claim) for claim in found.claims]
        lines += [f"## {found.table.title}", "", *_table_lines(found, header, rows, claims)]
    for figure in reproduced.figures:
        lines += [f"## {FIGURES[figure.name]}", "", *([quick, ""] if quick else [])]
        if not any(figure.lines.values()):
            lines += ["Nothing has been evaluated yet.", ""]
            continue
        lines += [
            f"{figure.where}; {BANDS}.",
            "",
            f"![{figure.name}]({figure.name}.png)",
            "",
        ]
        claims = [format_claim(claim) for claim in figure.claims]
        lines += [VERDICTS, "", *markdown_table(claims), ""] if claims else []
    rest = results.reproduction.rest
    return [*lines, *(["## What has not run", "", *(f"- {line}" for line in rest), ""] if rest else [])]


def as_json(reproduced: Reproduced) -> dict[str, Any]:
    """Return everything as a program wants it."""
    return {
        "reproduction": reproduced.results.folder.name,
        "quick": reproduced.results.reproduction.quick,
        "tables": {found.table.name: [row_values(row) for row in found.rows] for found in reproduced.tables},
        "figures": {figure.name: figure_values(figure) for figure in reproduced.figures},
        "claims": [claim_values(claim) for claim in reproduced.claims],
    }
