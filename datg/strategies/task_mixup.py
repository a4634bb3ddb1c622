"""What strategies that mix pairs of tasks share: the hyperparameters of Eq. 3, and how a meta-batch is generated."""

from abc import ABC
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from datg.generation.mixup import MixedTasks, draw_mix_plan, mix_tasks
from datg.learners.learner import Learner
from datg.strategies.strategy import Batch, Strategy

BetaParameter = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
Layer = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, kw_only=True)
class TaskMixup(Strategy, ABC):
    """Mixes each task with another one, at a random layer, in a random proportion; subclasses say which and add losses.

    Attributes:
        alpha: of lambda ~ Beta(alpha, beta), the share of the first task.
        beta: likewise.
        mix_low: the lowest layer that is mixed; 0 is the input.
        mix_high: the highest, at most L_S; None stands for L_S, as in the paper.
    """

    alpha: BetaParameter = 2.0
    beta: BetaParameter = 2.0
    mix_low: Layer = 0
    mix_high: Layer | None = None

    def problems(self, shared_layers: int) -> list[str]:
        """Layers must be ordered and shared by all tasks."""
        problems = []
        if self.mix_high is not None and self.mix_high > shared_layers:
            problems.append(
                f"`strategy.mix_high` must be at most {shared_layers}, the last layer that this learner shares between "
                f"tasks, got {self.mix_high}."
            )
        high = shared_layers if self.mix_high is None else self.mix_high
        if self.mix_low > high:
            problems.append(f"`strategy.mix_low` must be at most {high}, the highest layer mixed, got {self.mix_low}.")
        return problems

    def generate(
        self,
        learner: Learner,
        batch: Batch,
        *,
        families: tuple[Tensor | None, Tensor | None] = (None, None),
        keep_real: bool = False,
    ) -> MixedTasks:
        """Draws B pairs of tasks and mixes them.

        Args:
            learner: encodes them.
            batch: where they are drawn from.
            families: which classes, `(C,)` bool, T_i and T_j are drawn from; None means all.
            keep_real: also return T_i and T_j at layer L_S.
        """
        sampler, streams = batch.sampler, batch.streams
        plan = draw_mix_plan(
            batch.size,
            ways=sampler.ways,
            alpha=self.alpha,
            beta=self.beta,
            low=self.mix_low,
            high=learner.last_shared if self.mix_high is None else self.mix_high,
            rng=streams.mixing,
            device=sampler.classes.starts.device,
        )
        first = sampler.draw(batch.size, generator=streams.tasks, within=families[0])
        second = sampler.draw(batch.size, generator=streams.partners, within=families[1]).permuted(plan.pairing)
        first_sets, second_sets = (
            learner.sets(sampler.classes.gather(tasks.rows), sampler.shots) for tasks in (first, second)
        )
        return mix_tasks(learner, first_sets, second_sets, plan, keep_real=keep_real)
