"""The figures of a reproduction as PNG files."""

from pathlib import Path

from datg.search.reproduction.curves import ReproducedFigure
from datg.storage.files import replacing
from datg.trial.accuracies import Summary


def draw_reproduced(figure: ReproducedFigure, title: str, path: Path) -> None:
    """Draw a figure with Student's 95 % bands over seeds, and every seed as a thin line, to the PNG ``path``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots()
    for index, (strategy, line) in enumerate(figure.lines.items()):
        colour, places = f"C{index}", list(line)
        means, widths = [summary.mean for summary in line.values()], [band(summary) for summary in line.values()]
        low = [mean - width for mean, width in zip(means, widths, strict=True)]
        high = [mean + width for mean, width in zip(means, widths, strict=True)]
        axes.plot(places, means, marker="os"[index % 2], color=colour, label=strategy)
        axes.fill_between(places, low, high, color=colour, alpha=0.2)
        for seed in figure.seeds[strategy].values():
            axes.plot(list(seed), list(seed.values()), color=colour, linewidth=0.6, alpha=0.6)
    axes.set(xlabel=figure.axis, ylabel="accuracy on novel classes", title=f"{title}\n{figure.where}")
    axes.legend()
    with replacing(path) as temporary:
        canvas.savefig(temporary, format="png", dpi=120)


def band(summary: Summary) -> float:
    """Return the half-width of a point's band: over seeds, or of a single one over tasks."""
    return summary.ci95 if summary.seeds_ci95 is None else summary.seeds_ci95
