"""A final training from the request to its summary."""

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datg.config import Layers, parse_settings
from datg.data.catalog import Dataset, data_root, open_dataset, with_test_dataset
from datg.data.import_settings import PARTS
from datg.errors import ConfigError, DataError
from datg.evaluation import load_evaluation
from datg.files import read_yaml, write_yaml
from datg.final_evaluation import EVALUATION, choose_device
from datg.final_training import Show, Summary, read_seeds, seed_folder, summarise, train_seeds
from datg.memory import keep_freed_memory
from datg.records import TrialRecord
from datg.search.export import read_export
from datg.search.results import context_tags, score_row
from datg.tracking.view import Parent
from datg.trial import check_trial, provenance_of
from datg.trial_config import PRESETS, TrialConfig

TRAINING = "training.yaml"


@dataclass(frozen=True)
class PreparedTraining:
    """A final training that is ready to run.

    Attributes:
        folder: of its files.
        id: tells this training from others of the same name.
        config: what is trained.
        provenance: where the configuration comes from.
        dataset: on what.
        seeds: training seeds.
        device: where.
    """

    folder: Path
    id: str
    config: TrialConfig
    provenance: dict[str, Any]
    dataset: Dataset
    seeds: list[int]
    device: torch.device

    def run(self, show: Show) -> None:
        """Trains and evaluates what is missing."""
        train_seeds(self.config, self.dataset, self.folder, seeds=self.seeds, device=self.device, show=show)

    def records(self) -> list[TrialRecord]:
        """The seeds begun so far."""
        return read_seeds(self.folder, self.seeds, context_tags(self.config, self.folder.name))

    def rows(self) -> list[dict[str, Any]]:
        """One row a seed."""
        return [{"seed": record.number, **score_row(record)} for record in self.records()]

    def accuracies(self) -> list[Any]:
        """`(tasks,)` test accuracies of every seed that has been evaluated."""
        paths = [seed_folder(self.folder, seed) / EVALUATION for seed in self.seeds]
        return [load_evaluation(path).accuracies for path in paths if path.exists()]

    def summary(self) -> Summary | None:
        """All seeds together, if any has been evaluated."""
        accuracies: list[np.ndarray] = self.accuracies()
        return summarise(accuracies) if accuracies else None

    def parent_run(self) -> Parent:
        """The MLflow run above the seeds."""
        tags = context_tags(self.config, self.folder.name)
        origin = {key: self.provenance.get(key) for key in ("search", "trial", "mlflow run")}
        return Parent(
            id=self.id,
            name=self.folder.name,
            experiment=f"datg/{self.config.dataset}",
            tags={key: value for key, value in tags.items() if key not in ("search", "seed")}
            | {"kind": "final training"},
            params={
                "seeds": len(self.seeds),
                **{f"from {key}": value for key, value in origin.items() if value is not None},
            },
            artifacts=[self.folder / TRAINING],
            runs_file=self.folder / "mlflow.json",
        )


def prepare_training(
    path: Path,
    settings: list[str],
    *,
    seeds: int,
    output: Path,
    root: Path | None,
    device: str | None,
    test_dataset: str | None = None,
    all_base_examples: bool = False,
) -> PreparedTraining:
    """Checks an exported configuration and opens the folder of the training below ``output``.

    With ``all_base_examples`` the examples held out for validation are trained on, too, and the last weights are kept.

    Raises:
        ConfigError: the configuration is not valid, or the folder belongs to another one.
        DataError: the data set is missing, or not the one of the search.
    """
    values, provenance = read_export(path)
    layers = Layers(PRESETS, "training.preset")
    layers.add(values, str(path))
    layers.add(parse_settings(settings), "--set")
    if test_dataset is not None:
        layers.add({"evaluation.test_dataset": test_dataset}, "flag")
    if all_base_examples:
        layers.add({"training.keep": "last"}, "flag")
    try:
        config = TrialConfig.of(layers.nested())
    except ConfigError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error
    dataset = open_dataset(config.dataset, data_root(root))
    dataset = with_test_dataset(dataset, config.evaluation.test_dataset, data_root(root))
    if values.get("dataset") == config.dataset:
        _check_data(path, provenance.get("data") or {}, dataset)
    if all_base_examples:
        dataset = dataset.with_held_out()
    check_trial(config, dataset)
    chosen = choose_device(device)
    task = f"{config.task.ways}way-{config.task.shots}shot"
    folder = output.absolute() / f"{path.stem}-{config.strategy_name}-{config.learner_name}-{task}-final"
    if config.evaluation.test_dataset:
        folder = folder.with_name(f"{folder.name}-on-{config.evaluation.test_dataset}")
    if all_base_examples:
        folder = folder.with_name(f"{folder.name}-all-base-examples")
    known = read_yaml(folder / TRAINING) if (folder / TRAINING).exists() else {}
    identity = str(known.get("id") or uuid.uuid4().hex)
    content = {"id": identity, "config": config.values(), "provenance": {**provenance, "data": provenance_of(dataset)}}
    known_data = (known.get("provenance") or {}).get("data")
    if known and not (config.is_that_of(known.get("config")) and known_data == provenance_of(dataset)):
        raise ConfigError(
            f"{folder} holds the training of another configuration, or on other data; give another --output or rename "
            f"{path.name}."
        )
    try:
        write_yaml(folder / TRAINING, content)
    except OSError as error:
        raise ConfigError(
            f"`--output` {output} cannot be written ({error.strerror}); name a writable folder."
        ) from error
    keep_freed_memory()
    return PreparedTraining(folder, identity, config, provenance, dataset, list(range(seeds)), chosen)


def _check_data(path: Path, expected: dict[str, Any], dataset: Dataset) -> None:
    """Refuses to train a configuration on other data, or another split, than it was found on under the same name."""
    split = expected.get("split") or {}
    changed = [
        what
        for what, old, new in (
            ("other examples", expected.get("fingerprint"), dataset.table.fingerprint),
            *((f"other {part} classes", split.get(part), dataset.split.part(part)) for part in PARTS),
        )
        if old not in (None, new)
    ]
    if changed:
        raise DataError(
            f"{path} was found on other data than {dataset.name} holds now ({', '.join(changed)}); import the old data again, or "
            "remove `provenance.data` to train anyway."
        )
