import pytest
import torch
from torch.nn.functional import conv2d, max_pool2d, relu, softplus

from datg.backbones.batch_norm import WHOLE
from datg.runtime.random_streams import generator
from datg.strategies.meta_dropout import MetaDropout
from datg.strategies.vanilla import Vanilla
from datg.trial.evaluation import evaluate
from tests.conftest import batch_of, learner_of, table_of


def extended(**options):
    strategy = MetaDropout(**options)
    net = strategy.extend(learner_of("maml", inner_lr=0.3, inner_steps=2), generator=generator(0, "strategy"))
    net.draw_from(generator(0, "noise"))
    return strategy, net.train()


class Silent(torch.nn.Module):
    """Noise that is always zero."""

    def normal(self, like):
        return torch.zeros_like(like)


def test_with_a_multiplier_of_one_and_no_noise_it_is_vanilla():
    strategy, net = extended()
    net.noise = Silent()
    with torch.no_grad():
        for twin in net.generators:
            twin.weight.zero_()
            twin.bias.fill_(torch.expm1(torch.tensor(1.0)).log())  # softplus of it is 1
    ours = strategy.losses(net, batch_of(table_of([8] * 12)))
    theirs = Vanilla().losses(net.learner, batch_of(table_of([8] * 12)))
    torch.testing.assert_close(ours.total, theirs.total, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("noisy", [False, True])
def test_a_block_multiplies_its_affine_map_by_the_softplus_of_the_generator(noisy):
    _, net = extended()
    inputs = torch.rand(6, 3, 16, 16, generator=generator(0, "x"))
    found = net.block(0, inputs, WHOLE, noisy=noisy)
    block, twin = net.backbone.blocks[0], net.generators[0]
    mean = conv2d(inputs, twin.weight, twin.bias, padding=1)
    noise = torch.randn(mean.shape, generator=generator(0, "noise")) if noisy else 0.0
    x = conv2d(inputs, block.affine.weight, block.affine.bias, padding=1) * softplus(mean + noise)
    x = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(found, max_pool2d(relu(x), 2), rtol=1e-4, atol=1e-4)


def test_the_multiplier_begins_at_its_known_means():
    _, net = extended()
    means = net.generators[0](torch.rand(200, 3, 16, 16, generator=generator(0, "x")))
    drawn = softplus(means + net.noise.normal(means))
    assert drawn.mean().item() == pytest.approx(0.806, abs=0.02)
    assert softplus(means).mean().item() == pytest.approx(0.693, abs=0.02)


def test_logits_of_the_support_set_get_one_deviation_for_all_classes():
    _, net = extended()
    hidden = torch.rand(5, *net.learner.encode(torch.rand(1, 1, 2, 3, 16, 16), 1, 0, 3).shape[3:])
    features = net.block(3, hidden, WHOLE, noisy=False).flatten(1)
    plain = net(hidden, WHOLE, False)
    torch.testing.assert_close(plain, net.learner.head(features))
    net.noise = Silent()
    torch.testing.assert_close(net(hidden, WHOLE, True), plain)


def test_every_inner_step_and_every_sample_draws_anew_and_queries_draw_nothing():
    _, net = extended(samples=3)
    drawn = []
    normal = net.noise.normal
    net.noise.normal = lambda like: drawn.append(tuple(like.shape)) or normal(like)
    examples = batch_of(table_of([8] * 12), size=2).draw()
    net.classify(examples, 1)
    # Two steps; in each three shared blocks for all tasks and samples at once, then the last block and the logits.
    assert len(drawn) == 2 * (3 + 2)
    assert [shape[0] for shape in drawn[:3]] == [2 * 3 * 3] * 3
    again, other = (net.classify(examples, 1) for _ in range(2))
    assert not torch.equal(again, other)


def test_noise_differs_between_tasks_with_the_same_examples():
    _, net = extended()
    task = batch_of(table_of([8] * 12), size=1).draw()
    first, second = net.classify(task.repeat(2, 1, 1, 1, 1, 1), 1)
    assert not torch.allclose(first, second)


def test_the_noise_generator_learns_through_the_inner_gradients_alone():
    strategy, net = extended()
    strategy.losses(net, batch_of(table_of([8] * 12))).total.backward()
    assert all(float(twin.weight.grad.abs().sum()) > 0 for twin in net.generators)
    assert float(net.logit_noise.weight.grad.abs().sum()) > 0  # the queries do not pass it
    adapted = set(net.learner.adapted_parameters())
    assert not any("generators" in name or "logit_noise" in name for name in adapted)


@pytest.mark.parametrize(("purpose", "samples"), [("validation", 2), ("validation-again", 7), ("test", 7)])
def test_evaluations_average_their_own_numbers_of_draws(purpose, samples):
    _, net = extended(samples=1, samples_test=7, samples_validation=2)
    drawn = []
    normal = net.noise.normal
    net.noise.normal = lambda like: drawn.append(tuple(like.shape)) or normal(like)
    evaluate(net, batch_of(table_of([8] * 12)).sampler, tasks=2, seed=0, purpose=purpose)
    assert drawn[0][0] == 2 * samples * 3 and len(drawn) == net.learner.inner.inner_steps_test * 5


def test_gradients_are_clipped_for_this_strategy_only():
    assert MetaDropout().gradient_clip == 3.0 and MetaDropout(clip=None).gradient_clip is None
    assert Vanilla().gradient_clip is None
