"""Writes the report: gathers what a folder tells, and fills the template."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from datg.storage.files import write_text

Cells = list[str]


@dataclass(frozen=True)
class Table:
    """Hold a table of a report.

    Attributes:
        head: names of columns.
        rows: cells as text.
        marks: of each row: best, tie or nothing; rows with a mark are shaded.
        sortable: whether a click on a column sorts.
    """

    head: Cells
    rows: list[Cells]
    marks: list[str] = field(default_factory=list)
    sortable: bool = False


@dataclass(frozen=True)
class Figure:
    """Hold a figure of a report and what it shows; nothing is drawn where there is nothing to draw.

    Attributes:
        title: one line.
        drawn: the figure; None where ``why_not`` says why there is none.
        small: whether two stand side by side.
    """

    title: str
    drawn: go.Figure | None
    why_not: str = ""
    small: bool = False

    @property
    def data(self) -> str:
        """Return it as JSON that may stand in a script element."""
        assert self.drawn is not None
        return str(self.drawn.to_json()).replace("</", "<\\/")


@dataclass(frozen=True)
class Picture:
    """Hold a WebP picture of a report, as base64."""

    title: str
    webp: str


@dataclass(frozen=True)
class Text:
    """Hold lines of a report.

    Attributes:
        kind: ``answer`` is large; ``warning`` is marked; ``code`` is a command, or several.
    """

    lines: list[str]
    kind: str = "text"


Block = Table | Figure | Picture | Text


@dataclass(frozen=True)
class Section:
    """Hold a part of a report."""

    title: str
    blocks: Sequence[Block]


def section(title: str, make: Callable[[], Sequence[Block]]) -> Section:
    """Return a part of a report; one that cannot be made says so in its place, and the others stand."""
    try:
        return Section(title, make())
    except Exception as error:  # whatever a damaged file, a library or a data set throws: a report hides no other part
        return Section(title, [Text([f"this part could not be made: {type(error).__name__}: {error}"], "warning")])


def write_page(
    path: Path, title: str, subtitle: str, sections: Sequence[Section], *, running: bool, claim: str = ""
) -> None:
    """Write one HTML file that needs no network; ``claim`` says what its choices were made by.

    Raises:
        OSError: it cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("datg.report.page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.tests["block"] = lambda block, name: type(block).__name__ == name
    text = environment.get_template("report.html.j2").render(
        title=title,
        subtitle=subtitle,
        sections=[part for part in sections if part.blocks],
        running=running,
        claim=claim,
        plotly=get_plotlyjs(),
        written=time.strftime("%Y-%m-%d %H:%M:%S %z"),
    )
    write_text(path, text)


def cell(value: Any) -> str:
    """Return a value as a cell: numbers with four significant digits."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def score(value: float | None, ci95: float | None = None) -> str:
    """Return an accuracy with its interval as a cell."""
    if value is None:
        return ""
    return f"{value:.4f}" if ci95 is None else f"{value:.4f} ± {ci95:.4f}"
