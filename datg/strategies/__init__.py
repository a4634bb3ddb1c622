"""Strategies: rows of the paper's Table 1, each saying how training tasks are made and what is added to the loss.

A new strategy is one file with a class that has the methods of :class:`~datg.strategies.strategy.Strategy`, and one line in
:data:`STRATEGIES`. Configuration, search spaces, the command line and the contract tests know it from there.
"""

from typing import TYPE_CHECKING

from datg.names import NameTable

if TYPE_CHECKING:
    from datg.strategies.strategy import Strategy

# In the order of Table 1; random_mixup and inter_cluster are the ablations of Table 3.
STRATEGIES: "NameTable[type[Strategy]]" = NameTable(
    {
        "vanilla": "datg.strategies.vanilla:Vanilla",
        "meta_reg": "datg.strategies.meta_reg:MetaReg",
        "taml": "datg.strategies.taml:Taml",
        "meta_dropout": "datg.strategies.meta_dropout:MetaDropout",
        "metamix": "datg.strategies.metamix:MetaMix",
        "meta_maxup": "datg.strategies.meta_maxup:MetaMaxup",
        "mlti": "datg.strategies.mlti:Mlti",
        "random_mixup": "datg.strategies.random_mixup:RandomMixup",
        "inter_cluster": "datg.strategies.inter_cluster:InterCluster",
        "datg": "datg.strategies.datg:Datg",
    }
)
