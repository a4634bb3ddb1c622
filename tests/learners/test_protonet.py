import pytest
import torch

from datg.data.episodes import DeviceTable, TaskSampler
from datg.learners.distances import squared_distances
from datg.runtime.random_streams import generator
from tests.conftest import learner_of, table_of


def make_protonet(**options):
    return learner_of("protonet", **options)


@pytest.mark.parametrize("shots", [1, 3])
def test_logits_are_minus_the_sum_of_squared_differences_to_the_prototypes(shots):
    embeddings = torch.randn(2, 3, shots + 4, 7, generator=generator(0, "embeddings"), dtype=torch.float64)
    logits = make_protonet().classify(embeddings, shots)
    assert logits.shape == (2, 12, 3)
    for task in range(2):
        prototypes = [embeddings[task, way, :shots].mean(0) for way in range(3)]
        queries = [embeddings[task, way, shots + q] for way in range(3) for q in range(4)]
        expected = torch.stack([torch.stack([-((p - q) ** 2).sum() for p in prototypes]) for q in queries])
        torch.testing.assert_close(logits[task], expected)


def test_squared_distances_are_those_of_cdist():
    left, right = torch.randn(2, 5, 6, dtype=torch.float64), torch.randn(2, 4, 6, dtype=torch.float64)
    torch.testing.assert_close(squared_distances(left, right), torch.cdist(left, right) ** 2)


def test_evaluation_by_running_statistics_embeds_each_example_by_itself():
    learner = make_protonet().eval()
    examples = torch.rand(1, 1, 6, 3, 16, 16, generator=generator(0, "x"))
    together = learner.backbone(examples, running=True)
    alone = torch.cat([learner.backbone(examples[:, :, i : i + 1], running=True) for i in range(6)], dim=2)
    torch.testing.assert_close(together, alone)


def test_evaluation_by_batch_statistics_is_what_training_computes():
    learner = make_protonet(evaluation_statistics="batch")
    examples = torch.rand(2, 3, 5, 3, 16, 16, generator=generator(0, "x"))
    training = learner.classify(learner.encode(examples, 1, 0, 4), 1)
    torch.testing.assert_close(learner.eval().predict(examples, 1), training)


def test_scaled_distances_are_the_plain_ones_over_the_dimension_in_training_and_evaluation():
    plain, scaled = make_protonet(), make_protonet(distance_scale="dimension")
    examples = torch.randn(2, 3, 5, plain.backbone.embedding_size, generator=generator(0, "embeddings"))
    torch.testing.assert_close(scaled.classify(examples, 1) * examples.shape[-1], plain.classify(examples, 1))
    sampler = TaskSampler(DeviceTable.from_table(table_of([9, 12, 8])), ways=3, shots=2, queries=4)
    rows = sampler.draw_numbered(0, 6, seed=0).rows
    with torch.no_grad():
        logits = [learner.eval().predictor(sampler.classes, 2).logits(rows) for learner in (plain, scaled)]
    torch.testing.assert_close(logits[1] * examples.shape[-1], logits[0], rtol=1e-4, atol=1e-4)
