"""How far generated tasks are from real ones: the maximum mean discrepancy (paper Eq. 4).

    MMD_cr = (1/M) sum_m || (1/n) sum_a phi(H_cr^(a)) - (1/n) sum_a phi(H_m^(a)) ||^2

With a kernel k = <phi, phi> each term is mean k(cr, cr) + mean k(m, m) - 2 mean k(cr, m) over all pairs, the diagonal
included (the biased V-statistic, exactly Eq. 4, never negative). n = N(K + Q) points a task, M real tasks.
"""

from functools import lru_cache

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
    with torch.no_grad():
        scale = bandwidth * _median_between_distinct(squared_distances(pooled, pooled))

    def kernel(distances: Tensor) -> Tensor:
        return torch.stack([torch.exp(-distances / (c * scale)) for c in SCALES]).mean(0)

    own_generated, own_real = (kernel(squared_distances(tasks, tasks)).mean((1, 2)) for tasks in (generated, real))
    crossed = kernel(squared_distances(generated.flatten(0, 1), real.flatten(0, 1)))
    crossed = crossed.view(*generated.shape[:2], *real.shape[:2]).mean((1, 3))  # of every pair of tasks
    return (own_generated[:, None] + own_real - 2 * crossed).mean(1)


def _median_between_distinct(distances: Tensor) -> Tensor:
    """The median of the entries above the diagonal of a symmetric `(n, n)` matrix; 1 where that is 0 (equal points)."""
    median = distances.flatten()[_above_diagonal(len(distances), distances.device)].median()
    return torch.where(median > 0, median, torch.ones_like(median))


@lru_cache(maxsize=4)
def _above_diagonal(number: int, device: torch.device) -> Tensor:
    """Where the entries above the diagonal of a flattened `(number, number)` matrix stand."""
    rows, columns = torch.triu_indices(number, number, 1, device=device)
    return rows * number + columns
