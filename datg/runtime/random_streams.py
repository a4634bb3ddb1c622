"""One seed, split into named streams, so that drawing more of one thing never changes another.

There is no global seed: whatever draws takes its generator as an argument.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn


def derive_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed that depends on ``seed`` and the path of ``names`` alone (SHA-256)."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch generator for the stream called ``names`` of ``seed``."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, *names))


def to_device_async(drawn: npt.NDArray[Any] | Tensor, device: torch.device) -> Tensor:
    """Copy random draws `(*shape)` to the device without blocking (from pinned memory)."""
    values = torch.from_numpy(drawn) if isinstance(drawn, np.ndarray) else drawn
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


@dataclass
class RandomStreams:
    """Hold the streams that training draws from.

    Attributes:
        tasks: the tasks that every strategy trains on (T_i), on the training device.
        partners: the second tasks that some strategies mix with (T_j), on the training device.
        noise: dropout and other noise inside the network, on the training device.
        mixing: layers, Mixup coefficients, class pairings and clusters: small, and needed on the host.
    """

    tasks: torch.Generator
    partners: torch.Generator
    noise: torch.Generator
    mixing: np.random.Generator

    @classmethod
    def from_seed(cls, seed: int, *, device: torch.device | str = "cpu") -> "RandomStreams":
        """Return the streams of training seed ``seed``."""
        return cls(
            tasks=generator(seed, "tasks", device=device),
            partners=generator(seed, "partners", device=device),
            noise=generator(seed, "noise", device=device),
            mixing=np.random.Generator(np.random.PCG64(derive_seed(seed, "mixing"))),
        )

    def state(self) -> dict[str, Tensor]:
        """Return the positions of all streams as uint8 tensors, for a checkpoint."""
        mixing = json.dumps(self.mixing.bit_generator.state).encode()
        return {
            "tasks": self.tasks.get_state(),
            "partners": self.partners.get_state(),
            "noise": self.noise.get_state(),
            "mixing": torch.tensor(list(mixing), dtype=torch.uint8),
        }

    def restore(self, state: dict[str, Tensor], *, anew: int | None = None) -> None:
        """Put all streams back where :meth:`state` found them.

        Args:
            state: from a device of the same kind, unless ``anew`` is given.
            anew: the seed that the streams on the device are derived from anew, because the positions of another kind of device
                mean nothing to it.
        """
        self.mixing.bit_generator.state = json.loads(bytes(state["mixing"].tolist()))
        for name in ("tasks", "partners", "noise"):
            stream: torch.Generator = getattr(self, name)
            if anew is None:
                stream.set_state(state[name])
            else:
                stream.manual_seed(derive_seed(anew, name))


class Noise(nn.Module):
    """Draw inside a network, from a generator that whoever runs the network provides.

    Attributes:
        generator: on the device of the network.
    """

    generator: torch.Generator | None = None

    def uniform(self, like: Tensor) -> Tensor:
        """Draw uniformly from [0, 1), of the shape of ``like``."""
        assert self.generator is not None, "nobody has said where noise is drawn from"
        return torch.rand(like.shape, generator=self.generator, device=like.device)

    def normal(self, like: Tensor) -> Tensor:
        """Draw standard normal values, of the shape of ``like``."""
        assert self.generator is not None, "nobody has said where noise is drawn from"
        return torch.randn(like.shape, generator=self.generator, device=like.device)
