"""Which cluster each base class belongs to, for strategies that mix across clusters (paper 3.1; Algorithm 1, line 2)."""

from pathlib import Path

import torch

from datg.data.class_table import ClassTable
from datg.data.splits import ALL_BASE_EXAMPLES
from datg.errors import ConfigError
from datg.generation.clustering import (
    Clusters,
    Floats,
    check_number,
    cluster_classes,
    random_clusters,
    raw_features,
    read_clusters,
)
from datg.learners.learner import Learner
from datg.learners.prediction import embed_all
from datg.network import BestWeights, build_learner, load_best
from datg.seeding import derive_seed
from datg.strategies.clustered_mixup import ClusteredMixup
from datg.tasks import Classes
from datg.trial_config import TrialConfig


def partition(config: TrialConfig, base: ClassTable, device: torch.device) -> Clusters | None:
    """The clusters that the strategy of ``config`` asks for; None for strategies without clusters.

    They depend on the seed of the evaluation and not on that of the training, so trials share them.

    Raises:
        ConfigError: there are too few classes, or a file does not fit them.
    """
    strategy, ways = config.strategy, config.task.ways
    if not isinstance(strategy, ClusteredMixup):
        return None
    seed, source = derive_seed(config.evaluation.seed, "clusters"), strategy.cluster_features
    if source == "file":
        assert strategy.cluster_file is not None
        return read_clusters(Path(strategy.cluster_file), base.names, clusters=strategy.clusters, ways=ways)
    if source == "random":
        return random_clusters(base.names, clusters=strategy.clusters, ways=ways, seed=seed)
    if source == "raw":
        features = raw_features(base)
    else:
        learner = _initial(config, base.shape) if source == "init" else _trained(strategy.cluster_checkpoint).learner
        features = embedded_features(learner.to(device), base, device)
    return cluster_classes(
        base.names,
        features,
        clusters=strategy.clusters,
        ways=ways,
        source=source,
        seed=seed,
        smallest=strategy.smallest_cluster(ways),
    )


def check_clusters(config: TrialConfig, base: ClassTable) -> None:
    """Checks what :func:`partition` would refuse, as far as that costs nothing.

    Raises:
        ConfigError: there are too few classes, a file does not fit them, or a checkpoint saw others.
    """
    strategy = config.strategy
    assert isinstance(strategy, ClusteredMixup)
    check_number(strategy.clusters, len(base), strategy.smallest_cluster(config.task.ways))
    if strategy.cluster_features == "file":
        partition(config, base, torch.device("cpu"))
    if strategy.cluster_checkpoint is not None:
        best = _trained(strategy.cluster_checkpoint)
        split = best.info["split"]
        own = best.info["fingerprint"] == base.fingerprint and set(split["base"]) <= set(base.names)
        if not own or split["protocol"].endswith(ALL_BASE_EXAMPLES):
            raise ConfigError(
                f"`strategy.cluster_checkpoint` {strategy.cluster_checkpoint} must have been trained on base classes of "
                f"{config.dataset} alone, as they are now."
            )


def embedded_features(learner: Learner, base: ClassTable, device: torch.device) -> Floats:
    """`(C, d)` class means of L2-normalised embeddings, by running statistics."""
    learner.eval()
    with torch.inference_mode():
        classes = embed_all(learner.backbone, Classes.of(base, device=device))
        normalised = torch.nn.functional.normalize(classes.examples, dim=1)
        means = [part.mean(0) for part in normalised.split(classes.counts.tolist())]
        features: Floats = torch.stack(means).double().cpu().numpy()
        return features


def vanilla_of(config: TrialConfig) -> TrialConfig:
    """A ProtoNet on the same backbone, trained on real tasks, for clustering by its embeddings."""
    values = config.values()
    return TrialConfig.of(values | {"learner": {"name": "protonet"}, "strategy": {"name": "vanilla"}})


def lacks_embedding(config: TrialConfig) -> bool:
    """Whether classes are to be clustered by the embeddings of a network that is not trained yet."""
    strategy = config.strategy
    return (
        isinstance(strategy, ClusteredMixup)
        and strategy.cluster_features == "embedding"
        and strategy.cluster_checkpoint is None
    )


def with_embedding(config: TrialConfig, checkpoint: Path) -> TrialConfig:
    """``config`` with its classes clustered by the embeddings of ``checkpoint``, if it lacks any."""
    if not lacks_embedding(config):
        return config
    values = config.values()
    return TrialConfig.of(values | {"strategy": values["strategy"] | {"cluster_checkpoint": str(checkpoint)}})


def _initial(config: TrialConfig, shape: tuple[int, ...]) -> Learner:
    return build_learner(vanilla_of(config.model_copy(update={"seed": config.evaluation.seed})), shape)


def _trained(checkpoint: str | None) -> BestWeights:
    assert checkpoint is not None, "the network for clustering has not been trained"
    best = load_best(Path(checkpoint))
    if not best.learner.embeds_once:
        raise ConfigError(
            f"`strategy.cluster_checkpoint` {checkpoint} must be of a learner that embeds by running statistics (protonet)."
        )
    return best
