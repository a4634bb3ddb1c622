import itertools

import pytest
import torch

from datg.strategies import mlti
from datg.strategies.mlti import Mlti
from datg.strategies.strategy import StrategyContext
from tests.conftest import batch_of, learner_of, table_of


def recorded(strategy, monkeypatch, *, shape=(3, 16, 16), learner="protonet", size=4, seed=0):
    """The real tasks, the generated ones and the plan of one meta-batch, and its loss."""
    seen = {}
    mix = mlti.mix_tasks

    def record(learner, first, second, shots, plan):
        seen.update(first=first, plan=plan)
        return seen.setdefault("mixed", mix(learner, first, second, shots, plan))

    monkeypatch.setattr(mlti, "mix_tasks", record)
    losses = mlti.two_label_losses
    monkeypatch.setattr(mlti, "two_label_losses", lambda *a: seen.update(labels=a[1], mixing_ratios=a[2]) or losses(*a))
    net = learner_of(learner, shape=shape, dropout=0.0)
    seen["net"] = net
    seen["loss"] = strategy.losses(net, batch_of(table_of([8] * 12, shape), shots=2, size=size, seed=seed))
    return seen


@pytest.mark.parametrize(("cross", "seed"), list(itertools.product((0.0, 1.0), range(3))))
def test_pictures_get_a_box_of_their_partner_one_for_support_and_one_for_query(cross, seed, monkeypatch):
    seen = recorded(Mlti(cross_prob=cross), monkeypatch, seed=seed)
    first, weights, partners = seen["first"], seen["plan"].weights, seen["plan"].partners
    assert set(seen["plan"].layers) == {0} and set(weights.unique().tolist()) <= {0.0, 1.0}
    support, query = weights[:, 0, :2, 0], weights[:, 0, 2:, 0]
    assert (support == support[:, :1]).all() and (query == query[:, :1]).all()
    mixed = weights * first + (1 - weights) * first.flatten(0, 2)[partners]
    torch.testing.assert_close(seen["mixed"].generated, seen["net"].encode(mixed, 2, 0, 4))
    task = partners // first[0, :, :, 0, 0, 0].numel()
    own = torch.arange(4).view(-1, 1, 1)
    assert torch.equal(task, ((own + 1) % 4 if cross else own).expand_as(task))
    # Example m meets example m, classes in a bijection.
    assert torch.equal(partners % 6, torch.arange(6).expand_as(partners))
    assert torch.equal((partners[:, :, 0] % 18 // 6).sort(1).values, torch.arange(3).expand(4, 3))
    assert (seen["mixing_ratios"] == 1).all()


def test_cells_are_mixed_linearly_after_block_1_and_within_a_task_in_their_queries_alone(monkeypatch):
    seen = recorded(Mlti(cross_prob=0.0), monkeypatch, shape=(30,))
    plan, mixing_ratios = seen["plan"], seen["mixing_ratios"][:, 0]
    assert set(plan.layers) == {1}
    hidden = seen["net"].encode(seen["first"], 2, 0, 1)
    mixed = hidden.clone()
    for task in range(4):
        queries = hidden[task, :, 2:].flatten(0, 1)
        chosen = plan.partners[task, :, 2:].flatten() - task * 18
        place = chosen // 6 * 4 + chosen % 6 - 2  # among the queries of the task
        assert torch.equal(place.sort().values, torch.arange(12))
        assert torch.equal(seen["labels"][task], place // 4)
        mixed[task, :, 2:] = (mixing_ratios[task] * queries + (1 - mixing_ratios[task]) * queries[place]).unflatten(
            0, (3, 4)
        )
    torch.testing.assert_close(seen["mixed"].generated, seen["net"].encode(mixed, 2, 1, 2))


def test_cells_of_two_tasks_keep_the_label_of_the_first(monkeypatch):
    seen = recorded(Mlti(cross_prob=1.0), monkeypatch, shape=(30,))
    assert (seen["mixing_ratios"] == 1).all()
    assert torch.equal(seen["labels"], torch.arange(3).repeat_interleave(4).expand(4, 12))
    assert (seen["plan"].weights == seen["plan"].weights[:, :, :1]).all()  # support and query alike


def test_the_coin_falls_as_often_as_it_is_told(monkeypatch):
    seen = recorded(Mlti(cross_prob=0.3), monkeypatch, size=400)
    within = (seen["plan"].partners[:, 0, 0] // 18 == torch.arange(400)).float().mean()
    # 400 coins of 0.7 miss by 5 standard errors once in a million times.
    assert abs(float(within) - 0.7) < 5 * (0.21 / 400) ** 0.5


def test_auto_is_what_was_published():
    pictures, cells = Mlti().resolved((3, 84, 84)), Mlti().resolved((2866,))
    assert (pictures.mixer, pictures.layer, pictures.within) == ("cutmix", "input", "same_op")
    assert (cells.mixer, cells.layer, cells.within) == ("linear", 1, "query_mix")
    assert Mlti(mixer="linear").resolved((3, 84, 84)).layer == "random"


@pytest.mark.parametrize(
    ("options", "shape", "shared", "message"),
    [
        ({"mixer": "cutmix", "layer": 2}, None, 4, "`strategy.layer` must be input"),
        ({"mixer": "cutmix", "within": "query_mix"}, None, 4, "`strategy.within` must be same_op"),
        ({"mixer": "cutmix"}, (50,), 2, "cutmix cuts boxes out of pictures"),
        ({"layer": 4, "mixer": "linear"}, None, 3, "`strategy.layer` must be at most 3"),
        ({}, (50,), 0, "`strategy.layer` must be at most 0"),
        ({"layer": 2}, (3, 16, 16), 4, "`strategy.layer` must be input where `strategy.mixer` is cutmix"),
    ],
)
def test_impossible_combinations_are_refused(options, shape, shared, message):
    options_of_learner = learner_of("protonet").options()
    context = StrategyContext(shared_layers=shared, channels=8, learner=options_of_learner, batch=4, shape=shape)
    assert message in Mlti(**options).validate(context)[0]
