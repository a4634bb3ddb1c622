import copy
import shutil

import pytest
import torch
from torch import nn

from datg.backbones.batch_norm import RUNNING, _at_once, _tasks_of, batch_norm, by_runs
from datg.backbones.conv4 import _pool_and_relu

AS_IT_IS = nn.Identity()


def at_once(inputs, norm, runs):
    return _at_once(inputs, norm.weight, norm.bias, norm.eps, *_tasks_of(runs), AS_IT_IS)


SHAPES = {"pictures": (5, 4, 3), "vectors": (5,)}


def make(kind, track):
    generator = torch.Generator().manual_seed(0)
    layer = (nn.BatchNorm2d if kind == "pictures" else nn.BatchNorm1d)(5, track_running_stats=track).double()
    with torch.no_grad():
        layer.weight.uniform_(-1, 1, generator=generator)
        layer.bias.uniform_(-1, 1, generator=generator)
    inputs = 3 + 2 * torch.randn(24, *SHAPES[kind], generator=generator, dtype=torch.float64)
    return layer, inputs


@pytest.mark.parametrize("runs", [(24,), (8, 8, 8), (2, 10, 2, 10), (3, 1, 8, 3, 1, 8)])
@pytest.mark.parametrize("kind", SHAPES)
def test_the_form_for_gpus_normalises_as_the_loop_over_runs_does(kind, runs):
    if kind == "vectors" and 1 in runs:
        runs = (3, 2, 7, 3, 2, 7)  # one vector has no deviation
    layer, inputs = make(kind, track=False)
    found = []
    for form in (lambda x, norm, runs: batch_norm(x, norm, by_runs(*runs), AS_IT_IS), at_once):
        leaf = inputs.clone().requires_grad_()
        out = form(leaf, layer, runs)
        gradients = torch.autograd.grad(
            (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum(), [leaf, *layer.parameters()]
        )
        found.append([out, *gradients])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_under_bf16_the_form_for_gpus_has_statistics_in_float32():
    layer, inputs = make("pictures", True)
    layer = layer.float()
    out = at_once(inputs.bfloat16(), layer, (8, 8, 8))
    expected = at_once(inputs.float(), layer, (8, 8, 8))
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, rtol=0.05, atol=0.05)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("then", [nn.functional.relu, _pool_and_relu])
def test_compiled_it_is_the_same_for_any_number_of_tasks(then):
    layer, _ = make("pictures", False)
    for tasks in (2, 3, 1, 5):
        inputs = torch.randn(8 * tasks, 5, 4, 3, generator=torch.Generator().manual_seed(tasks), dtype=torch.float64)
        found = []
        for compiled in (False, True):
            leaf = inputs.clone().requires_grad_()
            out = batch_norm(leaf, layer, by_runs(*(2, 6) * tasks), then, compiled=compiled)
            found.append([out, *torch.autograd.grad(out.sin().sum(), [leaf, *layer.parameters()])])
        for ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("mode", [by_runs(24), by_runs(8, 8, 8), RUNNING])
@pytest.mark.parametrize("training", [True, False])
def test_nothing_moves_running_statistics(mode, training):
    layer, inputs = make("pictures", True)
    before = copy.deepcopy(layer.state_dict())
    batch_norm(inputs, layer.train(training), mode, AS_IT_IS)
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


def test_one_run_and_several_may_stand_in_one_graph():
    layer, inputs = make("pictures", True)
    leaf = inputs.clone().requires_grad_()
    one = batch_norm(leaf, layer, by_runs(24), AS_IT_IS)
    (one.sum() + at_once(leaf, layer, (8, 8, 8)).square().sum()).backward()
    assert leaf.grad.isfinite().all()
