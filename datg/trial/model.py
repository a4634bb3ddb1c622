"""The network of a configuration: freshly initialised, or with the best weights that a trial found."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datg.backbones import BACKBONES
from datg.errors import ConfigError, StateError
from datg.learners import LEARNERS
from datg.learners.learner import Learner
from datg.runtime.random_streams import generator
from datg.storage.checkpoint import load_checkpoint
from datg.trial.config import TrialConfig


def build_learner(config: TrialConfig, shape: tuple[int, ...]) -> Learner:
    """Build the learner of ``config`` for examples of ``shape``, with what its strategy adds, initialised from its seed."""
    learner = LEARNERS[config.learner_name].build(
        partial(BACKBONES[config.backbone_name], shape, config.backbone),
        config.learner,
        generator=generator(config.seed, "initialisation"),
        ways=config.task.ways,
    )
    return config.strategy.extend(learner, generator=generator(config.seed, "initialisation", "strategy"))


@dataclass(frozen=True)
class BestWeights:
    """Hold a checkpoint of a trial's best validation.

    Attributes:
        learner: with those weights, computing in the precision that they were trained in.
        info: iteration, validation accuracy and interval, fingerprint and split of the data.
    """

    learner: Learner
    config: TrialConfig
    info: dict[str, Any]


def load_best(path: Path) -> BestWeights:
    """Read a checkpoint of best weights.

    Raises:
        ConfigError: it is no checkpoint, is damaged, or its weights do not fit the architecture that it describes.
    """
    try:
        weights, info = load_checkpoint(path)
        config = TrialConfig.from_dict(info["config"])
        learner = build_learner(config, tuple(info["shape"]))
        learner.load_state_dict(weights)
        learner.backbone.precision = info.get("precision", "float32")
    except StateError as error:
        raise ConfigError(str(error)) from error
    except (KeyError, ConfigError, RuntimeError) as error:
        raise ConfigError(
            f"{path} does not hold best weights of the architecture that it describes "
            f"({type(error).__name__}: {str(error).splitlines()[0]}); give the best.safetensors of a trial."
        ) from error
    return BestWeights(learner, config, info)
