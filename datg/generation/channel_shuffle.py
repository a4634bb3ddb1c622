"""Channel Shuffle (Yao et al. 2021): a group of channels of each class is replaced by that of another class."""

import math

import torch
from torch import Tensor


def group_bounds(channels: int, groups: int) -> list[int]:
    """Return where groups of channels begin and the last one ends: ceil(channels * i / groups) for i = 0 .. groups."""
    return [math.ceil(channels * index / groups) for index in range(groups + 1)]


def shuffle_channels(examples: Tensor, partners: Tensor, chosen: Tensor, groups: int) -> Tensor:
    """Replace a group of channels of every class by that of its partner class, example m by example m.

    Args:
        examples: `(B, N, M, channels, ...)` at a hidden layer.
        partners: `(B, N)` the partner of each class.
        chosen: `(B,)` which group.
        groups: into how many the channels are cut.
    """
    channels = examples.shape[3]
    bounds = torch.tensor(group_bounds(channels, groups), device=examples.device)
    places = torch.arange(channels, device=examples.device)
    inside = (places >= bounds[chosen, None]) & (places < bounds[chosen + 1, None])
    inside = inside.view(len(examples), 1, 1, channels, *[1] * (examples.ndim - 4))
    others = examples[torch.arange(len(examples), device=examples.device)[:, None], partners]
    return torch.where(inside, others, examples)
