"""What a strategy needs before it can train: a network that is trained first, on real tasks of the base classes."""

from pathlib import Path

from datg.trial.config import TrialConfig


def network_to_train(config: TrialConfig) -> TrialConfig | None:
    """Return the configuration of the network that is to be trained before ``config``; None if its strategy needs none."""
    return None if config.strategy.missing_network is None else vanilla_of(config)


def with_network(config: TrialConfig, checkpoint: Path) -> TrialConfig:
    """Return ``config`` with ``checkpoint`` where its strategy lacks a network; ``config`` itself if it lacks none."""
    field = config.strategy.missing_network
    if field is None:
        return config
    values = config.to_dict()
    return TrialConfig.from_dict(values | {"strategy": values["strategy"] | {field: str(checkpoint)}})


def vanilla_of(config: TrialConfig) -> TrialConfig:
    """Return a ProtoNet on the same backbone, trained on real tasks, for clustering by its embeddings."""
    values = config.to_dict()
    own = {"learner": {"name": "protonet"}, "strategy": {"name": "vanilla"}}
    return TrialConfig.from_dict(values | own | {"evaluation": values["evaluation"] | {"novel_curve": False}})
