"""Runs one trial of a search again and compares: on a CPU it must come out the same to the bit."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from datg.data.catalog import data_root
from datg.errors import ConfigError, TrialDiverged
from datg.search.settings import SearchSettings
from datg.search.state.folder import SearchFolder
from datg.storage.checkpoint import load_checkpoint
from datg.storage.lease import TRIAL_LEASE, read_lease
from datg.trial.config import TrialConfig
from datg.trial.data import TrialData, open_data, provenance_of
from datg.trial.folder import BEST, ValidationReport, read_reports
from datg.trial.records import read_config
from datg.trial.run import StopTrial, run_trial

UNCOMPARED = ("time", "seconds")


@dataclass(frozen=True)
class Replay:
    """Hold what came out.

    Attributes:
        validations: compared.
        differences: a line each; none if everything is the same to the bit.
        remarks: what may explain differences.
    """

    validations: int
    differences: list[str]
    remarks: list[str]


def replay_trial(
    folder: SearchFolder, settings: SearchSettings, number: int, *, root: Path | None, show: Callable[[int, int], None]
) -> Replay:
    """Run trial ``number`` again from its configuration, as far as it went, and compare validations and best weights.

    Args:
        folder: of the search; nothing in it is changed.
        settings: of the search.
        number: of the trial.
        root: where data sets live.
        show: called as ``show(iterations done, iterations in all)``.

    Raises:
        ConfigError: there is no such trial, it has no validation yet, or the data are others.
    """
    trial_dir = folder.trial(number)
    if not trial_dir.is_dir():
        numbers = folder.trial_numbers()
        raise ConfigError(f"{folder.name} has no trial {number}; it has {_listed(numbers)}.")
    before = read_reports(trial_dir)
    if not before:
        raise ConfigError(f"trial {number} of {folder.name} has no validation to compare with; replay another one.")
    config = TrialConfig.from_dict(read_config(trial_dir))
    root = data_root(root, saved=settings.data_root)
    dataset = open_data(config, root)
    if provenance_of(dataset)["fingerprint"] != settings.provenance["fingerprint"]:
        raise ConfigError(
            f"{config.dataset} holds other data now than {folder.name} was run on; import the old data again."
        )
    remarks, device = _match_worker(trial_dir)
    last = before[-1].iteration

    def report(progress: ValidationReport) -> None:
        show(progress.iteration, last)
        if progress.iteration >= last:
            raise StopTrial

    with tempfile.TemporaryDirectory() as temporary:
        again = Path(temporary)
        try:
            run_trial(config, TrialData.from_dataset(dataset), report=report, folder=again, device=device)
            differences = []
        except TrialDiverged as error:
            differences = [str(error)]
        differences += _differences(before, read_reports(again)) + _weights(trial_dir / BEST, again / BEST)
    return Replay(len(before), differences, remarks)


def _listed(numbers: list[int]) -> str:
    return f"{numbers[0]} to {numbers[-1]}" if numbers else "none yet"


def _match_worker(trial_dir: Path) -> tuple[list[str], str]:
    """Set this process up as the trial's worker was; what cannot be equal, and the device."""
    worker = read_lease(trial_dir / TRIAL_LEASE)
    if worker is None or not worker.is_active:
        return [
            f"{trial_dir} does not tell how many threads the trial had; differences in the last bits may come from that"
        ], "cpu"
    torch.set_num_threads(worker.threads)
    remarks = []
    here = torch.backends.cpu.get_cpu_capability()
    if worker.processor != here:
        remarks.append(f"the trial ran with {worker.processor} instructions and this machine has {here}")
    device = worker.device
    if device != "cpu":
        remarks.append(f"the trial ran on {device}, whose sums depend on their order")
        device = device if torch.cuda.is_available() else "cpu"
    return remarks, device


def _differences(before: list[ValidationReport], again: list[ValidationReport]) -> list[str]:
    lines = []
    for old, new in zip(before, again, strict=False):
        for name, value in vars(old).items():
            if name not in UNCOMPARED and value != getattr(new, name):
                lines.append(f"iteration {old.iteration}: {name} was {value} and is {getattr(new, name)} now")
    if len(again) != len(before):
        lines.append(f"there were {len(before)} validations and are {len(again)} now")
    return lines


def _weights(before: Path, again: Path) -> list[str]:
    if not before.exists():
        return [f"{before} is missing"]
    if not again.exists():
        return ["no weights came out"]
    old, new = load_checkpoint(before)[0], load_checkpoint(again)[0]
    other = [name for name in old if name not in new or not torch.equal(old[name], new[name])]
    return [f"best weights: {len(other)} of {len(old)} tensors differ, {other[0]} among them"] if other else []
