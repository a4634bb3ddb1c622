"""A model as a folder that stands by itself: weights, temperatures, perhaps a support set. No pickle, no path to anything else.

It lies in the artifacts of an MLflow model; the folder of a final training has a table of temperatures alone.
"""

import json
from dataclasses import replace
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datg.errors import StateError
from datg.inference.model import FewShotModel, Support
from datg.inference.temperatures import Progress, from_table, tabulate
from datg.storage.checkpoint import load_checkpoint, save_checkpoint
from datg.storage.files import write_json
from datg.trial.model import BestWeights, load_best

NETWORK, CALIBRATION, SUPPORT = "network-{}.safetensors", "calibration.json", "support.safetensors"


def write_package(
    folder: Path, networks: list[BestWeights], table: list[dict[str, Any]], support: Support | None
) -> None:
    """Write a model into an empty ``folder``.

    Args:
        folder: made if need be.
        networks: the seeds.
        table: of temperatures, as :func:`~datg.inference.temperatures.tabulate` returns it.
        support: that is used where a request brings none.
    """
    for number, network in enumerate(networks):
        save_checkpoint(folder / NETWORK.format(number), network.learner.state_dict(), network.info)
    write_json(folder / CALIBRATION, {"seeds": [network.config.seed for network in networks], "temperatures": table})
    if support is not None:
        counts = {name: len(examples) for name, examples in support.items()}
        examples = torch.from_numpy(np.concatenate(list(support.values())))
        save_checkpoint(folder / SUPPORT, {"examples": examples}, {"counts": counts})


def is_package(folder: Path) -> bool:
    """Return whether a folder holds a model that :func:`write_package` wrote."""
    return (folder / NETWORK.format(0)).is_file()


def read_networks(folder: Path) -> list[BestWeights]:
    """Read the seeds of a model.

    Raises:
        ConfigError: its weights are damaged or of another version.
    """
    paths = (folder / NETWORK.format(number) for number in count())
    return [load_best(path) for path in takewhile(Path.is_file, paths)]


def read_package(folder: Path, device: torch.device) -> FewShotModel:
    """Read a model without anything beside it: temperatures are looked up.

    Raises:
        ConfigError: its weights are damaged or of another version.
    """
    calibration = from_table(read_calibration(folder))
    return FewShotModel(read_networks(folder), calibration, str(folder), device, read_support(folder))


def with_calibration(model: FewShotModel, folder: Path, root: Path | None, progress: Progress) -> FewShotModel:
    """Return a model with the table of temperatures that stands in ``folder``, made now unless it is of the same networks."""
    known = _read_json(folder / CALIBRATION)
    seeds = [network.config.seed for network in model.networks]
    if known.get("seeds") != seeds or not known.get("temperatures"):
        known = {"seeds": seeds, "temperatures": tabulate(model, root, progress)}
        write_json(folder / CALIBRATION, known)
    return replace(model, calibration=from_table(known["temperatures"]))


def read_calibration(folder: Path) -> list[dict[str, Any]]:
    """Return the table of temperatures in a folder; an empty one where there is none.

    Raises:
        StateError: it is damaged.
    """
    table = _read_json(folder / CALIBRATION).get("temperatures", [])
    if not isinstance(table, list) or not all(isinstance(entry, dict) for entry in table):
        raise StateError(f"{folder / CALIBRATION} holds no table of temperatures; remove it to go on without.")
    return table


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise StateError(f"{path} is damaged ({error}); remove it to go on without.") from error


def read_support(folder: Path) -> Support | None:
    """Return the support set that was saved with a model, if there is one.

    Raises:
        StateError: it is damaged.
    """
    if not (folder / SUPPORT).exists():
        return None
    tensors, info = load_checkpoint(folder / SUPPORT)
    names, counts = zip(*info["counts"].items(), strict=True)
    return dict(zip(names, (part.numpy() for part in tensors["examples"].split(list(counts))), strict=True))
