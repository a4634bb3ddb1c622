"""Normalisation, pooling and ReLU in two passes, against the same by the library's functions in float64."""

import itertools
import os
import subprocess
import sys

import numba
import pytest
import torch
from torch.nn import functional

from datg.backbones import cpu_kernels, pooled_norm
from datg.backbones.backbone import PreNormActivations
from datg.backbones.batch_norm import by_runs
from datg.backbones.conv4 import ConvBlock
from datg.runtime.random_streams import generator

RUNS = [(6,), (2, 4), (1, 3, 2)]
SIZES = [(6, 6), (5, 6), (6, 5), (7, 3), (2, 2)]


def make_block(filters=5, channels=3):
    """A block with falling channels, and one whose scale is 0."""
    block = ConvBlock(channels, filters, running_statistics=False, generator=generator(0, "block"))
    with torch.no_grad():
        block.norm.weight.copy_(torch.linspace(-1, 1, filters))
        block.norm.bias.copy_(torch.linspace(0.5, -0.5, filters))
    return block


def pictures(number, channels, height, width, *, equal=False):
    values = torch.randn(number, channels, height, width, generator=generator(1, "pictures"))
    values = values.round() if equal else values  # many fours have several largest values then
    return (3 + values).contiguous(memory_format=torch.channels_last)


def plainly(block, inputs, runs):
    """Convolution, batch normalisation, pooling and ReLU one after the other, in float64."""
    weights = [block.affine.weight, block.affine.bias, block.norm.weight, block.norm.bias]
    kernel, bias, scale, shift = (w.detach().double().requires_grad_() for w in weights)
    leaf = inputs.detach().double().requires_grad_()
    parts = [
        functional.relu(functional.max_pool2d(functional.batch_norm(run, None, None, scale, shift, training=True), 2))
        for run in functional.conv2d(leaf, kernel, bias, padding=1).split(runs)
    ]
    return torch.cat(parts), [leaf, kernel, bias, scale, shift]


@pytest.mark.parametrize(("runs", "size"), list(itertools.product(RUNS, SIZES)))
def test_values_and_gradients_are_those_of_the_library(runs, size):
    block, inputs = make_block(), pictures(6, 3, *size).requires_grad_()
    found = block(inputs, by_runs(*runs))
    expected, leaves = plainly(block, inputs, runs)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    upstream = torch.randn(expected.shape, generator=generator(2, "upstream"))
    ours = torch.autograd.grad(found, [inputs, *block.parameters()], upstream)
    theirs = torch.autograd.grad(expected, leaves, upstream.double())
    gap = block.norm.weight.detach() == 0  # there every value of four is the largest, and so any of them may be chosen
    for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        keep = ~gap if index == 3 else slice(None)
        torch.testing.assert_close(one.double()[keep], other[keep], rtol=2e-3, atol=2e-4)
    assert torch.equal(ours[2], torch.zeros(5)), "the mean takes the convolution's bias away"


def test_of_equal_values_the_first_is_pooled_as_the_library_does():
    inputs = pictures(4, 5, 6, 6, equal=True)
    norm = make_block().norm
    with torch.no_grad():
        norm.weight.fill_(1)
    leaves = [inputs.clone().requires_grad_() for _ in range(2)]
    ours = pooled_norm.pooled_norm(leaves[0] * 1, norm, (4,))
    normalised = functional.batch_norm(leaves[1], None, None, norm.weight, norm.bias, training=True)
    theirs = functional.relu(functional.max_pool2d(normalised, 2))
    for out in (ours, theirs):
        out.sin().sum().backward()
    torch.testing.assert_close(leaves[0].grad, leaves[1].grad, rtol=1e-4, atol=1e-5)


def test_bf16_is_read_and_written_rounded_to_the_nearest_even():
    values = torch.cat([torch.tensor([0.0, 1.00390625, 1.01171875, 3e38, 1e-40, float("inf")]), torch.rand(58) * 100])
    rows, owner = torch.arange(1), torch.zeros(1, dtype=torch.int64)
    scale, shift = torch.full((1, 1), 1.0), torch.zeros(1, 1)
    stored = values.bfloat16().view(1, 1, 8, 8).contiguous(memory_format=torch.channels_last)
    assert torch.equal(pooled_norm.rectify(stored, rows, owner, scale, shift), stored)
    scale += 1 / 3
    expected = (stored.float() * scale).bfloat16()
    assert torch.equal(pooled_norm.rectify(stored, rows, owner, scale, shift), expected)


@pytest.mark.parametrize("runs", RUNS)
def test_under_bf16_it_is_the_same_up_to_rounding(runs):
    norm, inputs = make_block().norm, pictures(6, 5, 7, 6)
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        leaf = inputs.bfloat16().to(dtype).requires_grad_()
        out = pooled_norm.pooled_norm(leaf * 1, norm, runs)
        assert out.dtype == dtype
        out.float().square().sum().backward()
        found.append((out.float(), leaf.grad.float()))
    torch.testing.assert_close(*(out for out, _ in found), rtol=0.01, atol=0.01)
    (_, gradient), (_, rounded) = found
    assert (gradient - rounded).norm() < 0.02 * gradient.norm()


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_diverged_is_seen(broken):
    inputs = pictures(2, 5, 6, 6)
    inputs[0, :, 3, 3] = broken
    leaf = inputs.requires_grad_()
    out = pooled_norm.pooled_norm(leaf * 1, make_block().norm, (2,))
    assert not out[:, 0].isfinite().any()
    out.sum().backward()
    assert not leaf.grad.isfinite().all()


def test_the_number_of_threads_changes_nothing():
    threads, found = torch.get_num_threads(), []
    for number in (1, 2, 3, 9):
        torch.set_num_threads(number)
        try:
            leaf = pictures(7, 5, 6, 6).requires_grad_()
            out = pooled_norm.pooled_norm(leaf * 1, make_block().norm, (3, 4))
            out.sin().sum().backward()
            found.append((out.detach(), leaf.grad))
        finally:
            torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for pair in found[1:] for one, other in zip(found[0], pair, strict=True))


def test_what_an_inner_loop_would_differentiate_twice_is_refused():
    leaf = pictures(4, 5, 6, 6).requires_grad_()
    out = pooled_norm.pooled_norm(leaf * 1, make_block().norm, (4,)).sum()
    torch.autograd.grad(out, leaf, retain_graph=True)
    with pytest.raises(RuntimeError, match="differentiated once"):
        torch.autograd.grad(out, leaf)
    again = pooled_norm.pooled_norm(leaf * 1, make_block().norm, (4,)).sum()
    with pytest.raises(RuntimeError, match="differentiated once"):
        torch.autograd.grad(again, leaf, create_graph=True)


def test_who_else_needs_what_is_written_over_is_told():
    leaf, norm = pictures(6, 5, 6, 6).requires_grad_(), make_block().norm
    for other in (torch.sin, lambda values: pooled_norm.pooled_norm(values, norm, (2, 4))):
        shared = leaf * 1
        both = other(shared).sum() + pooled_norm.pooled_norm(shared, norm, (6,)).sum()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            both.backward()


@pytest.mark.parametrize("needed", [True, False])
def test_what_the_caller_holds_is_not_written_over(needed):
    held = pictures(4, 5, 6, 6)
    before, norm = held.clone(), make_block().norm
    pooled_norm.pooled_norm(held.requires_grad_(needed), norm, (4,)).sum().backward()
    assert torch.equal(held, before) and norm.bias.grad is not None and (held.grad is not None) == needed


def test_no_examples_are_no_fault():
    pooled, places = pooled_norm.pool(torch.empty(0, 4, 6, 6), torch.ones(4))
    assert pooled.values.shape == places.shape == (0, 4, 3, 3)


def compute_elsewhere(code, **environment):
    script = (
        "import torch; from datg.backbones import pooled_norm; from torch import nn\n"
        "def run():\n"
        "    torch.set_num_threads(2)\n"
        "    x = torch.ones(4, 3, 6, 6, requires_grad=True)\n"
        "    y = pooled_norm.pooled_norm(x * 2, nn.BatchNorm2d(3), (4,)); y.sum().backward(); print('done', y.shape[2])\n"
    ) + code
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "done 3" in done.stdout, done.stderr


@pytest.mark.slow
def test_a_full_disk_costs_the_compiled_loops_a_place_to_stay_and_no_more(tmp_path):
    full = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, "
    compute_elsewhere(full + "(1000, 1000)); run()", NUMBA_CACHE_DIR=str(tmp_path))


@pytest.mark.slow
def test_at_the_end_of_a_process_one_thread_does_it_all():
    compute_elsewhere("import atexit; atexit.register(run)")


@pytest.mark.slow
def test_where_the_compiler_is_switched_off_the_library_computes():
    script = "from datg.backbones.pooled_norm import suits; import torch; assert not suits(torch.ones(1))"
    subprocess.run([sys.executable, "-c", script], env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, check=True)


def test_statistics_of_examples_are_those_of_the_library_however_far_from_0():
    far = pictures(3, 4, 5, 7) * 0.01 + 100
    pooled, _ = pooled_norm.pool(far, torch.ones(4))
    exact = far.double()
    torch.testing.assert_close(pooled.mean.double(), exact.mean((2, 3)), rtol=1e-6, atol=0)
    torch.testing.assert_close(pooled.variance.double(), exact.var((2, 3), correction=0), rtol=1e-3, atol=0)


def test_where_numba_is_missing_the_library_computes_the_same(monkeypatch):
    found = []
    for installed in (True, False):
        monkeypatch.setattr(pooled_norm, "_numba", lambda answer=installed: answer)
        block, inputs = make_block(), pictures(6, 3, 6, 6).requires_grad_()
        out = block(inputs, by_runs(2, 4))
        out.sin().sum().backward()
        values = block.precompute(inputs.detach())
        assert isinstance(values, PreNormActivations)
        later = block.apply_norm(values, torch.arange(6), (2, 4))
        found.append([out, later, inputs.grad, *(p.grad for p in block.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=1e-4)


def test_a_place_that_keeps_nothing_is_no_obstacle(monkeypatch):
    def njit(cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function 'add': no locator available")
        return lambda loop: loop

    monkeypatch.setattr(numba, "njit", njit)
    assert cpu_kernels.compiled(print) is print
