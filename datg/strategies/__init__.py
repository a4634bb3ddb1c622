"""Strategies: rows of the paper's Table 1, each saying how training tasks are made and what is added to the loss.

A new strategy is one module and one name in :data:`STRATEGIES`; the contract tests, the configuration check, the search
spaces and the command line pick it up from there.
"""

from datg.strategies.datg import Datg
from datg.strategies.inter_cluster import InterCluster
from datg.strategies.meta_dropout import MetaDropout
from datg.strategies.meta_maxup import MetaMaxup
from datg.strategies.meta_reg import MetaReg
from datg.strategies.metamix import MetaMix
from datg.strategies.mlti import Mlti
from datg.strategies.random_mixup import RandomMixup
from datg.strategies.strategy import Strategy
from datg.strategies.taml import Taml
from datg.strategies.vanilla import Vanilla

# In the order of Table 1; random_mixup and inter_cluster are the ablations of Table 3.
STRATEGIES: dict[str, type[Strategy]] = {
    "vanilla": Vanilla,
    "meta_reg": MetaReg,
    "taml": Taml,
    "meta_dropout": MetaDropout,
    "metamix": MetaMix,
    "meta_maxup": MetaMaxup,
    "mlti": Mlti,
    "random_mixup": RandomMixup,
    "inter_cluster": InterCluster,
    "datg": Datg,
}
