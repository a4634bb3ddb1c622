from functools import partial

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.func import functional_call
from torch.nn.functional import softplus

from datg.backbones.conv4 import Conv4, Conv4Options
from datg.learners import LEARNERS
from datg.runtime.random_streams import generator
from datg.strategies.meta_reg import MetaReg, gaussian_divergence
from datg.strategies.strategy import query_losses
from tests.conftest import batch_of, learner_of, table_of


def extended(shape=(3, 16, 16), **options):
    strategy = MetaReg(**options)
    net = strategy.extend(learner_of("maml", shape=shape), generator=generator(0, "strategy"))
    net.draw_from(generator(0, "noise"))
    return strategy, net


def test_the_divergence_is_that_of_two_normal_distributions():
    mean, deviation = torch.randn(7, dtype=torch.float64), torch.rand(7, dtype=torch.float64) + 0.1
    expected = kl_divergence(Normal(mean, deviation), Normal(torch.zeros(7), torch.ones(7)))
    torch.testing.assert_close(gaussian_divergence(mean, deviation), expected)


def test_the_shared_convolutions_of_conv4_have_19392_weights_of_4_and_a_half_nats_each():
    backbone = partial(Conv4, (3, 84, 84), Conv4Options(filters=32))
    maml = LEARNERS["maml"]
    learner = maml.build(backbone, maml.options(), generator=generator(0, "net"), ways=5)
    net = MetaReg().extend(learner, generator=generator(0, "strategy"))
    assert sum(rho.numel() for rho in net.rho) == 19_392
    assert net.divergence().item() / 19_392 == pytest.approx(4.5, abs=0.1)


@pytest.mark.parametrize("shape", [(3, 16, 16), (30,)])
def test_support_and_query_pass_draws_of_their_own_around_the_weights(shape):
    _, net = extended(shape, rho_init=0.0)
    batch = batch_of(table_of([8] * 12, shape))
    examples = batch.draw()
    net.eval()
    encoded = net.encode_drawn(examples, 1)
    net.draw_from(generator(0, "noise"))
    for part, found in zip(net.sets(examples, 1), (encoded[:, :, :1], encoded[:, :, 1:]), strict=True):
        drawn = net.draw()
        assert all(name.split(".")[2] == "affine" and int(name.split(".")[1]) < net.last_shared for name in drawn)
        expected = functional_call(net.backbone, drawn, (part, 0, net.last_shared))
        torch.testing.assert_close(found, expected)
    for name, rho in zip(net._names, net.rho, strict=True):
        mean = net.backbone.get_parameter(name)
        draws = torch.stack([net.draw()[name] for _ in range(200)])
        # 200 draws: their mean misses by 6 standard errors in two of a billion, and there are hundreds of weights.
        assert (draws.mean(0) - mean).abs().max().item() < 6 * softplus(rho).max().item() / 200**0.5


def test_the_loss_is_cross_entropy_plus_beta_times_the_divergence():
    strategy, net = extended(beta=0.01)
    parts = strategy.losses(net, batch_of(table_of([8] * 12))).parts()
    torch.testing.assert_close(parts["kl"], net.divergence().detach())
    torch.testing.assert_close(parts["kl_weighted"], 0.01 * parts["kl"])
    torch.testing.assert_close(parts["loss"], parts["ce"] + parts["kl_weighted"])


def test_activations_are_drawn_for_both_sets_and_their_divergence_is_that_of_the_queries():
    strategy, net = extended(mode="activation", beta=0.5)
    found = strategy.losses(net, batch_of(table_of([8] * 12)))
    net.draw_from(generator(0, "noise"))
    mean, deviation = net.parts(net.encode(batch_of(table_of([8] * 12)).draw(), 1, 0, 3))
    logits = net.learner.classify(mean + deviation * net.noise.normal(mean), 1)
    torch.testing.assert_close(found.cross_entropy, query_losses(logits).mean())
    prior = Normal(torch.zeros(()), torch.ones(()))
    divergence = kl_divergence(Normal(mean[:, :, 1:], deviation[:, :, 1:]), prior).mean()
    torch.testing.assert_close(found.total, found.cross_entropy + 0.5 * divergence)


@pytest.mark.parametrize("mode", ["weights", "activation"])
def test_evaluation_uses_means_unless_it_is_told_to_draw(mode):
    examples = batch_of(table_of([8] * 12)).draw()
    _, still = extended(mode=mode, rho_init=0.0)
    still.eval()
    assert torch.equal(still.predict(examples, 1), still.predict(examples, 1))
    if mode == "weights":
        assert torch.equal(still.predict(examples, 1), still.learner.predict(examples, 1))
    _, drawn = extended(mode=mode, rho_init=0.0, sample_at_test=True)
    drawn.eval()
    assert not torch.equal(drawn.predict(examples, 1), drawn.predict(examples, 1))


def test_beta_depends_on_the_mode_unless_it_is_set():
    assert MetaReg().beta == 1e-6 and MetaReg(mode="activation").beta == 1e-2 and MetaReg(beta=0.5).beta == 0.5
