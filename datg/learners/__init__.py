"""Learners: turn the support and query sets of tasks, at any layer they share, into query logits.

A new learner is one class with the methods of :class:`~datg.learners.learner.NamedLearner` and one line in
:data:`LEARNERS`.
"""

from datg.learners.anil import Anil
from datg.learners.learner import NamedLearner
from datg.learners.maml import Maml
from datg.learners.protonet import ProtoNet
from datg.learners.reptile import Reptile

LEARNERS: dict[str, type[NamedLearner]] = {"protonet": ProtoNet, "maml": Maml, "anil": Anil, "reptile": Reptile}
