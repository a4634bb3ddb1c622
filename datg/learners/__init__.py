"""Learners: turn the support and query sets of tasks, at any layer they share, into query logits.

A new learner is one file with a class that has the methods of :class:`~datg.learners.learner.NamedLearner`, and one line in
:data:`LEARNERS`.
"""

from typing import TYPE_CHECKING

from datg.names import NameTable

if TYPE_CHECKING:
    from datg.learners.learner import NamedLearner

LEARNERS: "NameTable[type[NamedLearner]]" = NameTable(
    {
        "protonet": "datg.learners.protonet:ProtoNet",
        "maml": "datg.learners.maml:Maml",
        "anil": "datg.learners.anil:Anil",
        "reptile": "datg.learners.reptile:Reptile",
    }
)
