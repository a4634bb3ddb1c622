import json
from dataclasses import replace

import pytest

from datg.data import catalog
from datg.data.splits import ALL_BASE_EXAMPLES
from datg.errors import ConfigError
from datg.trial import find_checkpoint as module
from datg.trial.data import TrialData
from datg.trial.find_checkpoint import find_checkpoint, novel_classes
from datg.trial.folder import NETWORK, PROGRESS
from datg.trial.records import TrialOutcome, write_outcome
from datg.trial.run import run_trial
from tests.trial.test_run import config_of, dataset_of


def trained(folder, dataset=None, **sections):
    """Best weights of a short trial."""
    data = TrialData.from_dataset(dataset or dataset_of())
    run_trial(config_of(**sections), data, report=lambda progress: None, folder=folder)
    return folder / "best.safetensors"


@pytest.fixture
def stored(monkeypatch):
    """What ``open_dataset`` finds, by name."""
    found = {"random": dataset_of(), "other": replace(dataset_of(), name="other")}
    for place in (catalog, module):
        monkeypatch.setattr(place, "open_dataset", lambda name, root: found[name])
    return found


def test_the_novel_classes_are_those_of_the_split_that_the_weights_were_trained_with(stored, tmp_path):
    path = trained(tmp_path)
    split = dataset_of().split
    swapped = split.model_copy(update={"base": split.novel, "novel": split.base})
    stored["random"] = replace(stored["random"], split=swapped)
    assert list(novel_classes(path, None, shots=None)[1].names) == split.novel
    stored["random"] = replace(stored["random"], table=replace(stored["random"].table, fingerprint="x"))
    with pytest.raises(ConfigError, match="was trained on other data than random holds now"):
        novel_classes(path, None, shots=None)


def test_a_test_data_set_must_be_the_one_of_the_training_unless_it_is_named_again(stored, tmp_path):
    dataset = replace(stored["random"], tested_on=stored["other"])
    path = trained(tmp_path, dataset, evaluation={"test_dataset": "other"})
    assert list(novel_classes(path, None, shots=None)[1].names) == stored["other"].split.novel
    stored["other"] = replace(stored["other"], table=replace(stored["other"].table, fingerprint="changed"))
    with pytest.raises(ConfigError, match="was to be tested on other data than other holds now"):
        novel_classes(path, None, shots=None)
    assert novel_classes(path, None, shots=None, test_dataset="other")[1].fingerprint == "changed"
    assert list(novel_classes(path, None, shots=None, test_dataset="random")[1].names) == stored["random"].split.novel


@pytest.mark.parametrize("place", ["trials/{}", "seed-{}"])
def test_the_best_is_a_finished_training_and_not_one_that_was_pruned_or_the_network_for_clustering(tmp_path, place):
    accuracies = {"2": ("finished", 0.5), "10": ("finished", 0.5), "3": ("pruned", 0.9), "4": ("diverged", 0.8)}
    folders = {number: tmp_path / place.format(number) for number in accuracies}
    trained(tmp_path / NETWORK)
    _say(tmp_path / NETWORK, 0.99)
    for number, (outcome, accuracy) in accuracies.items():
        trained(folders[number])
        _say(folders[number], accuracy)
        if outcome != "finished":
            write_outcome(folders[number], TrialOutcome(outcome))
    assert find_checkpoint(tmp_path).parent == folders["3"], "none has finished: the best so far"
    for number in ("2", "10"):
        write_outcome(folders[number], TrialOutcome("finished"))
    assert find_checkpoint(tmp_path).parent == folders["2"]


def _say(folder, accuracy):
    """Have the last validation of a training say so."""
    *_, last = (folder / PROGRESS).read_text().splitlines()
    (folder / PROGRESS).write_text(json.dumps(json.loads(last) | {"objective": accuracy}) + "\n")


def test_seeds_trained_on_their_validation_examples_are_not_ranked_by_them(tmp_path):
    dataset = dataset_of()
    protocol = dataset.split.protocol + ALL_BASE_EXAMPLES
    everything = replace(dataset, split=dataset.split.model_copy(update={"protocol": protocol}))
    paths = [trained(tmp_path / f"seed-{seed}", everything, seed=seed) for seed in (0, 1)]
    with pytest.raises(ConfigError, match="was trained on its validation examples, so no seed is best"):
        find_checkpoint(tmp_path)
    assert find_checkpoint(tmp_path / "seed-1") == paths[1]
