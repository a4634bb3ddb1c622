import pytest
import torch
from torch.nn.functional import cross_entropy

from datg.data.episodes import DeviceTable, TaskSampler
from datg.learners import LEARNERS
from datg.learners.inner_loop import support_cross_entropy
from datg.learners.prediction import BYTES_A_VALUE, embed_all, shares
from datg.learners.running_statistics import accumulate_running_statistics
from tests.conftest import learner_of, table_of

SHAPES = {"pictures": (3, 20, 17), "cells": (30,)}


def make(name, kind="pictures", shots=2, **options):
    learner = learner_of(name, shape=SHAPES[kind], **options)
    # A selection of a table, not in its order: rows of the table are not rows of what is computed once.
    table = table_of([9, 12, 8, 20, 10], SHAPES[kind])
    sampler = TaskSampler(
        DeviceTable.from_table(table.select([table.names[i] for i in (3, 0, 4, 2)])), ways=3, shots=shots, queries=4
    )
    accumulate_running_statistics(learner, sampler, seed=0, tasks=5)
    with torch.no_grad():
        for block in learner.backbone.blocks:
            block.norm.weight.uniform_(-1, 1)  # some channels fall
            block.norm.bias.uniform_(-1, 1)
    learner.eval()
    return learner, sampler, sampler.draw_numbered(0, 6, seed=0).rows


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("shots", [1, 3])
@pytest.mark.parametrize("name", LEARNERS)
def test_what_is_computed_once_gives_the_logits_of_every_task_by_itself(name, shots, kind):
    learner, sampler, rows = make(name, kind, shots)
    with torch.no_grad():
        found = learner.predictor(sampler.classes, shots).logits(rows)
        for task in range(len(rows)):
            examples = sampler.classes.gather(rows[task : task + 1])
            if learner.embeds_once:
                examples = learner.backbone(examples, running=True).flatten(3)
            torch.testing.assert_close(found[task : task + 1], learner.predict(examples, shots), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "limit"),
    [("protonet", "protonet.MOST_BYTES_OF_PRODUCTS"), ("maml", "inner_loop.MOST_PRECOMPUTED_BYTES")],
)
def test_where_memory_would_not_do_the_logits_are_the_same(name, limit, monkeypatch):
    learner, sampler, rows = make(name)
    with torch.no_grad():
        expected = learner.predictor(sampler.classes, 2).logits(rows)
        monkeypatch.setattr(f"datg.learners.{limit}", 100)
        found = learner.predictor(sampler.classes, 2).logits(rows)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_blocks_of_examples_do_not_matter(monkeypatch):
    learner, sampler, rows = make("maml")
    with torch.no_grad():
        expected = learner.predictor(sampler.classes, 2).logits(rows)
        monkeypatch.setattr("datg.learners.prediction.BYTES_AT_ONCE", 20 * 3 * 20 * 17 * BYTES_A_VALUE)
        found = learner.predictor(sampler.classes, 2)
        torch.testing.assert_close(found.logits(rows), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", SHAPES)
def test_a_block_that_was_begun_and_finished_has_done_what_it_does(kind):
    learner, sampler, rows = make("maml", kind)
    backbone = learner.backbone
    with torch.no_grad():
        precomputed = backbone.precompute(sampler.classes.gather(torch.arange(59)))
        found = backbone.apply_norm(precomputed, rows, 1, sets=(2, 4))
        expected = backbone(sampler.classes.gather(rows), 0, 1, sets=(2, 4))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (found > 0).any() and (found == 0).any()


def test_embeddings_stand_class_by_class_in_the_order_of_the_selection():
    learner, sampler, _ = make("protonet")
    with torch.no_grad():
        embedded = embed_all(learner.backbone, sampler.classes)
        for index in range(len(sampler.classes)):
            own, all_ = (
                classes.starts[index] + torch.arange(int(classes.counts[index]))
                for classes in (embedded, sampler.classes)
            )
            expected = learner.backbone(sampler.classes.gather(all_)[None, None], running=True).flatten(3)[0, 0]
            torch.testing.assert_close(embedded.examples[own], expected, rtol=1e-4, atol=1e-5)


def test_every_class_of_an_unequal_support_set_has_the_same_weight():
    labels = torch.tensor([2, 0, 0, 1, 0])
    expected = [[0, 1 / 3, 1 / 3, 0, 1 / 3], [0, 0, 0, 1, 0], [1, 0, 0, 0, 0]]
    torch.testing.assert_close(shares(labels), torch.tensor(expected))
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    losses = cross_entropy(logits, labels, reduction="none")
    mean_of_means = (losses[[1, 2, 4]].mean() + losses[3] + losses[0]) / 3
    torch.testing.assert_close(support_cross_entropy(logits[None, None], labels)(logits), mean_of_means)


def test_protonet_takes_the_mean_of_each_class_whatever_their_numbers():
    learner = learner_of("protonet").eval()
    embeddings = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([2, 0, 0, 1, 0])
    found = learner.predict(embeddings[None, None], 5, labels)[0]
    prototypes = torch.stack([embeddings[[1, 2, 4]].mean(0), embeddings[3], embeddings[0]])
    torch.testing.assert_close(found, -torch.cdist(embeddings[5:], prototypes).square())
