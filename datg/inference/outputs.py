"""What a user gets of a model's answers: a CSV file, and a sheet of the least certain queries."""

import csv
from pathlib import Path

from datg.inference.apply import Answers
from datg.inspection.pictures import make_figure, save_figure, shown_picture
from datg.storage.files import replacing

COLUMNS, MOST = 6, 60  # of a sheet
TILE = 1.9  # inches
LONGEST = 30  # characters of a line below a picture
DIGITS = 6  # of a probability


def write_predictions(answers: Answers, path: Path) -> None:
    """Write one row a query: its source, its label if it has one, the answer, and the probability of every class."""
    rows = answers.rows()
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        header = list(rows[0]) if rows else ["query", "predicted", "probability"]
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            writer.writerow([f"{cell:.{DIGITS}f}" if isinstance(cell, float) else cell for cell in row.values()])


def draw_review(answers: Answers, path: Path) -> None:
    """Draw the queries whose answers are least certain, at most :data:`MOST`, with their two most probable classes."""
    shown = answers.least_certain[:MOST]
    rows = -(-len(shown) // COLUMNS)
    figure = make_figure(COLUMNS * TILE, max(1, rows) * (TILE + 0.55))
    grid = figure.subplots(max(1, rows), COLUMNS, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    told = answers.predictions
    for axes, index in zip(grid, shown, strict=False):
        axes.imshow(shown_picture(answers.queries.examples[index]))
        best = told.probabilities[index].argsort()[::-1][:2]
        lines = [Path(answers.queries.sources[index]).name]
        lines += [f"{told.probabilities[index][class_]:.2f} {told.classes[class_]}" for class_ in best]
        if answers.queries.labels and answers.queries.labels[index]:
            lines.append(f"is: {answers.queries.labels[index]}")
        axes.set_title("\n".join(_short(line) for line in lines), fontsize=7, loc="left")
    save_figure(figure, path)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
