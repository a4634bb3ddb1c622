"""The study: samplers and pruners decide in memory, a database remembers what was decided.

A new sampler or pruner is one function and one line in :data:`SAMPLERS` or :data:`PRUNERS`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from datg.names import NameTable

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

    from datg.search.study.samplers import Draw

SAMPLERS: "NameTable[Callable[[Draw], BaseSampler]]" = NameTable(
    {
        "tpe": "datg.search.study.samplers:tpe",
        "gp": "datg.search.study.samplers:gp",
        "random": "datg.search.study.samplers:random",
        "qmc": "datg.search.study.samplers:SobolSampler",
    }
)
PRUNERS: "NameTable[Callable[..., BasePruner]]" = NameTable(
    {
        "halving": "datg.search.study.pruners:halving",
        "hyperband": "datg.search.study.pruners:hyperband",
        "median": "datg.search.study.pruners:median",
        "none": "datg.search.study.pruners:none",
    }
)
