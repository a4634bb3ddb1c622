"""How far generated tasks are from real ones: the maximum mean discrepancy (paper Eq. 4).

    MMD_cr = (1/M) sum_m || (1/n) sum_a phi(H_cr^(a)) - (1/n) sum_a phi(H_m^(a)) ||^2

With a kernel k = <phi, phi> each term is mean k(cr, cr) + mean k(m, m) - 2 mean k(cr, m) over all pairs, the diagonal
included (the biased V-statistic, exactly Eq. 4, never negative). n = N(K + Q) points a task, M real tasks.
"""

from functools import cache

import torch
from torch import Tensor

from datg.learners.distances import squared_distances

SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)  # each twice the one before
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
    points, others = generated.flatten(0, 1), real.flatten(0, 1)
    crossed = squared_distances(points, others)
    among_generated, among_real = squared_distances(points, points), squared_distances(others, others)
    scale = bandwidth * _typical_distance(among_generated, crossed, among_real, rounding=_rounding(points, others))
    own_generated = _kernel(_within_tasks(among_generated, len(generated)), scale).mean((1, 2))
    own_real = _kernel(_within_tasks(among_real, len(real)), scale).mean((1, 2))
    pairs_of_tasks = _kernel(crossed, scale).view(*generated.shape[:2], *real.shape[:2]).mean((1, 3))
    return (own_generated[:, None] + own_real - 2 * pairs_of_tasks).mean(1)


def _within_tasks(distances: Tensor, tasks: int) -> Tensor:
    """Return `(tasks, n, n)` of `(tasks * n, tasks * n)`: the distances between points of the same task."""
    return distances.unflatten(1, (tasks, -1)).unflatten(0, (tasks, -1)).diagonal(dim1=0, dim2=2).movedim(2, 0)


def _kernel(distances: Tensor, scale: Tensor) -> Tensor:
    """Return the mean of exp(-d^2 / (c * scale)) over c in SCALES; each is the square of the one twice as wide."""
    narrower = total = torch.exp(-distances / (SCALES[-1] * scale))
    for _ in SCALES[1:]:
        narrower = narrower.square()
        total = total + narrower
    return total / len(SCALES)


def _rounding(*points: Tensor) -> Tensor:
    """Return below which a squared distance between `(n, d)` points may be 0."""
    norms = [part.detach().square().sum(1).max() for part in points]
    return ROUNDING * torch.finfo(points[0].dtype).eps * torch.stack(norms).max()


def _typical_distance(among_generated: Tensor, crossed: Tensor, among_real: Tensor, *, rounding: Tensor) -> Tensor:
    """Return the median of the squared distances between pooled points, as the mean of those within NEAR of it.

    The mean differs from the median by less than NEAR, and its gradient reaches every pair of that distance. The median's own
    reaches one pair, another one after any rounding: in bfloat16 that turns the gradient of the whole loss.

    Where most points coincide (a network whose units are dead) it is the mean of the distances that are not 0, so that such
    points are still told from the others; where all do, 1: every distance is 0 then, and so is the MMD.

    Args:
        among_generated: `(n, n)`, every pair twice.
        crossed: `(n, m)`, every pair once.
        among_real: `(m, m)`, every pair twice.
        rounding: below which a distance may be 0.
    """
    with torch.no_grad():
        twice = [part.flatten()[_pairs(len(part), part.device)] for part in (among_generated, among_real)]
        median = torch.cat([crossed.flatten(), *twice]).median()

    def weights(distances: Tensor) -> Tensor:
        near = torch.where(median > rounding, (distances - median).abs() <= NEAR * median, distances > rounding)
        return near.to(distances.dtype)

    total, number = torch.zeros_like(median), torch.zeros_like(median)
    for distances, times in ((among_generated, 1), (crossed, 2), (among_real, 1)):
        chosen = weights(distances.detach())
        total, number = total + times * (chosen * distances).sum(), number + times * chosen.sum()
    return torch.where(number > 0, total / number.clamp(min=1), torch.ones_like(total))


@cache  # never freed: recorded CUDA graphs read it
def _pairs(number: int, device: torch.device) -> Tensor:
    """Return where every pair of ``number`` points stands in a flattened square, `(number * (number - 1) / 2,)`."""
    rows, columns = torch.triu_indices(number, number, 1, device=device)
    return rows * number + columns
