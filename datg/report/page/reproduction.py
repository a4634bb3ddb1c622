"""The report of a reproduction: the paper's tables and figures as they came out here."""

from functools import partial

import plotly.graph_objects as go

from datg.report.page import figures
from datg.report.page.page import Block, Figure, Section, Table, Text, section, write_page
from datg.report.reproduction_pictures import band, draw_reproduced
from datg.search.comparison.forms import INTERVALS
from datg.search.reproduction.curves import ReproducedFigure
from datg.search.reproduction.folder import Reproduction, ReproductionResults, unit_folder
from datg.search.reproduction.forms import (
    BANDS,
    VERDICTS,
    Reproduced,
    describe_conditions,
    describe_effort,
    describe_quick,
    format_claim,
    format_row,
    write_files,
)
from datg.search.reproduction.paper import FIGURES, PROTOCOL
from datg.search.reproduction.tables import CONFIRMED, NOT_RUN, REFUTED, UNDECIDED, Claim, ReproducedTable
from datg.search.state.folder import SearchFolder


def read_reproduction(folder: SearchFolder) -> Reproduced:
    """Return what a reproduction has found so far.

    Raises:
        StateError: it or one of its comparisons is damaged.
    """
    return Reproduced.read(ReproductionResults(folder, Reproduction.load(folder)))


def write_reproduction_files(reproduced: Reproduced) -> None:
    """Write its tables, points and pictures into its folder.

    Raises:
        OSError: a file cannot be written.
    """
    write_files(reproduced)
    quick = describe_quick(reproduced.results)
    for figure in reproduced.figures:
        if any(figure.lines.values()):
            title = "\n".join([*([quick] if quick else []), FIGURES[figure.name]])
            draw_reproduced(figure, title, reproduced.results.folder.path / f"{figure.name}.png")


def write_page_of(reproduced: Reproduced, *, running: bool) -> None:
    """Write its page into its folder.

    Raises:
        OSError: it cannot be written.
    """
    title = "The paper's tables and figures as they came out here."
    folder, quick = reproduced.results.folder, describe_quick(reproduced.results)
    write_page(
        folder.report, folder.name, f"{quick} {title}" if quick else title, _sections(reproduced), running=running
    )


def _sections(reproduced: Reproduced) -> list[Section]:
    results = reproduced.results
    return [
        section("What the paper says", lambda: _claims(reproduced.claims)),
        *(section(found.table.title, partial(_table, found, results)) for found in reproduced.tables),
        *(section(FIGURES[figure.name], partial(_figure, figure, results)) for figure in reproduced.figures),
        section("What has not run", lambda: [Text(rest)] if (rest := results.reproduction.rest) else []),
        section("How it was made", lambda: _made(results)),
    ]


def _claims(claims: list[Claim]) -> list[Block]:
    verdicts = [claim.verdict for claim in claims]
    counted = [f"{verdicts.count(verdict)} {verdict}" for verdict in (CONFIRMED, REFUTED, UNDECIDED)]
    run = len(claims) - verdicts.count(NOT_RUN)
    answer = f"Of {run} things that the paper says of what was run here: {', '.join(counted)}."
    return [Text([answer], "answer"), Text([VERDICTS])]


def _table(found: ReproducedTable, results: ReproductionResults) -> list[Block]:
    rows = [format_row(row) for row in found.rows]
    quick = describe_quick(results)
    blocks: list[Block] = [Text([quick], "warning")] if quick else []
    blocks += [Table(list(rows[0]), [list(row.values()) for row in rows], sortable=True), Text([INTERVALS])]
    return [*blocks, *_judged(found.claims)]


def _judged(claims: list[Claim]) -> list[Block]:
    rows = [format_claim(claim) for claim in claims]
    return [Table(list(rows[0]), [list(row.values()) for row in rows])] if rows else []


def _figure(figure: ReproducedFigure, results: ReproductionResults) -> list[Block]:
    quick = describe_quick(results)
    blocks: list[Block] = [Text([quick], "warning")] if quick else []
    blocks += [Figure(f"{figure.where}; {BANDS}", draw_interactive(figure), "nothing has been evaluated yet")]
    return [*blocks, *_judged(figure.claims)]


def draw_interactive(figure: ReproducedFigure) -> go.Figure | None:
    """Draw means with error bars, a line a strategy; None before anything has been evaluated."""
    if not any(figure.lines.values()):
        return None
    drawn = go.Figure()
    for index, (strategy, line) in enumerate(figure.lines.items()):
        drawn.add_scatter(
            x=list(line),
            y=[summary.mean for summary in line.values()],
            error_y={"type": "data", "array": [band(summary) for summary in line.values()]},
            mode="lines+markers",
            line={
                "color": figures.COLOURS[index % len(figures.COLOURS)],
                "dash": figures.DASHES[index % len(figures.DASHES)],
            },
            name=strategy,
        )
    return figures.styled(drawn, xaxis_title=figure.axis, yaxis_title="accuracy on novel classes")


def _made(results: ReproductionResults) -> list[Block]:
    reproduction = results.reproduction
    rows = [
        [
            unit_folder(results.folder, unit).name,
            ", ".join(unit.strategies),
            str(unit.tune or ""),
            f"{len(results.records(unit))} of {'?' if (settings := results.settings(unit)) is None else settings.trials}",
        ]
        for unit in reproduction.units
    ]
    return [
        Text([PROTOCOL]),
        Text([*describe_conditions(results), describe_effort(results)]),
        *([Text([reproduction.command], "code")] if reproduction.command else []),
        Table(["comparison", "strategies", "trials of each search", "trainings begun"], rows),
    ]
