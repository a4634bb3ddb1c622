"""A final training from the request to its summary."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datg.config import Layers, parse_settings
from datg.data.catalog import Dataset, data_root
from datg.data.import_settings import PARTS
from datg.errors import ConfigError, DataError
from datg.final_training.seeds import read_seeds, seed_folder, train_seeds
from datg.runtime.allocator import keep_freed_memory
from datg.runtime.progress import ProgressCallback
from datg.storage.files import read_yaml, unwritable_output, write_yaml
from datg.trial.accuracies import Summary, load_evaluation, summarise
from datg.trial.config import PRESETS, TrialConfig
from datg.trial.data import open_data, provenance_of
from datg.trial.exported import read_export, seeds_chosen_by, training_seeds
from datg.trial.final_evaluation import choose_device
from datg.trial.folder import EVALUATION
from datg.trial.prepare import check_trial
from datg.trial.records import TrialRecord, context_tags, has_succeeded

TRAINING = "training.yaml"


@dataclass(frozen=True)
class PreparedTraining:
    """Hold a final training that is ready to run.

    Attributes:
        id: tells this training from others of the same name.
        provenance: where the configuration comes from.
    """

    folder: Path
    id: str
    config: TrialConfig
    provenance: dict[str, Any]
    dataset: Dataset
    seeds: list[int]
    device: torch.device

    def run(self, show: ProgressCallback, say: Callable[[str], None] = lambda text: None) -> None:
        """Train and evaluate what is missing; ``show`` is told how far it is, ``say`` of every validation."""
        train_seeds(self.config, self.dataset, self.folder, seeds=self.seeds, device=self.device, show=show, say=say)

    def records(self) -> list[TrialRecord]:
        """Return the seeds begun so far."""
        return read_seeds(self.folder, self.seeds, context_tags(self.config, self.folder.name))

    def accuracies(self) -> list[Any]:
        """Return `(tasks,)` test accuracies of every seed that has succeeded and been evaluated; one that diverged is none."""
        paths = [seed_folder(self.folder, seed) / EVALUATION for seed in self.seeds]
        return [load_evaluation(path).accuracies for path in paths if path.exists() and has_succeeded(path.parent)]

    def summary(self) -> Summary | None:
        """Return all seeds together, if any has been evaluated."""
        accuracies: list[np.ndarray] = self.accuracies()
        return summarise(accuracies) if accuracies else None


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
    """Check an exported configuration and open the folder of the training below ``output``.

    With ``all_base_examples`` the examples held out for validation are trained on, too, and the last weights are kept.

    Raises:
        ConfigError: the configuration is not valid, or the folder belongs to another one.
        DataError: the data set is missing, or not the one of the search.
    """
    values, provenance = read_export(path)
    if "seed" in parse_settings(settings):
        raise ConfigError(
            "`seed` of a final training is not given with --set: --seeds N trains with N seeds of its own."
        )
    layers = Layers(PRESETS, "training.preset")
    layers.add(values, str(path))
    layers.add(parse_settings(settings), "--set")
    if test_dataset is not None:
        layers.add({"evaluation.test_dataset": test_dataset}, "flag")
    if all_base_examples:
        layers.add({"training.keep": "last"}, "flag")
    try:
        config = TrialConfig.from_dict(layers.nested())
    except ConfigError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error
    dataset = open_data(config, data_root(root))
    if values.get("dataset") == config.dataset:
        parts = [part for part in PARTS if part != "base" or values.get("base_classes") == config.base_classes]
        _check_data(path, provenance.get("data") or {}, dataset, parts)
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
    saved = read_yaml(folder / TRAINING) if (folder / TRAINING).exists() else {}
    identity = str(saved.get("id") or uuid.uuid4().hex)
    content = {"id": identity, "config": config.to_dict(), "provenance": {**provenance, "data": provenance_of(dataset)}}
    known_data = (saved.get("provenance") or {}).get("data")
    if saved and not (config.matches(saved.get("config")) and known_data == provenance_of(dataset)):
        raise ConfigError(
            f"{folder} holds the training of another configuration, or on other data; give another --output or rename "
            f"{path.name}."
        )
    try:
        write_yaml(folder / TRAINING, content)
    except OSError as error:
        raise unwritable_output(output, error) from error
    keep_freed_memory()
    return PreparedTraining(
        folder,
        identity,
        config,
        provenance,
        dataset,
        training_seeds(seeds, seeds_chosen_by(values, provenance)),
        chosen,
    )


def _check_data(path: Path, expected: dict[str, Any], dataset: Dataset, parts: list[str]) -> None:
    """Refuse to train a configuration on other data, or other ``parts`` of it, than it was found on under the same name."""
    split = expected.get("split") or {}
    changed = [
        what
        for what, old, new in (
            ("other examples", expected.get("fingerprint"), dataset.table.fingerprint),
            *((f"other {part} classes", split.get(part), dataset.split.part(part)) for part in parts),
        )
        if old not in (None, new)
    ]
    if changed:
        raise DataError(
            f"{path} was found on other data than {dataset.name} holds now ({', '.join(changed)}); import the old data again, or "
            "remove `provenance.data` to train anyway."
        )
