"""What a final training is refused for, and what it may do: other data sets, other splits."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from datg.errors import ConfigError, DataError
from datg.final_training.run import prepare_training
from datg.report.page.made_from import trained
from datg.report.page.write import write_report
from datg.storage.files import write_yaml
from datg.trial import data as trial_data
from datg.trial.accuracies import Evaluation
from datg.trial.data import provenance_of
from datg.trial.exported import training_seeds
from datg.trial.folder import EVALUATION
from datg.trial.records import TrialOutcome, write_outcome
from tests.trial.test_run import config_of, dataset_of


@pytest.mark.parametrize(
    ("chosen_by", "seeds"),
    [({0}, [1, 2, 3]), ({2}, [0, 1, 3]), ({9}, [0, 1, 2]), ({0, 1}, [2, 3, 4]), (set(), [0, 1, 2])],
)
def test_the_seed_that_a_search_chose_by_is_left_out(chosen_by, seeds):
    assert training_seeds(3, chosen_by) == seeds


def test_an_export_of_a_search_leaves_its_seed_out_and_other_files_none(prepare, tmp_path):
    assert prepare().seeds == [1]
    with pytest.raises(ConfigError, match="`seed` of a final training is not given with --set: --seeds N"):
        prepare(settings=["seed=1"], output=tmp_path / "changed")
    write_yaml(tmp_path / "best.yaml", {"config": config_of().to_dict()})
    assert prepare(output=tmp_path / "other").seeds == [0]


@pytest.fixture
def prepare(tmp_path, monkeypatch):
    """Prepares a training of a configuration that was exported from a search on ``random``."""
    exported = dataset_of()
    path = tmp_path / "best.yaml"
    write_yaml(path, {"config": config_of().to_dict(), "provenance": {"search": "s", "data": provenance_of(exported)}})

    def act(dataset=exported, settings=(), **options):
        monkeypatch.setattr(trial_data, "open_dataset", lambda name, root: replace(dataset, name=name))
        return prepare_training(
            path,
            list(settings),
            **{"seeds": 1, "output": tmp_path / "runs", "root": tmp_path, "device": "cpu", **options},
        )

    return act


def with_other_split():
    dataset = dataset_of()
    base, novel = dataset.split.base, dataset.split.novel
    split = dataset.split.model_copy(update={"base": [*base[1:], novel[0]], "novel": [*novel[1:], base[0]]})
    return replace(dataset, split=split)


def test_the_same_data_are_trained_on_and_remarks_do_not_matter(prepare):
    dataset = dataset_of()
    remarked = replace(dataset, split=dataset.split.model_copy(update={"remarks": ["something"]}))
    assert prepare(remarked).dataset.split.base == dataset.split.base


def test_another_split_of_the_same_examples_is_refused(prepare):
    with pytest.raises(DataError, match=r"holds now \(other base classes, other novel classes\); import the old data"):
        prepare(with_other_split())


def test_other_examples_under_the_same_name_are_refused(prepare):
    dataset = dataset_of()
    with pytest.raises(DataError, match=r"holds now \(other examples\)"):
        prepare(replace(dataset, table=replace(dataset.table, fingerprint="another")))


def test_fewer_base_classes_than_in_the_search_are_trained_on(prepare):
    fewer = len(dataset_of().split.base) - 1
    settings = [f"base_classes={fewer}", "strategy.small_clusters=overlap"]
    assert len(prepare(settings=settings).dataset.split.base) == fewer
    with pytest.raises(DataError, match=r"holds now \(other novel classes\); import the old data"):
        prepare(with_other_split(), settings)


def test_a_configuration_may_be_trained_on_another_data_set_that_the_user_names(prepare):
    prepared = prepare(with_other_split(), ["dataset=other"])
    assert prepared.dataset.name == "other" and prepared.config.dataset == "other"


def test_a_folder_goes_on_with_the_same_data_only(prepare):
    first = prepare(with_other_split(), ["dataset=other"])
    assert prepare(with_other_split(), ["dataset=other"]).id == first.id
    with pytest.raises(ConfigError, match="holds the training of another configuration, or on other data"):
        prepare(dataset_of(), ["dataset=other"])


def test_a_seed_that_diverged_does_not_count(prepare):
    prepared = prepare(settings=["evaluation.test_tasks=3"], seeds=3)
    for seed, outcome in zip(prepared.seeds, ("finished", "diverged", "collapsed"), strict=True):
        folder = prepared.folder / f"seed-{seed}"
        folder.mkdir()
        Evaluation(np.full(3, 0.1 * seed, dtype=np.float32)).save(folder / EVALUATION, {})
        write_outcome(folder, TrialOutcome(outcome))
    shutil.copytree(prepared.folder / "seed-1", prepared.folder / "seed-1-copy")
    assert prepared.summary().seeds == trained(prepared.folder).seeds == 2
    assert write_report(prepared.folder.parent, [prepared.folder.name]).exists()


def test_training_on_all_base_examples_needs_held_out_ones(prepare):
    with pytest.raises(DataError, match=r"does not hold out examples of each of its base classes \(protocol file\)"):
        prepare(all_base_examples=True)
