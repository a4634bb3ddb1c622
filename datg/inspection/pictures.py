"""Pictures of a data set: contact sheets, generated tasks, and for cells a projection."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA

from datg.data.class_table import ClassTable
from datg.inspection.generated_tasks import GeneratedTask
from datg.storage.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]
GAP = 2  # pixels between pictures
SMALLEST_SIDE = 56  # smaller pictures are shown enlarged
ROWS_OF_A_SHEET = 60
CELLS_OF_A_CLASS = 200  # shown in a projection
DPI = 100


def contact_sheets(table: ClassTable, folder: Path, name: str, *, examples: int, most: int | None = None) -> list[Path]:
    """Draw a row of ``examples`` pictures for each class, evenly spread over it, into ``<name>.png`` or numbered parts.

    Of more than ``most`` classes the first are drawn.
    """
    paths, shown = [], len(table) if most is None else min(most, len(table))
    pages = [range(start, min(start + ROWS_OF_A_SHEET, shown)) for start in range(0, shown, ROWS_OF_A_SHEET)]
    for number, page in enumerate(pages, 1):
        rows = [
            [shown_picture(table.examples[index]) for index in table.rows_of_class(class_, examples)] for class_ in page
        ]
        labels = [f"{table.names[class_]} ({table.counts[class_]})" for class_ in page]
        path = folder / (f"{name}.png" if len(pages) == 1 else f"{name}-{number}.png")
        _draw_grid(rows, labels, path)
        paths.append(path)
    return paths


def task_sheet(tasks: Sequence[GeneratedTask], path: Path) -> None:
    """Draw for every task three rows: T_i, T_j in the order of the pairing, and their mixture at the input."""
    rows, labels = [], []
    for number, task in enumerate(tasks, 1):
        rows += [
            [shown_picture(example) for example in examples] for examples in (task.first, task.second, task.mixture)
        ]
        labels += [
            f"task {number}: T_i of cluster {task.clusters[0]}",
            f"T_j of cluster {task.clusters[1]}",
            f"{task.share:.2f} T_i + {1 - task.share:.2f} T_j",
        ]
    _draw_grid(rows, labels, path)


def projection(parts: dict[str, ClassTable], tasks: Sequence[GeneratedTask], path: Path) -> None:
    """Draw rows of numbers on the first two principal components of the base classes, one panel a part.

    Crosses in the base panel are examples of generated tasks.
    """
    shown = {part: _sample(table) for part, table in parts.items()}
    axes_of = PCA(2, random_state=0).fit(shown["base"][0])
    figure = make_figure(15, 5.5)
    for axes, (part, table) in zip(
        figure.subplots(1, len(parts), sharex=True, sharey=True), parts.items(), strict=True
    ):
        examples, classes = shown[part]
        points = axes_of.transform(examples)
        for class_ in range(len(table)):
            class_points = points[classes == class_]
            axes.scatter(*class_points.T, s=6, label=table.names[class_] if len(table) <= 20 else None)
        if part == "base" and tasks:
            mixed = axes_of.transform(np.concatenate([task.mixture for task in tasks]))
            axes.scatter(*mixed.T, s=40, c="black", marker="x", label="generated")
        axes.set(title=f"{part}: {len(table)} classes", xlabel="first component", ylabel="second component")
        if len(table) <= 20:
            axes.legend(fontsize=6)
    save_figure(figure, path)


def _sample(table: ClassTable) -> tuple[Array, Array]:
    rows = [table.rows_of_class(class_, CELLS_OF_A_CLASS) for class_ in range(len(table))]
    classes = np.repeat(np.arange(len(table)), [len(class_rows) for class_rows in rows])
    return table.examples[np.concatenate(rows)], classes


def shown_picture(example: Array) -> Array:
    """Turn `(3, height, width)` uint8, or floats in [0, 1], into `(height, width, 3)` uint8; enlarge small ones."""
    values = example if example.dtype == np.uint8 else (example.clip(0, 1) * 255).round().astype(np.uint8)
    factor = -(-SMALLEST_SIDE // min(values.shape[1:]))
    return values.transpose(1, 2, 0).repeat(factor, axis=0).repeat(factor, axis=1)


def _draw_grid(rows: list[list[Array]], labels: list[str], path: Path) -> None:
    height, width = rows[0][0].shape[0] + GAP, rows[0][0].shape[1] + GAP
    canvas = np.full((len(rows) * height, max(map(len, rows)) * width, 3), 255, dtype=np.uint8)
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            canvas[y * height : (y + 1) * height - GAP, x * width : (x + 1) * width - GAP] = picture
    figure = make_figure(canvas.shape[1] / DPI + 3.5, canvas.shape[0] / DPI + 0.4)
    axes = figure.subplots()
    axes.imshow(canvas)
    axes.set_xticks([])
    axes.set_yticks([(y + 0.5) * height for y in range(len(rows))], labels, fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    save_figure(figure, path)


def make_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of a size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG; a dollar in a name is a dollar and no formula."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)
