"""A model applied to a user's files: what was answered, how well it is calibrated, and what could not be read."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datg.data.raw_data import Workplace, listed
from datg.errors import DataError
from datg.inference.examples import Read, Reader, by_class
from datg.inference.model import FewShotModel, Predictions, Support, labels_of
from datg.runtime.progress import ProgressCallback
from datg.trial.accuracies import NORMAL_95

MOST_FOLDS = 50  # of a leave-one-out check; the first examples of larger classes are left out


@dataclass(frozen=True)
class Share:
    """Hold how many of some answers are right, with Wilson's 95 % interval.

    Attributes:
        right: how many.
        of: answers with a known label.
    """

    right: int
    of: int

    @property
    def value(self) -> float:
        """Return the share in [0, 1]."""
        return self.right / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """Return both ends of Wilson's score interval (1927), which holds at 0, at 1 and for few answers, too."""
        n, p, z = self.of, self.value, NORMAL_95
        centre, spread = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
        low, high = ((centre + sign * spread) / (1 + z * z / n) for sign in (-1, 1))
        return max(0.0, low), min(1.0, high)

    def sentence(self) -> str:
        """Return share, interval and numbers."""
        low, high = self.interval
        return f"{self.value:.3f} (95 % interval {low:.3f} to {high:.3f}; {self.right} of {self.of})"


@dataclass(frozen=True)
class Answers:
    """Hold everything that a model said of a user's queries.

    Attributes:
        support: as it was read.
        queries: likewise.
        left_out: of the support set, each example classified by the others; None where classes have one example only.
        remarks: what the user should know.
    """

    predictions: Predictions
    support: Read
    queries: Read
    left_out: Share | None
    remarks: list[str]

    @property
    def refused(self) -> dict[str, str]:
        """Return by what and where it is why an example could not be used."""
        sides = {"support example": self.support, "query": self.queries}
        return {f"{side} {source}": why for side, read in sides.items() for source, why in read.refused.items()}

    @property
    def labelled(self) -> npt.NDArray[np.int64]:
        """Return which queries have a label that is a class of the support set."""
        labels = self.queries.labels or []
        return np.flatnonzero([label in self.predictions.classes for label in labels])

    @property
    def accuracy(self) -> Share | None:
        """Return the share of right answers; None where no query has a label."""
        rows = self.labelled
        if len(rows) == 0:
            return None
        labels, answers = self.queries.labels or [], self.predictions.labels
        return Share(sum(labels[row] == answers[row] for row in rows), len(rows))

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """Return `(N, N)` numbers of queries: rows are labels, columns answers, in the order of the classes."""
        classes = self.predictions.classes
        matrix = np.zeros((len(classes), len(classes)), dtype=np.int64)
        answers = self.predictions.probabilities.argmax(1)
        for row in self.labelled:
            matrix[classes.index((self.queries.labels or [])[row]), answers[row]] += 1
        return matrix

    @property
    def least_certain(self) -> list[int]:
        """Return the places of all queries, the least certain first."""
        order: list[int] = self.predictions.confidence.argsort(kind="stable").tolist()
        return order

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each query."""
        told, labels = self.predictions, self.queries.labels
        predicted, confidence = told.labels, told.confidence
        return [
            {
                "query": source,
                **({} if labels is None else {"label": labels[index]}),
                "predicted": predicted[index],
                "probability": float(confidence[index]),
                **{
                    f"probability of {name}": float(value)
                    for name, value in zip(told.classes, told.probabilities[index], strict=True)
                },
            }
            for index, source in enumerate(self.queries.sources)
        ]


def apply(
    model: FewShotModel,
    support: Path,
    queries: Sequence[Path],
    *,
    label_column: str | None = None,
    counts: str | None = None,
    notify: Callable[[str], None] = lambda text: None,
    progress: ProgressCallback = lambda what, done, total: None,
) -> Answers:
    """Classify the examples in ``queries`` by those in ``support``.

    Args:
        model: what classifies.
        support: a file or folder whose examples have classes.
        queries: a file or folder, or pictures, whose examples may have classes.
        label_column: of cells.
        counts: of cells: which matrix holds them; that of the import by default.
        notify: told what the user should know at once.
        progress: called as ``progress(what, done, total)``.

    Raises:
        DataError: files are missing, of another kind, or too few.
        ConfigError: the number of classes is not the one that the learner was trained for.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Workplace(Path(folder), notify, progress)
        preparation = model.preparation
        if counts is not None:
            preparation = preparation.model_copy(update={"counts": counts})
        reader = Reader(model.shape, preparation, label_column, work)
        found_support = reader.find([support], labelled=True)
        found_queries = reader.find(queries, labelled=False)
        model.check(dict.fromkeys(found_support.names, (None,)), len(found_queries.examples))
        read_support, read_queries = reader.read(found_support, found_queries)
        if len(read_queries.examples) == 0:
            reasons = listed([f"{source} ({why})" for source, why in read_queries.refused.items()])
            raise DataError(f"none of the queries can be used: {reasons}.")
        examples = by_class(read_support)
        predictions = model.classify_prepared(examples, read_queries.examples)
        remarks = _remarks(model, predictions.classes, read_queries)
        left_out = leave_one_out(model, examples, predictions.temperature.value)
        return Answers(predictions, read_support, read_queries, left_out, remarks)


def leave_one_out(model: FewShotModel, support: Support, temperature: float) -> Share | None:
    """Return how many support examples the others classify rightly, one of each class left out at a time.

    A class of one example keeps it. Where all are so, there is nothing to check, and None is returned.
    """
    counts = [len(values) for values in support.values()]
    labels, starts = labels_of(counts), np.concatenate([[0], np.cumsum(counts)[:-1]])
    inputs = model.inputs(np.concatenate(list(support.values())))
    right = asked = 0
    for fold in range(min(MOST_FOLDS, max(counts))):
        queries = np.array([start + fold for start, count in zip(starts, counts, strict=True) if 1 < count > fold])
        if len(queries) == 0 or (model.transductive and len(queries) == 1):
            continue
        rest = np.setdiff1d(np.arange(len(labels)), queries)
        answers = model.probabilities(inputs, rest, labels[rest], queries, temperature).argmax(1)
        right += int((answers == labels[queries]).sum())
        asked += len(queries)
    return Share(right, asked) if asked else None


def _remarks(model: FewShotModel, classes: list[str], queries: Read) -> list[str]:
    remarks = []
    unknown = sorted({label for label in queries.labels or [] if label and label not in classes})
    if unknown:
        remarks.append(f"labels outside SUPPORT's classes are not counted: {listed(unknown)}")
    if model.transductive:
        task = model.config.task
        remarks.append(
            f"{model.config.learner_name} normalises queries together (batch statistics), here in groups of up to "
            f"{task.ways * task.queries}: an answer depends on which queries are asked together"
        )
    return remarks
