"""ANIL, almost no inner loop (Raghu et al. 2020): MAML that adapts the classifier alone. Not in the paper's Table 1."""

from dataclasses import dataclass
from typing import ClassVar

from datg.learners.inner_loop import InnerLoop
from datg.learners.learner import LearnerOptions
from datg.learners.maml import MamlOptions


@dataclass(frozen=True, kw_only=True)
class AnilOptions(MamlOptions):
    """Hold the options of the inner loop, as of MAML."""

    name: ClassVar[str] = "anil"


class Anil(InnerLoop):
    """Share all blocks; adapt the head."""

    options: ClassVar[type[LearnerOptions]] = AnilOptions

    @staticmethod
    def shared_layers(depth: int) -> int:
        """Share every layer: L_S = L."""
        return depth

    @property
    def first_order(self) -> bool:
        """Return what the options say."""
        return bool(self.inner.first_order)
