"""A model on arrays: the answers of a test, whatever the shape of the task, and what is refused."""

import numpy as np
import pytest
import torch

import datg
from datg.data.episodes import as_network_inputs
from datg.errors import ConfigError, DataError
from datg.inference.model import FewShotModel

PICTURES = (20, 20, 3)


def pictures(number, seed=0, shape=PICTURES):
    return np.random.default_rng(seed).integers(0, 255, (number, *shape), dtype=np.uint8)


def classes(counts, **more):
    return {f"class {index}": pictures(count, index, **more) for index, count in enumerate(counts)}


@pytest.mark.parametrize("learner", ["protonet", "maml"])
def test_it_answers_as_a_test_task_is_answered(network, learner):
    best = network(learner)
    model = FewShotModel([best])
    support, queries = classes([2] * 5), pictures(10, 9)
    told = model.classify(support, queries)
    examples = np.concatenate([np.stack(list(support.values())), queries.reshape(5, 2, *PICTURES)], 1)
    inputs = as_network_inputs(torch.from_numpy(examples.transpose(0, 1, 4, 2, 3).copy()))[None]
    if best.learner.embeds_once:
        inputs = best.learner.backbone(inputs, running=True).flatten(3)
    with torch.no_grad():
        expected = best.learner.eval().predict(inputs, 2)[0].softmax(-1)
    np.testing.assert_allclose(told.probabilities, expected.numpy(), atol=1e-4)
    assert told.labels == [told.classes[index] for index in expected.argmax(1)]
    np.testing.assert_allclose(told.probabilities.sum(1), 1, atol=1e-5)


def test_any_number_of_classes_and_examples_and_any_size_of_picture(network):
    model = FewShotModel([network("protonet")])
    told = model.classify({"a": pictures(1), "b": pictures(7, 1), "c": pictures(2, 2, (31, 17, 3))}, pictures(3, 5))
    assert told.probabilities.shape == (3, 3) and told.classes == ["a", "b", "c"]
    as_stored = model.classify(
        {
            "a": pictures(1).transpose(0, 3, 1, 2),
            "b": pictures(7, 1).transpose(0, 3, 1, 2),
            "c": pictures(2, 2, (31, 17, 3)),
        },
        list(pictures(3, 5)),
    )
    np.testing.assert_array_equal(told.probabilities, as_stored.probabilities)


def test_a_query_of_a_protonet_is_answered_by_itself(network):
    model, support, queries = FewShotModel([network("protonet")]), classes([3, 1]), pictures(5, 9)
    together = model.classify(support, queries).probabilities
    for index in range(5):
        alone = model.classify(support, queries[index : index + 1]).probabilities
        np.testing.assert_allclose(alone[0], together[index], atol=1e-5)


def test_queries_of_batch_statistics_are_normalised_in_groups_as_large_as_in_training(network):
    model = FewShotModel([network("maml")])
    sizes = [len(group) for group in model._groups(160)]
    assert len(sizes) == 3 and sum(sizes) == 160 and max(sizes) <= 75 and max(sizes) - min(sizes) <= 1
    told = model.classify(classes([1, 2, 3, 4, 5]), pictures(160, 9))
    again = model.classify(classes([1, 2, 3, 4, 5]), pictures(160, 9))
    np.testing.assert_array_equal(told.probabilities, again.probabilities)
    assert model.transductive and not FewShotModel([network("protonet")]).transductive


def test_seeds_are_averaged_and_the_temperature_changes_no_answer(network):
    one = FewShotModel([network("protonet")])
    support, queries = classes([3, 1]), pictures(8, 9)
    two = FewShotModel([network("protonet")] * 2)
    np.testing.assert_allclose(
        one.classify(support, queries).probabilities, two.classify(support, queries).probabilities, atol=1e-6
    )
    inputs = one.inputs(np.concatenate([pictures(8, 9)]).transpose(0, 3, 1, 2).copy())
    rows, labels = np.arange(4), np.array([0, 0, 0, 1])
    cold, hot = (one.probabilities(inputs, rows, labels, np.arange(4, 8), value) for value in (0.01, 50.0))
    assert (cold.argmax(1) == hot.argmax(1)).all() and (cold.max(1) >= hot.max(1)).all()


REFUSED = [
    ("protonet", {"a": pictures(2)}, pictures(2), DataError, "at least two classes, got a"),
    ("protonet", {"a": pictures(2), "b": pictures(0)}, pictures(2), DataError, "has none of b"),
    ("protonet", classes([1, 1]), pictures(0), DataError, "at least one example"),
    ("protonet", classes([1, 1]), pictures(2) / 255, DataError, "queries must be pictures of uint8"),
    (
        "protonet",
        {"a": pictures(1, shape=(20, 20, 1)), "b": pictures(1)},
        pictures(2),
        DataError,
        "class a must be pictures",
    ),
    (
        "maml",
        classes([1, 1, 1]),
        pictures(9),
        ConfigError,
        "must have 5 classes, one per output of maml's classifier, got 3",
    ),
    ("maml", classes([1] * 5), pictures(1), DataError, "at least two examples: maml normalises queries together"),
]


@pytest.mark.parametrize(
    ("learner", "support", "queries", "kind", "said"), REFUSED, ids=[entry[4] for entry in REFUSED]
)
def test_what_cannot_be_classified_is_refused_by_name(network, learner, support, queries, kind, said):
    with pytest.raises(kind, match=said):
        FewShotModel([network(learner)]).classify(support, queries)


def test_cells_are_numbers():
    from datg.inference.arrays import as_examples

    cells = np.arange(12.0).reshape(3, 4)
    assert as_examples(cells, (4,), "queries").dtype == np.float32
    with pytest.raises(DataError, match=r"queries must be numbers of the shape \(n, 5\), got float64 \(3, 4\)"):
        as_examples(cells, (5,), "queries")
    with pytest.raises(DataError, match="some are NaN"):
        as_examples(cells * np.nan, (4,), "queries")


def test_it_is_loaded_from_a_trial_and_calibrated_where_the_data_are(trained, data_root, tmp_path):
    model = datg.load_model(trained("protonet"), data_root=data_root, device="cpu")
    told = model.classify(classes([2, 2, 1]), pictures(4, 9))
    assert told.temperature.error is not None and told.temperature.counts == (1, 2, 2)
    without = datg.load_model(trained("protonet"), data_root=tmp_path / "nowhere" / "at all", device="cpu")
    assert without.classify(classes([2, 2, 1]), pictures(4, 9)).temperature.counts  # the built-in one is drawn anew
    with pytest.raises(ConfigError, match="there is no model nothing"):
        datg.load_model("nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"holds no best\.safetensors"):
        datg.load_model(tmp_path / "empty")
