import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from datg.data.episodes import DeviceTable
from datg.errors import ConfigError
from datg.generation.clustering import cluster_classes
from datg.learners.prediction import embed_all
from datg.runtime.random_streams import derive_seed
from datg.trial.clusters import check_clusters, cluster_base_classes, clusters_of_trial, embedded_features
from datg.trial.data import TrialData
from datg.trial.folder import BEST, CLUSTERS, LAST
from datg.trial.model import build_learner, load_best
from datg.trial.preparation import network_to_train, vanilla_of, with_network
from datg.trial.run import run_trial
from tests.trial.test_run import config_of, dataset_of

CPU = torch.device("cpu")


def datg(**options):
    return config_of(strategy={"name": "datg", **options})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vanilla")
    run_trial(vanilla_of(datg()), TrialData.from_dataset(dataset_of()), report=lambda progress: None, folder=folder)
    return folder / BEST


@pytest.mark.parametrize("source", ["raw", "embedding", "init", "random"])
def test_every_source_gives_clusters_that_hold_tasks_and_depend_on_the_evaluation_seed_alone(source, checkpoint):
    base = dataset_of().part("base")
    config = datg(cluster_features=source, cluster_checkpoint=str(checkpoint) if source == "embedding" else None)
    found = cluster_base_classes(config, base, CPU)
    assert found.source == source and found.number == 2
    assert np.bincount(found.assignment).min() >= 3
    other_training = config.model_copy(update={"seed": 7})
    assert (cluster_base_classes(other_training, base, CPU).assignment == found.assignment).all()


def test_embedded_features_are_class_means_of_embeddings_of_length_one(checkpoint):
    base = dataset_of().part("base")
    learner = load_best(checkpoint).learner
    found = embedded_features(learner, base, CPU)
    with torch.inference_mode():
        classes = embed_all(learner.eval().backbone, DeviceTable.from_table(base))
    for index, (start, count) in enumerate(zip(classes.starts, classes.counts, strict=True)):
        own = classes.examples[start : start + count]
        expected = torch.stack([example / example.norm() for example in own]).mean(0)
        np.testing.assert_allclose(found[index], expected.numpy(), rtol=1e-4, atol=1e-6)


def test_strategies_without_clusters_get_none():
    assert cluster_base_classes(config_of(strategy={"name": "vanilla"}), dataset_of().part("base"), CPU) is None


def test_a_network_that_is_lacking_is_a_protonet_on_real_tasks_with_the_same_backbone():
    config = config_of(learner={"name": "maml"}, strategy={"name": "datg", "cluster_features": "embedding"})
    assert network_to_train(config) is not None and network_to_train(datg()) is None
    plain = vanilla_of(config)
    assert (plain.learner_name, plain.strategy_name, plain.backbone) == ("protonet", "vanilla", config.backbone)
    assert plain.training == config.training


def test_once_trained_it_is_named_in_the_configuration(checkpoint):
    config = with_network(datg(cluster_features="embedding"), checkpoint)
    assert config.strategy.cluster_checkpoint == str(checkpoint) and network_to_train(config) is None
    assert with_network(datg(), checkpoint) == datg()


def write(path, clusters):
    path.write_text(yaml.safe_dump({"clusters": clusters}))
    return datg(cluster_features="file", cluster_file=str(path), clusters=max(2, len(clusters)))


def test_the_users_own_clusters_are_taken_as_they_are(tmp_path):
    base = dataset_of().part("base")
    groups = [list(base.names[::2]), list(base.names[1::2])]
    config = write(tmp_path / "own.yaml", groups)
    check_clusters(config, base)
    assert cluster_base_classes(config, base, CPU).assignment.tolist() == [0, 1] * 4


def test_the_clusters_of_a_trial_can_be_given_to_another(tmp_path):
    data = TrialData.from_dataset(dataset_of())
    run_trial(datg(), data, report=lambda progress: None, folder=tmp_path)
    first = cluster_base_classes(datg(), data.base, CPU)
    assert json.loads((tmp_path / CLUSTERS).read_text())["features"] == "raw"
    again = cluster_base_classes(datg(cluster_features="file", cluster_file=str(tmp_path / CLUSTERS)), data.base, CPU)
    assert (again.assignment == first.assignment).all()


def test_a_trial_that_goes_on_keeps_the_clusters_it_began_with(tmp_path):
    base = dataset_of().part("base")
    config = write(tmp_path / "own.yaml", [list(base.names[:4]), list(base.names[4:])])
    began = clusters_of_trial(config, base, CPU, tmp_path)
    (tmp_path / CLUSTERS).write_text(json.dumps(replace(began, borrowed=((5,), ())).describe()))
    write(tmp_path / "own.yaml", [list(base.names[::2]), list(base.names[1::2])])
    edited = [0, 1] * 4
    assert clusters_of_trial(config, base, CPU, tmp_path).assignment.tolist() == edited, "it has not begun"
    (tmp_path / LAST).touch()
    kept = clusters_of_trial(config, base, CPU, tmp_path)
    assert (kept.assignment == began.assignment).all() and kept.borrowed == ((5,), ())
    assert kept.describe() == json.loads((tmp_path / CLUSTERS).read_text())
    (tmp_path / CLUSTERS).write_text('{"clusters": [')
    assert clusters_of_trial(config, base, CPU, tmp_path).assignment.tolist() == edited


def test_everything_wrong_with_a_file_is_told_at_once(tmp_path):
    base = dataset_of().part("base")
    names = list(base.names)
    config = write(tmp_path / "own.yaml", [[*names[:4], "nobody"], [names[4], names[4]]])
    with pytest.raises(ConfigError) as caught:
        check_clusters(config, base)
    for message in (
        "nobody are no base classes",
        "class 5, class 6, class 7 are missing",
        "class 4 stand twice",
        "cluster 1 has 2",
    ):
        assert message in str(caught.value)
    with pytest.raises(ConfigError, match="does not exist"):
        check_clusters(datg(cluster_features="file", cluster_file="nowhere.yaml"), base)
    wrong = write(tmp_path / "own.yaml", [names[:3], names[3:]])
    with pytest.raises(ConfigError, match="`strategy.clusters` must be 2"):
        many = wrong.strategy.__class__(clusters=3, cluster_features="file", cluster_file=str(tmp_path / "own.yaml"))
        cluster_base_classes(
            wrong.model_copy(update={"strategy": many, "task": wrong.task.model_copy(update={"ways": 2})}), base, CPU
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cluster_features": "file"}, "`strategy.cluster_file` must be given"),
        ({"cluster_file": "x.yaml"}, "`strategy.cluster_file` must be given"),
        ({"cluster_checkpoint": "x"}, "`strategy.cluster_checkpoint` goes with"),
        ({"cluster_features": "colour"}, "`strategy.cluster_features` must be"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ConfigError) as caught:
        datg(**options)
    assert message in str(caught.value)


def test_a_learner_without_running_statistics_cannot_cluster(tmp_path):
    config = config_of(learner={"name": "maml", "inner_steps": 1, "inner_steps_test": 1}, strategy={"name": "vanilla"})
    run_trial(config, TrialData.from_dataset(dataset_of()), report=lambda progress: None, folder=tmp_path)
    clustered = datg(cluster_features="embedding", cluster_checkpoint=str(tmp_path / BEST))
    with pytest.raises(ConfigError, match="must be of a learner that embeds by running statistics"):
        check_clusters(clustered, dataset_of().part("base"))


def test_a_network_that_saw_other_classes_cannot_cluster(checkpoint):
    config = datg(cluster_features="embedding", cluster_checkpoint=str(checkpoint))
    dataset = dataset_of()
    check_clusters(config, dataset.part("base"))
    with pytest.raises(ConfigError, match="must have been trained on base classes of random alone"):
        check_clusters(config, dataset.table.select([*dataset.split.base[1:], dataset.split.novel[0]]))


def test_a_network_that_was_not_trained_clusters_by_its_first_weights():
    base = dataset_of().part("base")
    config = datg(cluster_features="init").model_copy(update={"seed": 7})
    untrained = build_learner(vanilla_of(datg()), base.shape)  # of the evaluation's seed, not of the training's
    expected = cluster_classes(
        base.names,
        embedded_features(untrained, base, CPU),
        clusters=2,
        ways=3,
        source="init",
        seed=derive_seed(0, "clusters"),
    )
    found = cluster_base_classes(config, base, CPU)
    assert (found.assignment == expected.assignment).all()
    np.testing.assert_allclose(found.distances, expected.distances)


def test_with_overlap_three_classes_make_two_clusters_for_two_ways():
    dataset = dataset_of(base=3)
    task = {"ways": 2}
    with pytest.raises(ConfigError, match="3 base classes make no two clusters of 2 classes"):
        check_clusters(config_of(strategy={"name": "datg"}, task=task), dataset.part("base"))
    config = config_of(strategy={"name": "datg", "small_clusters": "overlap"}, task=task)
    check_clusters(config, dataset.part("base"))
    found = cluster_base_classes(config, dataset.part("base"), CPU)
    assert found.cluster_masks().sum(1).tolist() == [2, 2]
    result = run_trial(config, TrialData.from_dataset(dataset), report=lambda progress: None)
    assert result.last.iteration == 6


def test_overlap_goes_with_features_alone():
    with pytest.raises(ConfigError, match="overlap goes with `strategy.cluster_features` raw, embedding or init"):
        datg(small_clusters="overlap", cluster_features="random")
