"""Does `datg apply` on raw pictures of novel classes answer as well as the final evaluation says, and how sure is it?

    python launchers/import_data.py dermnet RAW --image-size 42
    python launchers/train.py search_spaces/dermnet.yaml --seeds 2 --set task.shots=5 --set training.iterations=500 \
        --set training.eval_every=100 --set evaluation.validation_tasks=300
    python -m benchmarks.apply_novel runs/dermnet-...-final RAW

For each pick some novel classes are drawn at random, of each some pictures as SUPPORT and others as QUERIES; both are read from
the raw files by lists, as the command reads them. Beside the accuracy over picks stands that of the final evaluation on tasks of the
same shape, and the calibration error of all answers with the temperature and without.
"""

import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from datg.cli.console import console, progress_bar
from datg.cli.main import run_command
from datg.data.raw_data import listed
from datg.inference.apply import apply
from datg.inference.calibration import calibration_error
from datg.inference.load import load_model
from datg.inference.temperatures import validation_of
from datg.trial.accuracies import load_evaluation, over_tasks
from datg.trial.folder import EVALUATION


def apply_novel(
    model: Annotated[Path, typer.Argument(help="Folder of a final training.")],
    raw: Annotated[Path, typer.Argument(help="Folder of class folders that its data set was imported from.")],
    picks: Annotated[int, typer.Option(min=2, help="Random choices of classes and pictures.")] = 100,
    shots: Annotated[int, typer.Option(min=1, help="Support pictures of each class.")] = 5,
    queries: Annotated[int, typer.Option(min=1, help="Queries of each class.")] = 15,
    data_root: Annotated[Path | None, typer.Option(help="Where data sets live.")] = None,
) -> None:
    """Print the accuracy over picks beside that of the final evaluation, and the calibration error before and after."""
    loaded = load_model(model, data_root=data_root)
    dataset = validation_of(loaded, data_root)
    assert not isinstance(dataset, str), dataset
    novel = dataset.part("novel").sizes
    rng = np.random.default_rng(0)
    ways = loaded.config.task.ways
    accuracies, sure, unsure, told = [], [], [], ""
    with tempfile.TemporaryDirectory() as folder, progress_bar(console()) as show:
        for pick in range(picks):
            names = rng.choice(sorted(novel), ways, replace=False).tolist()
            lists = [Path(folder) / name for name in ("support.csv", "queries.csv")]
            _write(lists, raw, names, shots, queries, rng)
            answers = apply(loaded, lists[0], [lists[1]])
            assert answers.accuracy is not None, listed(names)
            accuracies.append(answers.accuracy.value)
            probabilities, temperature = answers.predictions.probabilities, answers.predictions.temperature
            told = temperature.sentence()
            labels = answers.queries.labels or []
            truth = torch.tensor([answers.predictions.classes.index(label) for label in labels])
            sure.append((torch.from_numpy(probabilities), truth))
            # Of one network: the softmax of the logits themselves is that of log p * T.
            sharp = (torch.from_numpy(probabilities).double().log() * temperature.value).softmax(-1)
            unsure.append((sharp, truth))
            show("picks", pick + 1, picks)
    final = [load_evaluation(path).mean for path in sorted(model.glob(f"seed-*/{EVALUATION}"))]
    found = over_tasks(np.array(accuracies))
    print(f"{picks} picks of {ways} of {len(novel)} novel classes, {shots} shots, {queries} queries, seed 0")
    print(
        f"apply: accuracy {found.value:.4f} ± {found.ci95:.4f} (95 % over picks; probabilities of {len(final)} seeds averaged)"
    )
    print(f"final evaluation of each seed: {', '.join(f'{value:.4f}' for value in final)}")
    print(told)
    print(f"calibration error on novel classes {_error(unsure):.3f} -> {_error(sure):.3f}")


def _write(
    lists: Sequence[Path], raw: Path, names: list[str], shots: int, queries: int, rng: np.random.Generator
) -> None:
    rows: list[list[tuple[str, str]]] = [[], []]
    for name in names:
        files = sorted(str(path.absolute()) for path in (raw / name).iterdir())
        chosen = rng.permutation(files)[: shots + queries]
        rows[0] += [(path, name) for path in chosen[:shots]]
        rows[1] += [(path, name) for path in chosen[shots:]]
    for path, lines in zip(lists, rows, strict=True):
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("path", "label"), *lines])


def _error(answers: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Return the calibration error of all answers together."""
    probabilities = torch.cat([part.double() for part, _ in answers])
    return calibration_error(probabilities, torch.cat([truth for _, truth in answers]))


if __name__ == "__main__":
    run_command(apply_novel)
