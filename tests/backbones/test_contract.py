"""Every backbone of the table keeps the promises of datg.backbones.backbone.Backbone."""

import itertools
from dataclasses import fields

import pytest
import torch

from datg.backbones import BACKBONES
from datg.backbones.backbone import Dropout
from datg.errors import ConfigError
from datg.runtime.random_streams import generator

SMALL = {"filters": 6, "width": 6, "dropout": 0.0}  # of whatever has such options


def shape_of(name):
    """Pictures, if they have to be, else cells."""
    try:
        BACKBONES[name].check_shape((40,))
    except ConfigError:
        return (3, 16, 16)
    return (40,)


def build(name, *, shape=None, running=True, seed=0):
    known = {field.name for field in fields(BACKBONES[name].options)}
    options = BACKBONES[name].options(**{key: value for key, value in SMALL.items() if key in known})
    return BACKBONES[name](
        shape or shape_of(name), options, running_statistics=running, generator=generator(seed, "net")
    )


def examples_of(name, leading=(2, 3, 4)):
    return torch.rand(*leading, *shape_of(name), generator=generator(0, "x"))


@pytest.mark.parametrize("name", BACKBONES)
def test_blocks_can_start_and_stop_at_any_layer(name):
    backbone, examples = build(name), examples_of(name)
    whole = backbone(examples)
    assert whole.shape[:3] == (2, 3, 4) and whole.flatten(3).shape[3] == backbone.embedding_size
    assert len(backbone.blocks) == backbone.depth
    for layer in range(backbone.depth + 1):
        torch.testing.assert_close(backbone(backbone(examples, 0, layer), layer), whole)
    assert backbone(examples, 0, 0) is not None and torch.equal(backbone(examples, 0, 0), examples)


@pytest.mark.parametrize(("name", "running"), list(itertools.product(BACKBONES, (False, True))))
def test_each_task_is_normalised_by_itself(name, running):
    backbone, examples = build(name, running=running), examples_of(name)
    together = backbone(examples)
    alone = torch.cat([backbone(task[None]) for task in examples])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
def test_nothing_that_passes_moves_running_statistics(name):
    backbone, examples = build(name), examples_of(name)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    for training, running in itertools.product((True, False), (True, False)):
        backbone.train(training)(examples, running=running)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


@pytest.mark.parametrize("name", BACKBONES)
def test_the_same_generator_gives_the_same_weights(name):
    first, again, other = (build(name, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize(("side", "size"), [(84, 5 * 5), (42, 2 * 2), (28, 1)])
def test_conv4_reads_pictures_of_the_usual_sizes(side, size):
    backbone = build("conv4", shape=(3, side, side))
    assert backbone.embedding_size == 6 * size
    assert backbone(torch.rand(1, 2, 2, 3, side, side)).flatten(3).shape == (1, 2, 2, 6 * size)


@pytest.mark.parametrize("shape", [(3, 15, 84), (3, 84), (2866,)])
def test_conv4_refuses_what_it_cannot_read(shape):
    with pytest.raises(ConfigError, match="at least 16 x 16"):
        build("conv4", shape=shape)


def test_conv4_computes_what_the_paper_describes():
    """3x3 convolution with padding, batch normalisation, ReLU, 2x2 max-pooling, four times, by plain library calls."""
    from torch.nn import functional

    backbone, examples = build("conv4", running=True), examples_of("conv4", (1, 2, 3))
    x = examples[0].flatten(0, 1)
    for block in backbone.blocks:
        x = functional.conv2d(x, block.affine.weight, block.affine.bias, padding=1)
        mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
        x = (x - mean) / (variance + 1e-5).sqrt() * block.norm.weight.view(-1, 1, 1) + block.norm.bias.view(-1, 1, 1)
        x = functional.max_pool2d(x.clamp(min=0), 2)
    torch.testing.assert_close(backbone(examples)[0].flatten(0, 1), x, rtol=1e-4, atol=1e-5)


def test_fc2_computes_what_the_paper_describes():
    """Linear map, batch normalisation, ReLU, twice, by plain library calls; pictures are flattened."""
    for shape in ((40,), (3, 5, 5)):
        backbone = build("fc2", shape=shape)
        examples = torch.rand(1, 2, 3, *shape, generator=generator(0, "x"))
        x = examples.flatten(3)[0].flatten(0, 1)
        for block in backbone.blocks:
            x = x @ block.affine.weight.T + block.affine.bias
            x = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt() * block.norm.weight + block.norm.bias
            x = x.clamp(min=0)
        torch.testing.assert_close(backbone(examples)[0].flatten(0, 1), x, rtol=1e-4, atol=1e-5)
        assert backbone.embedding_size == 6


def test_fc2_is_64_wide_and_drops_a_fifth_by_default():
    options = BACKBONES["fc2"].options()
    assert (options.width, options.dropout) == (64, 0.2)


def test_dropout_drops_its_share_in_training_only_and_from_its_own_generator():
    dropout = Dropout(0.2).train()
    dropout.generator = generator(0, "noise")
    found = dropout(torch.ones(20_000))
    # 20,000 draws with probability 0.2 miss it by 5 standard errors once in a million times.
    assert abs(float((found == 0).float().mean()) - 0.2) < 5 * (0.2 * 0.8 / 20_000) ** 0.5
    assert set(found.unique().tolist()) == {0.0, 1.25}
    dropout.generator = generator(0, "noise")
    assert torch.equal(dropout(torch.ones(20_000)), found)
    assert torch.equal(dropout.eval()(torch.ones(5)), torch.ones(5))


def test_dropout_without_a_generator_is_an_error_of_ours():
    with pytest.raises(AssertionError, match="where noise is drawn from"):
        Dropout(0.2).train()(torch.ones(3))
