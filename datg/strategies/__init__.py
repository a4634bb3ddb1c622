"""Strategies: rows of the paper's Table 1, each saying how training tasks are made and what is added to the loss.

A new strategy is one module and one name in :data:`STRATEGIES`; the contract tests, the configuration check, the search
spaces and the command line pick it up from there.
"""

from datg.strategies.datg import Datg
from datg.strategies.inter_cluster import InterCluster
from datg.strategies.random_mixup import RandomMixup
from datg.strategies.strategy import Strategy
from datg.strategies.vanilla import Vanilla

STRATEGIES: dict[str, type[Strategy]] = {
    "vanilla": Vanilla,
    "random_mixup": RandomMixup,
    "inter_cluster": InterCluster,
    "datg": Datg,
}
