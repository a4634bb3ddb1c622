"""Learners: turn the support and query sets of tasks, at any layer they share, into query logits.

A new learner is one class with the methods of :class:`~datg.learners.learner.Learner` and one line in
:data:`LEARNERS`.
"""

from datg.learners.learner import Learner
from datg.learners.maml import Maml
from datg.learners.protonet import ProtoNet

LEARNERS: dict[str, type[Learner]] = {"protonet": ProtoNet, "maml": Maml}
