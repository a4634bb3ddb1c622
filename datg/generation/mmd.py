"""How far generated tasks are from real ones: the maximum mean discrepancy (paper Eq. 4).

    MMD_cr = (1/M) sum_m || (1/n) sum_a phi(H_cr^(a)) - (1/n) sum_a phi(H_m^(a)) ||^2

With a kernel k = <phi, phi> each term is mean k(cr, cr) + mean k(m, m) - 2 mean k(cr, m) over all pairs, the diagonal
included (the biased V-statistic, exactly Eq. 4, never negative). n = N(K + Q) points a task, M real tasks.
"""

from functools import cache

import torch
from torch import Tensor

from datg.learners.distances import squared_distances

SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
NEAR = 0.05  # of the median: such distances stand for it
ROUNDING = 8.0  # times the precision of the largest squared norm: a squared distance below that may be 0


def linear_discrepancy(generated: Tensor, real: Tensor) -> Tensor:
    """Return MMD_cr of each generated task, `(B,)`, with phi the identity: squared distances of mean points.

    Args:
        generated: `(B, n, d)`.
        real: `(M, n, d)`.
    """
    return squared_distances(generated.mean(1), real.mean(1)).mean(1)


def mean_discrepancy(generated: Tensor, real: Tensor, *, bandwidth: float) -> Tensor:
    """Return MMD_cr of each generated task, `(B,)`, with the mean of five Gaussian kernels.

    The kernels are exp(-d^2 / (c * bandwidth * s)) for c in SCALES, where s is the median of the squared distances between
    distinct pooled points (`_typical_distance`). s grows with the features, so MMD(c X) = MMD(X) for every c > 0. It is
    differentiated with everything else: with s held constant the gradient along c would not be 0, and descent would shrink all
    features (or, at narrow kernels, blow them up) although that changes nothing.

    Args:
        generated: `(B, n, d)`.
        real: `(M, n, d)`.
        bandwidth: multiple of the median heuristic, above 0.
    """
    scale = bandwidth * _typical_distance(torch.cat([generated, real]).flatten(0, 1))

    def kernel(distances: Tensor) -> Tensor:
        return torch.stack([torch.exp(-distances / (c * scale)) for c in SCALES]).mean(0)

    own_generated, own_real = (kernel(squared_distances(tasks, tasks)).mean((1, 2)) for tasks in (generated, real))
    crossed = kernel(squared_distances(generated.flatten(0, 1), real.flatten(0, 1)))
    crossed = crossed.view(*generated.shape[:2], *real.shape[:2]).mean((1, 3))  # of every pair of tasks
    return (own_generated[:, None] + own_real - 2 * crossed).mean(1)


def _typical_distance(points: Tensor) -> Tensor:
    """Return the median of the squared distances between `(n, d)` points, as the mean of those within NEAR of it.

    The mean differs from the median by less than NEAR, and its gradient reaches every pair of that distance. The median's own
    reaches one pair, another one after any rounding: in bfloat16 that turns the gradient of the whole loss.

    Where most points coincide (a network whose units are dead) it is the mean of the distances that are not 0, so that such
    points are still told from the others; where all do, 1: every distance is 0 then, and so is the MMD.
    """
    with torch.no_grad():
        distances = squared_distances(points, points)  # of every pair twice
        median = distances.flatten()[_pairs(len(points), points.device)].median()
        rounding = ROUNDING * torch.finfo(points.dtype).eps * points.square().sum(1).max()
        told_apart = distances > rounding
        weights = torch.where(median > rounding, (distances - median).abs() <= NEAR * median, told_apart).to(
            points.dtype
        )
    # The sum of weights * distances, of which only `(n, d)` tensors are kept for the gradient.
    total = 2 * (weights.sum(1) @ points.square().sum(1) - (points * (weights @ points)).sum())
    return torch.where(told_apart.any(), total / weights.sum().clamp(min=1), torch.ones_like(total))


@cache  # never freed: recorded CUDA graphs read it
def _pairs(number: int, device: torch.device) -> Tensor:
    """Return where every pair of ``number`` points stands in a flattened square, `(number * (number - 1) / 2,)`."""
    rows, columns = torch.triu_indices(number, number, 1, device=device)
    return rows * number + columns
