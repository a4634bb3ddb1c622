"""On a GPU the training loop must never wait for the device: nothing in it may need a value on the host.

The operations that would are known by name, so this shows on a CPU, too.
"""

import re
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from datg.runtime.random_streams import to_device_async
from datg.trial.training import Schedule, Training, make_optimiser
from tests.strategies.test_contract import TRIPLES, batch_for, built

WAITING = {
    "aten::_local_scalar_dense",  # float(x), int(x), bool(x), x.item()
    "aten::nonzero",
    "aten::masked_select",
    "aten::repeat_interleave.Tensor",  # lengths on the device, unless the sum is given
    "aten::_unique2",
    "aten::equal",
}


class NoWaiting(TorchDispatchMode):
    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        name = operation._schema.name + (f".{operation._overloadname}" if operation._overloadname != "default" else "")
        told = operation._schema.name == "aten::repeat_interleave" and (options or {}).get("output_size") is not None
        assert name not in WAITING or told, f"{name} waits for the device"
        if name.startswith("aten::index") and isinstance(arguments[1], list | tuple):
            masks = [i for i in arguments[1] if isinstance(i, torch.Tensor) and i.dtype == torch.bool]
            assert not masks, f"{name} by a mask waits for the device"
        return operation(*arguments, **(options or {}))


@pytest.mark.matrix
@pytest.mark.parametrize(("strategy", "learner", "kind"), TRIPLES)
def test_the_loop_never_waits_for_the_device(strategy, learner, kind):
    made, net = built(strategy, learner, kind)
    batch = batch_for(made, kind)
    training = Training(
        net,
        made,
        batch,
        make_optimiser(net, "sgd", lr=0.01, momentum=0.9, weight_decay=0.0),  # adam counts its steps on the host
        Schedule(lr=0.01, iterations=100),
    )
    training.advance(1)  # what is computed once may wait
    with NoWaiting():
        training.advance(4)


@pytest.mark.parametrize(
    "wait",
    [
        lambda values: float(values.sum()),
        lambda values: values[values > 0.5],
        lambda values: values.repeat_interleave(torch.arange(3)),
    ],
)
def test_waiting_is_noticed(wait):
    with pytest.raises(AssertionError, match="waits? for the device"), NoWaiting():
        wait(torch.rand(3))


def test_what_was_drawn_on_the_host_is_sent_from_pinned_memory():
    drawn, device = mock.MagicMock(spec=torch.Tensor), torch.device("cuda")
    assert to_device_async(drawn, device) is drawn.pin_memory.return_value.to.return_value
    drawn.pin_memory.return_value.to.assert_called_once_with(device, non_blocking=True)


def test_nothing_that_is_drawn_in_the_loop_is_sent_in_another_way():
    package = Path(__file__).parent.parent.parent / "datg"
    loop = [
        *(package / "strategies").glob("*.py"),
        *(package / "generation").glob("*.py"),
        package / "data" / "episodes.py",
    ]
    found = [path.name for path in loop if re.search(r"from_numpy\(.*\)(\.float\(\))?\.to\(", path.read_text())]
    assert len(loop) > 20 and not found
