"""Does `datg apply` on raw pictures of novel classes answer as well as the final evaluation says, and how sure is it?

    python launchers/import_data.py dermnet RAW --image-size 42
    python launchers/train.py search_spaces/dermnet.yaml --seeds 2 --set task.shots=5 --set training.iterations=500 \
        --set training.eval_every=100 --set evaluation.validation_tasks=300
    python -m benchmarks.apply_novel runs/dermnet-...-final RAW

For each pick some novel classes are drawn at random, of each some pictures as SUPPORT and others as QUERIES; both are read from
the raw files by lists, as the command reads them. Beside the accuracy over picks stands that of the final evaluation on tasks
of the same shape; the calibration error of all answers tells whether the temperature holds on novel classes.
"""

import csv
import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from datg.cli.console import console, progress_bar
from datg.cli.main import run_command
from datg.data.class_table import ClassTable
from datg.inference.apply import apply
from datg.inference.calibration import Temperature, calibration_error
from datg.inference.load import load_model
from datg.inference.model import Calibration, FewShotModel
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
    files = _kept(raw, dataset.part("novel"))
    loaded = replace(loaded, calibration=_once(loaded))
    models = {f"seed {network.config.seed}": replace(loaded, networks=[network]) for network in loaded.networks}
    models |= {"all seeds": loaded}
    rng, ways = np.random.default_rng(0), loaded.config.task.ways
    accuracies: dict[str, list[float]] = {name: [] for name in models}
    answered: list[tuple[torch.Tensor, torch.Tensor]] = []
    with tempfile.TemporaryDirectory() as folder, progress_bar(console()) as show:
        for pick in range(picks):
            lists = [Path(folder) / name for name in ("support.csv", "queries.csv")]
            _write(
                lists,
                {name: files[name] for name in rng.choice(sorted(files), ways, replace=False)},
                shots,
                queries,
                rng,
            )
            for name, one in models.items():
                answers = apply(one, lists[0], [lists[1]])
                assert answers.accuracy is not None and not answers.refused
                accuracies[name].append(answers.accuracy.value)
            classes = answers.predictions.classes
            truth = torch.tensor([classes.index(label) for label in answers.queries.labels or []])
            answered.append((torch.from_numpy(answers.predictions.probabilities).double(), truth))
            show("picks", pick + 1, picks)
    print(f"{picks} picks of {ways} of {len(files)} novel classes, {shots} shots, {queries} queries, seed 0")
    for name, values in accuracies.items():
        found, path = over_tasks(np.array(values)), model / name.replace(" ", "-") / EVALUATION
        final = f"; final evaluation {load_evaluation(path).mean:.4f}" if path.exists() else ""
        print(f"apply, {name}: accuracy {found.value:.4f} ± {found.ci95:.4f} (95 % over picks){final}")
    temperature = answers.predictions.temperature
    print(temperature.sentence())
    probabilities, truth = (torch.cat(parts) for parts in zip(*answered, strict=True))
    print(f"calibration error of all seeds on novel classes with it: {calibration_error(probabilities, truth):.3f}")


def _once(model: FewShotModel) -> Calibration:
    """Return a calibration that fits the temperature of each shape once, for all seeds together."""
    known: dict[tuple[int, ...], Temperature] = {}

    def find(asked: FewShotModel, counts: list[int]) -> Temperature:
        if tuple(counts) not in known:
            known[tuple(counts)] = model.calibration(model, counts)
        return known[tuple(counts)]

    return find


def _kept(raw: Path, novel: ClassTable) -> dict[str, list[Path]]:
    """Return the pictures of each novel class that the import has kept, one of those that are alike."""
    kept = {}
    for index, name in enumerate(novel.names):
        wanted = novel.digests_of_class(index)
        files: dict[bytes, Path] = {}
        for path in sorted((raw / name).iterdir()):
            digest = hashlib.sha256(path.read_bytes()).digest()
            if digest in wanted:
                files.setdefault(digest, path.absolute())
        kept[name] = list(files.values())
    return kept


def _write(
    lists: Sequence[Path], files: dict[str, list[Path]], shots: int, queries: int, rng: np.random.Generator
) -> None:
    """Write a list of support pictures and one of queries, drawn at random from ``files`` of each class."""
    rows: list[list[tuple[str, str]]] = [[], []]
    for name, paths in files.items():
        chosen = rng.permutation([str(path) for path in paths])[: shots + queries].tolist()
        rows[0] += [(path, name) for path in chosen[:shots]]
        rows[1] += [(path, name) for path in chosen[shots:]]
    for path, lines in zip(lists, rows, strict=True):
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("path", "label"), *lines])


if __name__ == "__main__":
    run_command(apply_novel)
