"""MAML (Finn et al. 2017; paper Eq. 1), adapting the last block and the classifier only (paper 5.2).

The outer gradient goes through the inner steps (second order) unless ``first_order`` (FOMAML).
"""

from dataclasses import dataclass
from typing import ClassVar

from datg.learners.inner_loop import InnerLoop, InnerLoopOptions
from datg.learners.learner import LearnerOptions


@dataclass(frozen=True, kw_only=True)
class MamlOptions(InnerLoopOptions):
    """Hold the options of MAML's inner loop.

    Attributes:
        first_order: treat inner gradients as constants (FOMAML).
    """

    name: ClassVar[str] = "maml"

    first_order: bool = False


class Maml(InnerLoop):
    """Share the first L - 1 blocks; adapt the last one and the head."""

    options: ClassVar[type[LearnerOptions]] = MamlOptions

    @staticmethod
    def shared_layers(depth: int) -> int:
        """Return all but the last: L_S = L - 1."""
        return depth - 1

    @property
    def first_order(self) -> bool:
        """Return what the options say."""
        return bool(self.inner.first_order)
