"""Distances between points."""

import torch
from torch import Tensor


def squared_distances(left: Tensor, right: Tensor) -> Tensor:
    """Return `(..., n, m)` squared Euclidean distances of `(..., n, d)` to `(..., m, d)`, by matrix product."""
    norms = left.square().sum(-1)[..., :, None] + right.square().sum(-1)[..., None, :]
    return torch.sub(norms, left @ right.transpose(-1, -2), alpha=2).clamp(min=0)
