"""The configuration of one trial: frozen, and checked as a whole before anything runs."""

from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, ValidationError, model_validator

from datg.backbones import BACKBONES
from datg.backbones.backbone import BackboneOptions
from datg.config import build_named, refuse, sentences
from datg.data.splits import TaskSize
from datg.errors import ConfigError
from datg.learners import LEARNERS
from datg.learners.learner import LearnerOptions
from datg.strategies import STRATEGIES
from datg.strategies.strategy import Strategy, StrategyContext
from datg.trial.folder import same_network

Positive = Annotated[int, Field(ge=1)]

# Optimisation as the paper (5.2) and as the released MLTI code have it. One comparison uses one preset.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "training.optimiser": "sgd",
        "training.lr": 0.05,
        "training.momentum": 0.9,
        "training.milestones": [0.6, 0.7, 0.8, 0.9],
    },
    "mlti": {
        "training.optimiser": "adam",
        "training.lr": 0.001,
        "training.momentum": 0.9,
        "training.milestones": [],
    },
}
DEFAULT_PRESET = "mlti"  # docs/results/further.md says what measurement decided it

_LEARNER_OPTIONS = {name: learner.options for name, learner in LEARNERS.items()}
_BACKBONE_OPTIONS = {name: backbone.options for name, backbone in BACKBONES.items()}


def _named(instance: Any) -> dict[str, Any]:
    return {"name": instance.name, **asdict(instance)}


StrategySection = Annotated[
    Strategy,
    PlainValidator(lambda value: build_named(STRATEGIES, "strategy", value)),
    PlainSerializer(_named),
]
LearnerSection = Annotated[
    LearnerOptions,
    PlainValidator(lambda value: build_named(_LEARNER_OPTIONS, "learner", value)),
    PlainSerializer(_named),
]
BackboneSection = Annotated[
    BackboneOptions,
    PlainValidator(lambda value: build_named(_BACKBONE_OPTIONS, "backbone", value)),
    PlainSerializer(_named),
]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


class TrainingSection(_Section):
    """Hold the options of the outer loop.

    Attributes:
        preset: where optimiser, lr, momentum and milestones come from unless they are given.
        optimiser: of the outer loop, sgd or adam.
        lr: learning rate at the beginning.
        momentum: of sgd; the first beta of adam.
        weight_decay: L2.
        milestones: shares of the iterations after which the rate is multiplied by gamma.
        gamma: factor at each milestone.
        iterations: outer updates, each on one meta-batch.
        batch: B, tasks a meta-batch.
        eval_every: iterations between validations.
        keep: the weights that are evaluated and exported: those of the best validation, or the last ones.
        precision: of convolutions and linear maps; auto is bf16 on machines made for it. A trial keeps what it began with.
        compile: fuse all that follows a convolution or linear map of shared layers by `torch.compile`: on a GPU a fraction of
            the kernels' time, on a CPU slower. It needs a C++ compiler and half a minute when a trial begins, with MAML minutes.
        cuda_graphs: on a GPU, launch all kernels of a step at once, for strategies whose draws can be made ahead of it. On an
            H200 ProtoNet was fastest with both (2.8 times), MAML with graphs alone (3.2 times); they hold gigabytes of memory.
    """

    preset: Literal["paper", "mlti"] = DEFAULT_PRESET  # type: ignore[assignment]
    optimiser: Literal["sgd", "adam"]
    lr: Annotated[float, Field(gt=0)]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    milestones: list[Annotated[float, Field(gt=0, lt=1)]]
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    iterations: Positive = 15_000
    batch: Positive = 4
    eval_every: Positive = 500
    keep: Literal["best", "last"] = "best"
    precision: Literal["auto", "float32", "bf16"] = "auto"
    compile: bool = False
    cuda_graphs: bool = False

    @model_validator(mode="before")
    @classmethod
    def _fill_preset(cls, values: Any) -> Any:
        if isinstance(values, dict):
            preset = PRESETS.get(str(values.get("preset", DEFAULT_PRESET)), PRESETS[DEFAULT_PRESET])
            return {key.removeprefix("training."): value for key, value in preset.items()} | values
        return values


class EvaluationSection(_Section):
    """Choose validation and test tasks: the same for every trial of a search, whatever its training seed.

    Attributes:
        seed: seed of the tasks.
        validation_tasks: scored every ``training.eval_every`` iterations.
        test_tasks: of the final evaluation on novel classes.
        test_dataset: whose novel classes those are; None for those of the data set itself (cross-domain: paper, Table 2).
        novel_curve: keep the weights of every validation, and once training has ended evaluate them all on the first
            ``validation_tasks`` test tasks (paper, Figure 4a). The curve chooses nothing: training is the same without it, and
            no search may have it.
    """

    seed: Annotated[int, Field(ge=0)] = 0
    validation_tasks: Annotated[int, Field(ge=2)] = 2000
    test_tasks: Annotated[int, Field(ge=2)] = 20_000
    test_dataset: str | None = None
    novel_curve: bool = False


class TrialConfig(_Section):
    """Hold everything that decides what a trial computes, except the data themselves.

    Attributes:
        dataset: name of the data set.
        seed: of training; validation and test tasks have a seed of their own.
        base_classes: train on so many of the base classes, the first in a fixed random order (paper, Figure 4b); None for all.
    """

    dataset: str
    base_classes: Positive | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    task: TaskSize = TaskSize()
    backbone: BackboneSection
    learner: LearnerSection
    strategy: StrategySection
    training: TrainingSection
    evaluation: EvaluationSection = EvaluationSection()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrialConfig":
        """Check nested ``values``.

        Raises:
            ConfigError: with every mistake, one a line.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError("\n".join(sentences(error, cls))) from None

    @model_validator(mode="before")
    @classmethod
    def _fill_names(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        filled: dict[str, Any] = {"training": {}, **values}
        for section, name in (("backbone", "conv4"), ("learner", "protonet"), ("strategy", "datg")):
            given = values.get(section, {})
            filled[section] = {"name": name, **given} if isinstance(given, dict) else given
        return filled

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        problems = self._problems()
        if problems:
            refuse(problems)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain values, from which :meth:`from_dict` makes an equal configuration."""
        return self.model_dump(mode="json")

    def matches(self, written: Any) -> bool:
        """Return whether ``written`` values, perhaps of an older version that lacked some keys, are of this configuration.

        Where a search keeps the network that it has trained itself makes no difference: its folder may have been moved.
        """
        try:
            other = TrialConfig.from_dict(written).to_dict() if isinstance(written, dict) else {}
        except ConfigError:
            return False
        own = self.to_dict()
        if other and same_network(*(values["strategy"].get("cluster_checkpoint") for values in (own, other))):
            other["strategy"]["cluster_checkpoint"] = own["strategy"]["cluster_checkpoint"]
        return own == other

    @property
    def backbone_name(self) -> str:
        """Return the backbone's name in its table."""
        return self.backbone.name

    @property
    def learner_name(self) -> str:
        """Return the learner's name in its table."""
        return self.learner.name

    @property
    def strategy_name(self) -> str:
        """Return the strategy's name in its table."""
        return self.strategy.name

    @property
    def shared_layers(self) -> int:
        """Return L_S: the last layer that a strategy may mix."""
        return LEARNERS[self.learner_name].shared_layers(BACKBONES[self.backbone_name].depth)

    def context(self, shape: tuple[int, ...] | None = None) -> StrategyContext:
        """Return what the strategy must fit, for examples of ``shape`` if that is known."""
        return StrategyContext(
            shared_layers=self.shared_layers,
            channels=self.backbone.channels,
            learner=self.learner,
            batch=self.training.batch,
            shape=shape,
        )

    def _problems(self) -> list[str]:
        """Combination that cannot work."""
        reason = self.strategy.refused_learners.get(self.learner_name)
        if reason:
            return [f"strategy {self.strategy_name} cannot be used with learner {self.learner_name}: {reason}."]
        problems = self.strategy.validate(self.context())
        if self.training.eval_every > self.training.iterations:
            problems.append(
                f"`training.eval_every` must be at most training.iterations ({self.training.iterations}), "
                f"got {self.training.eval_every}."
            )
        return problems
