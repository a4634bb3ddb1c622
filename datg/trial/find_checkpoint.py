"""From what a user points at to the best weights in it, and to the data they belong to."""

from dataclasses import replace
from pathlib import Path

from datg.data.catalog import data_root, open_dataset, with_test_dataset
from datg.data.class_table import ClassTable
from datg.data.splits import ALL_BASE_EXAMPLES, Split, check_tasks
from datg.errors import ConfigError
from datg.trial.config import TrialConfig
from datg.trial.folder import BEST, NETWORK
from datg.trial.model import load_best
from datg.trial.records import DONE, TrialOutcome, TrialRecord, ranked, read_outcome, read_record, state_of

PLACES = (f"trials/*/{BEST}", f"*/{BEST}")  # of best weights, in a search and in a folder of trainings


def find_checkpoint(run: Path) -> Path:
    """Return the checkpoint itself, the one in a trial's folder, or that of the best trial or seed of a search or final training.

    The best is the finished one with the highest validation accuracy, as in reports and exports; while none has finished, the
    highest so far.

    Raises:
        ConfigError: there is none.
    """
    if run.is_file():
        return run
    if (run / BEST).is_file():
        return run / BEST
    folders = {path.parent for place in PLACES for path in run.glob(place) if path.parent != run / NETWORK}
    in_order = sorted(folders, key=lambda folder: (len(folder.name), folder.name))  # 2 before 10
    trainings = ranked([_record(folder, place) for place, folder in enumerate(in_order)])
    best = [record for record in trainings if record.state == DONE] or trainings
    if not best:
        raise ConfigError(f"{run} holds no {BEST}; give the folder of a trial, of a search or of a final training.")
    split = load_best(best[0].folder / BEST).info.get("split", {})
    if len(best) > 1 and str(split.get("protocol")).endswith(ALL_BASE_EXAMPLES):
        raise ConfigError(
            f"{run} was trained on its validation examples, so no seed is best; give the folder of one seed."
        )
    return best[0].folder / BEST


def _record(folder: Path, number: int) -> TrialRecord:
    noted = read_outcome(folder) or TrialOutcome("")
    return read_record(number, state_of(noted.outcome), noted.outcome, folder, searched={}, tags={})


def novel_classes(
    path: Path, root: Path | None, *, shots: int | None, test_dataset: str | None = None
) -> tuple[TrialConfig, ClassTable]:
    """Return the configuration of a checkpoint and the novel classes that it has not seen.

    Args:
        path: best weights.
        root: where data sets live.
        shots: K; the configuration's by default.
        test_dataset: whose novel classes; by default that of the configuration.

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
    if "split" in info:  # as it was when the weights were trained
        dataset = replace(dataset, split=Split.model_validate(info["split"]))
    dataset = with_test_dataset(dataset, test_dataset or config.evaluation.test_dataset, data_root(root))
    tested_on = info.get("tested on", {}) if test_dataset is None else {}
    if dataset.tested_on is not None and tested_on.get("fingerprint") not in (
        None,
        dataset.tested_on.table.fingerprint,
    ):
        raise ConfigError(
            f"{path} was to be tested on other data than {dataset.tested_on.name} holds now; import the old data again, or name "
            "it with --test-dataset to test on what is there."
        )
    novel = dataset.part("novel")
    wanted = shots or config.task.shots
    check_tasks({"novel": novel.sizes}, ways=config.task.ways, shots=wanted, queries=config.task.queries)
    return config, novel
