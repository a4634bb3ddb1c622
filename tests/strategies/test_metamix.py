from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from datg.generation import mixup
from datg.strategies import metamix
from datg.strategies.metamix import MetaMix
from tests.conftest import batch_of, learner_of, table_of


@pytest.mark.parametrize("name", ["protonet", "maml", "anil"])
@pytest.mark.parametrize("partner", ["support", "query"])
def test_queries_are_mixed_at_a_layer_and_keep_both_labels(name, partner, monkeypatch):
    learner = learner_of(name)
    strategy = MetaMix(partner=partner, shuffle=False)
    seen = {}
    layers = mixup.draw_layers
    monkeypatch.setattr(metamix, "draw_layers", lambda *a: seen.setdefault("layers", layers(*a)))
    draw = MetaMix._draw_partners
    monkeypatch.setattr(MetaMix, "_draw_partners", lambda *a: seen.setdefault("partners", draw(*a)))
    batch = batch_of(table_of([8] * 12), shots=2)
    beta = batch.streams.mixing.beta

    class Recorded:
        def __getattr__(self, attribute):
            if attribute == "beta":
                return lambda *a, **k: seen.setdefault("shares", beta(*a, **k))
            return getattr(original, attribute)

    original, batch.streams.mixing = batch.streams.mixing, Recorded()
    found = strategy.losses(learner, batch).total

    examples = batch_of(table_of([8] * 12), shots=2).draw()
    losses = []
    for task in range(3):
        share, layer = torch.tensor(seen["shares"][task]).float(), seen["layers"][task]
        hidden = learner.encode(examples[task : task + 1], 2, 0, layer)
        support, query = hidden[:, :, :2], hidden[:, :, 2:]
        pool = (support if partner == "support" else query).flatten(1, 2)[0]
        chosen = seen["partners"][0][task]
        mixed = share * query.flatten(1, 2)[0] + (1 - share) * pool[chosen]
        whole = torch.cat([support, mixed.unflatten(0, (3, 4))[None]], dim=2)
        logits = learner.classify(learner.encode(whole, 2, layer, learner.last_shared), 2)[0]
        own = torch.arange(3).repeat_interleave(4)
        others = torch.div(chosen, 2 if partner == "support" else 4, rounding_mode="floor")
        losses.append(share * cross_entropy(logits, own) + (1 - share) * cross_entropy(logits, others))
    torch.testing.assert_close(found, torch.stack(losses).mean(), rtol=1e-4, atol=1e-5)


def test_channels_are_shuffled_after_the_beginning_in_half_of_the_batches_at_hidden_layers(monkeypatch):
    shuffled = []
    shuffle = metamix.shuffle_channels

    def record(examples, *arguments):
        shuffled.append(examples.shape[3])
        return shuffle(examples, *arguments)

    monkeypatch.setattr(metamix, "shuffle_channels", record)
    learner, strategy = learner_of("protonet", filters=6), MetaMix(shuffle_start=0.5)
    batch = batch_of(table_of([8] * 12), size=1)
    for _ in range(20):
        strategy.losses(learner, replace(batch, progress=0.49))
    assert not shuffled
    for _ in range(60):
        strategy.losses(learner, replace(batch, progress=0.5))
    assert set(shuffled) == {6}  # never the three channels of the input
    # 60 fair coins: outside 11..49 once in a million times.
    assert 11 <= len(shuffled) <= 49
