"""From what a user points at to the best weights in it, and to the data they belong to."""

from pathlib import Path

from datg.data.catalog import data_root, open_dataset
from datg.data.class_table import ClassTable
from datg.data.splits import Split, check_tasks
from datg.errors import ConfigError
from datg.network import load_best
from datg.records import ranked, read_record
from datg.trial import BEST
from datg.trial_config import TrialConfig


def find_weights(run: Path) -> Path:
    """The checkpoint itself, the one in a trial's folder, or that of the best trial by validation of a search or training.

    Raises:
        ConfigError: there is none.
    """
    if run.is_file():
        return run
    if (run / BEST).is_file():
        return run / BEST
    folders = [path.parent for path in sorted(run.glob(f"*/{BEST}")) + sorted(run.glob(f"trials/*/{BEST}"))]
    best = ranked(
        [read_record(index, "done", "", folder, searched={}, tags={}) for index, folder in enumerate(folders)]
    )
    if not best:
        raise ConfigError(f"{run} holds no {BEST}; give the folder of a trial, of a search or of a final training.")
    return best[0].folder / BEST


def novel_classes(path: Path, root: Path | None, *, shots: int | None) -> tuple[TrialConfig, ClassTable]:
    """The configuration of a checkpoint and the novel classes that it has not seen.

    Raises:
        DataError: the data set is missing or too small for the tasks.
        ConfigError: the data set is not the one that the weights were trained on.
    """
    best = load_best(path)
    config, info = best.config, best.info
    dataset = open_dataset(config.dataset, data_root(root))
    if info["fingerprint"] != dataset.table.fingerprint:
        raise ConfigError(
            f"{path} was trained on other data than {config.dataset} holds now (fingerprint {info['fingerprint'][:16]}, not "
            f"{dataset.table.fingerprint[:16]}); import the old data again."
        )
    split = Split.model_validate(info["split"]) if "split" in info else dataset.split
    counts = dict(zip(dataset.table.names, (int(n) for n in dataset.table.counts), strict=True))
    wanted = shots or config.task.shots
    check_tasks(split, counts, ways=config.task.ways, shots=wanted, queries=config.task.queries, parts=("novel",))
    return config, dataset.table.select(split.novel)
