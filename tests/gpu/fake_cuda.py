"""Every strategy, learner and kind of example as on a GPU, on tensors that have a device and no values.

    python -m tests.gpu.fake_cuda LIBRARY PRECISION [STRATEGY ...]   # the library of fake_cuda.cpp; a line of JSON for each case
    python -m tests.gpu.fake_cuda LIBRARY --faults                   # what a GPU would not do

A value that is asked for (`.item()`, a mask as an index, a shape that depends on data) raises: on a GPU it would wait for the
device. So do operations on tensors of two devices. Kernels, memory, `torch.compile` and generators cannot be seen here.
"""

import contextlib
import ctypes
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from unittest import mock

ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)  # before torch is imported

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode  # noqa: E402

from datg.data.episodes import DeviceTable, TaskSampler  # noqa: E402
from datg.learners.running_statistics import accumulate_running_statistics  # noqa: E402
from datg.runtime.random_streams import RandomStreams, generator  # noqa: E402
from datg.strategies import STRATEGIES  # noqa: E402
from datg.strategies.strategy import Batch, Strategy  # noqa: E402
from datg.trial.evaluation import evaluate  # noqa: E402
from datg.trial.training import Schedule, Training, make_optimiser  # noqa: E402
from tests.strategies.test_contract import SHAPES, TRIPLES, built  # noqa: E402

CLASSES, EXAMPLES = 12, 8  # a class
WAYS, SHOTS, QUERIES, BATCH = 3, 1, 4, 3
STEPS = 2
CUDA = torch.device("cuda")


def as_on_a_gpu(action: Callable[[], None]) -> None:
    """Runs ``action`` where tensors are fake; what a build without CUDA lacks besides is replaced by nothing."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for change in (
            mock.patch.object(torch.Tensor, "pin_memory", lambda self: self),
            mock.patch.object(FakeTensor, "numpy", lambda self: np.zeros(self.shape), create=True),
            mock.patch("torch.cuda.is_bf16_supported", lambda including_emulation=True: True),
            mock.patch("torch.cuda.get_device_properties", lambda device: mock.Mock(total_memory=80 << 30)),
            mock.patch("torch.cuda.get_per_process_memory_fraction", lambda device: 0.5),
            mock.patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False),
            mock.patch("datg.trial.evaluation.generator", lambda *names, device: generator(*names)),
            FakeTensorMode(allow_non_fake_inputs=True, allow_fallback_kernels=False),
        ):
            stack.enter_context(change)
        action()


def on_gpu(net: torch.nn.Module) -> torch.nn.Module:
    for module in net.modules():
        for name, value in list(module._parameters.items()):
            if value is not None:
                module._parameters[name] = torch.nn.Parameter(torch.empty_like(value, device=CUDA))
        for name, value in list(module._buffers.items()):
            if value is not None:
                module._buffers[name] = torch.empty_like(value, device=CUDA)
    return net


def some_classes(shape: tuple[int, ...]) -> DeviceTable:
    """Classes on the GPU; what a table reads off its device once, when it is made, is known."""
    index = torch.empty(CLASSES, dtype=torch.int64, device=CUDA)
    table = DeviceTable(torch.empty(CLASSES * EXAMPLES, *shape, dtype=torch.uint8, device=CUDA), index, index)
    table.__dict__.update(largest=EXAMPLES, total=CLASSES * EXAMPLES)
    return table


def make_training(made: Strategy, net: torch.nn.Module, kind: str, precision: str) -> Training:
    net = on_gpu(net)
    net.backbone.precision = precision
    sampler = TaskSampler(some_classes(SHAPES[kind]), ways=WAYS, shots=SHOTS, queries=QUERIES)
    clusters = torch.empty(2, CLASSES, dtype=torch.bool, device=CUDA) if made.clustering(WAYS) else None
    optimiser = make_optimiser(net, "sgd", lr=0.01, momentum=0.9, weight_decay=0.0)
    batch = Batch(sampler, BATCH, RandomStreams.from_seed(0), clusters)
    return Training(net, made, batch, optimiser, Schedule(lr=0.01, iterations=100))


def train(strategy: str, learner: str, kind: str, precision: str) -> None:
    made, net = built(strategy, learner, kind)

    def steps() -> None:
        training = make_training(made, net, kind, precision)
        training.advance(STEPS)
        devices = {tensor.device.type for tensor in (*training.learner.parameters(), *training._sums.values())}
        assert devices == {"cuda"}, devices

    as_on_a_gpu(steps)


def test(strategy: str, learner: str, kind: str, precision: str) -> None:
    """What a validation does, running statistics included; a final evaluation does the same with more tasks."""

    made, net = built(strategy, learner, kind)

    def evaluation() -> None:
        training = make_training(made, net, kind, precision)
        accumulate_running_statistics(training.learner, training.batch.sampler, seed=0, tasks=5)
        evaluate(training.learner, training.batch.sampler, tasks=5, seed=0, purpose="test")

    as_on_a_gpu(evaluation)


FAULTS: dict[str, Callable[[torch.Tensor], object]] = {
    "waiting": lambda values: values.sum().item(),
    "two devices": lambda values: values + torch.ones(3),
    "a shape of data": lambda values: values[values > 0],
}


def commit(fault: str) -> None:
    as_on_a_gpu(lambda: FAULTS[fault](torch.empty(3, device=CUDA)) and None)


def cases(
    precision: str, chosen: list[str]
) -> Iterator[tuple[str, Callable[[str, str, str, str], None], tuple[str, str, str, str]]]:
    for strategy, learner, kind in TRIPLES:
        if chosen and strategy not in chosen:
            continue
        yield "training", train, (strategy, learner, kind, precision)
        if strategy == "vanilla" or STRATEGIES[strategy].extend is not Strategy.extend:  # others evaluate alike
            yield "evaluation", test, (strategy, learner, kind, precision)


def main() -> None:
    first, *chosen = sys.argv[2:]
    if first == "--faults":
        for name in FAULTS:
            attempt("fault", commit, name)
        return
    for what, run, values in cases(first, chosen):
        attempt(what, run, *values)


def attempt(what: str, run: Callable[..., None], *values: str) -> None:
    try:
        run(*values)
        error = None
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}".splitlines()[0][:300]
    print(json.dumps({"case": [what, *values], "error": error}), flush=True)


if __name__ == "__main__":
    main()
