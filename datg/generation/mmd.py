"""How far generated tasks are from real ones: the maximum mean discrepancy (paper Eq. 4).

    MMD_cr = (1/M) sum_m || (1/n) sum_a phi(H_cr^(a)) - (1/n) sum_a phi(H_m^(a)) ||^2

With a kernel k = <phi, phi> each term is mean k(cr, cr) + mean k(m, m) - 2 mean k(cr, m) over all pairs, the diagonal
included (the biased V-statistic, exactly Eq. 4, never negative). n = N(K + Q) points a task, M real tasks.
"""

import torch
from torch import Tensor

from datg.learners.protonet import squared_distances

SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)


def linear_discrepancy(generated: Tensor, real: Tensor) -> Tensor:
    """MMD_cr of each generated task, `(B,)`, with phi the identity: squared distances of mean points.

    Args:
        generated: `(B, n, d)`.
        real: `(M, n, d)`.
    """
    return squared_distances(generated.mean(1), real.mean(1)).mean(1)


def mean_discrepancy(generated: Tensor, real: Tensor, *, bandwidth: float) -> Tensor:
    """MMD_cr of each generated task, `(B,)`, with the mean of five Gaussian kernels.

    The kernels are exp(-d^2 / (c * bandwidth * s)) for c in SCALES, where s is the median of the squared distances between
    distinct pooled points. s is a constant to the gradient, so shrinking all features cannot lower the loss.

    Args:
        generated: `(B, n, d)`.
        real: `(M, n, d)`.
        bandwidth: multiple of the median heuristic, above 0.
    """
    pooled = torch.cat([generated, real]).flatten(0, 1)
    distances = squared_distances(pooled, pooled)
    scale = bandwidth * _median_between_distinct(distances.detach())
    kernels = torch.stack([torch.exp(-distances / (c * scale)) for c in SCALES]).mean(0)
    tasks, points = len(generated) + len(real), generated.shape[1]
    means = kernels.view(tasks, points, tasks, points).mean((1, 3))  # mean kernel of every pair of tasks
    own = means.diagonal()
    split = len(generated)
    return (own[:split, None] + own[None, split:] - 2 * means[:split, split:]).mean(1)


def _median_between_distinct(distances: Tensor) -> Tensor:
    """The median of the entries above the diagonal of a symmetric `(n, n)` matrix; 1 where that is 0 (equal points)."""
    number = len(distances)
    rows, columns = torch.triu_indices(number, number, 1, device=distances.device)
    median = distances[rows, columns].median()
    return torch.where(median > 0, median, torch.ones_like(median))
