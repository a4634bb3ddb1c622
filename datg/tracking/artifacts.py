"""The learning curve of a trial as a picture."""

from pathlib import Path

from datg.storage.files import replacing
from datg.trial.records import TrialRecord


def draw_learning_curve(record: TrialRecord, path: Path) -> None:
    """Draw losses and validation accuracy with its 95 % interval over iterations to the PNG ``path``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    iterations = [entry.iteration for entry in record.reports]
    accuracy = [entry.accuracy for entry in record.reports]
    low = [entry.accuracy - entry.ci95 for entry in record.reports]
    high = [entry.accuracy + entry.ci95 for entry in record.reports]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for name in record.reports[-1].losses:
        left.plot(iterations, [entry.losses.get(name) for entry in record.reports], label=name, marker=".")
    left.set(xlabel="iteration", title="training loss")
    left.legend()
    right.fill_between(iterations, low, high, alpha=0.3)
    right.plot(iterations, accuracy, marker=".", label="validation, 95 % interval")
    if record.test is not None:
        best = record.reports[-1].best_iteration
        right.errorbar([best], [record.test.accuracy], yerr=[record.test.ci95], fmt="s", label="novel classes")
    right.set(xlabel="iteration", title="accuracy")
    right.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
