import copy
import shutil
from functools import partial

import pytest
import torch
from torch import nn

from datg.backbones.batch_norm import _batch_norm_at_once, _normalise, batch_norm

at_once = partial(_batch_norm_at_once, normalise=_normalise)
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
@pytest.mark.parametrize("track", [True, False])
@pytest.mark.parametrize("kind", SHAPES)
def test_the_form_for_gpus_normalises_as_the_loop_over_runs_does(kind, track, runs):
    if kind == "vectors" and 1 in runs:
        runs = (3, 2, 7, 3, 2, 7)  # one vector has no deviation
    layer, inputs = make(kind, track)
    found = []
    for form in (lambda *a: torch.cat(batch_norm(*a)), at_once):
        own, leaf = copy.deepcopy(layer), inputs.clone().requires_grad_()
        for _ in range(2):
            out = form(leaf, own, runs)
        gradients = torch.autograd.grad(
            (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum(), [leaf, *own.parameters()]
        )
        statistics = [own.running_mean, own.running_var] if track else []
        found.append([out, *gradients, *statistics])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_under_bf16_the_form_for_gpus_has_statistics_in_float32():
    layer, inputs = make("pictures", True)
    layer = layer.float()
    out = at_once(inputs.bfloat16(), layer, (8, 8, 8))
    expected = at_once(inputs.float(), layer, (8, 8, 8))
    assert out.dtype == torch.bfloat16 and layer.running_mean.dtype == torch.float32
    torch.testing.assert_close(out.float(), expected, rtol=0.05, atol=0.05)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_it_is_the_same_for_any_number_of_tasks():
    layer, _ = make("pictures", False)
    for tasks in (2, 3, 1, 5):
        inputs = torch.randn(8 * tasks, 5, 4, 3, generator=torch.Generator().manual_seed(tasks), dtype=torch.float64)
        found = []
        for compiled in (False, True):
            leaf = inputs.clone().requires_grad_()
            out = torch.cat(batch_norm(leaf, layer, (2, 6) * tasks, compiled=compiled))
            found.append([out, *torch.autograd.grad(out.sin().sum(), [leaf, *layer.parameters()])])
        for ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_evaluation_leaves_running_statistics_alone():
    layer, inputs = make("pictures", True)
    before = layer.running_mean.clone()
    at_once(inputs, layer.eval(), (8, 8, 8))
    assert torch.equal(layer.running_mean, before)


def test_one_run_and_several_may_stand_in_one_graph():
    layer, inputs = make("pictures", True)
    leaf = inputs.clone().requires_grad_()
    (one,) = batch_norm(leaf, layer, (24,))
    (one.sum() + at_once(leaf, layer, (8, 8, 8)).square().sum()).backward()
    assert leaf.grad.isfinite().all()
