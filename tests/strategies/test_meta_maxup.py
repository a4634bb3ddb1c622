import pytest
import torch

from datg.generation.augmentation import Source, augment
from datg.strategies.meta_maxup import MetaMaxup
from datg.strategies.strategy import StrategyContext, two_label_losses
from tests.conftest import batch_of, learner_of, table_of


@pytest.mark.parametrize("name", ["protonet", "maml", "anil"])
@pytest.mark.parametrize("reduce", ["sample", "task"])
def test_the_worst_copy_counts(name, reduce):
    learner, strategy = learner_of(name), MetaMaxup(copies=3, reduce=reduce)
    found = strategy.losses(learner, batch_of(table_of([8] * 12)))

    batch = batch_of(table_of([8] * 12))
    streams, pool = batch.streams, strategy.entries(batch.shape)
    examples = batch.draw().repeat(3, 1, 1, 1, 1, 1)
    entries = [pool[index] for index in streams.mixing.integers(len(pool), size=9)]
    copies = augment(examples, 1, entries, Source(streams.mixing, streams.noise, 2.0))
    losses = []
    for copy in range(9):
        encoded = learner.encode(copies.examples[copy : copy + 1], 1, 0, learner.last_shared)
        one = slice(copy, copy + 1)
        losses.append(
            two_label_losses(learner.classify(encoded, 1), copies.second_labels[one], copies.mixing_ratios[one])[0]
        )
    by_copy = torch.stack(losses).unflatten(0, (3, 3))  # copies, tasks, queries
    expected = by_copy.amax(0).mean() if reduce == "sample" else by_copy.mean(2).amax(0).mean()
    torch.testing.assert_close(found.total, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("reduce", ["sample", "task"])
def test_copies_that_differ_in_dropout_alone_still_count_by_their_worst(reduce):
    options = {"pool": ("identity",), "reduce": reduce}
    found = []
    for copies in (1, 6):
        values = []
        for seed in range(20):
            learner = learner_of("protonet", shape=(30,), dropout=0.5, seed=seed)
            batch = batch_of(table_of([8] * 12, (30,)), seed=seed)
            values.append(MetaMaxup(copies=copies, **options).losses(learner, batch).total.item())
        found.append(sum(values) / len(values))
    assert found[1] > 1.2 * found[0]


def test_a_copy_of_each_task_draws_its_own_entry(monkeypatch):
    from datg.strategies import meta_maxup

    drawn = []
    monkeypatch.setattr(
        meta_maxup,
        "augment",
        lambda examples, shots, entries, source: drawn.append(entries) or augment(examples, shots, entries, source),
    )
    MetaMaxup(copies=4).losses(learner_of("protonet"), batch_of(table_of([8] * 12), size=3))
    assert len(drawn[0]) == 12 and len(set(drawn[0])) > 1


def problems(shape, **options):
    options_of_protonet = learner_of("protonet").options()
    context = StrategyContext(shared_layers=4, channels=8, learner=options_of_protonet, batch=4, shape=shape)
    return MetaMaxup(**options).validate(context)


def test_a_pool_must_be_known_and_fit_the_examples():
    assert "`strategy.pool` must have at least one entry." in problems(None, pool=())
    assert "did you mean `qcm`?" in problems(None, pool=("qcn+tlr",))[0]
    assert "has tlr, which needs square pictures" in problems((3, 20, 30))[0]
    assert not problems((3, 20, 30), pool=("qcm", "qre+sre"))
    assert "queries can be mixed once only" in problems(None, pool=("qcm+qmix",))[0]
    assert "has qcm, which needs pictures" in problems((50,), pool=("qcm",))[0]
    assert not problems((50,)) and not problems((3, 20, 20)) and not problems(None)
