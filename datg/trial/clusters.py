"""Which cluster each base class belongs to, for strategies that mix across clusters (paper 3.1; Algorithm 1, line 2)."""

import json
from pathlib import Path

import torch

from datg.data.class_table import ClassTable
from datg.data.episodes import DeviceTable
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
from datg.runtime.random_streams import derive_seed
from datg.trial.config import TrialConfig
from datg.trial.folder import CLUSTERS, LAST
from datg.trial.model import BestWeights, build_learner, load_best
from datg.trial.preparation import vanilla_of


def cluster_base_classes(config: TrialConfig, base: ClassTable, device: torch.device) -> Clusters | None:
    """Return the clusters that the strategy of ``config`` asks for; None for strategies without clusters.

    They depend on the seed of the evaluation and not on that of the training, so trials share them.

    Raises:
        ConfigError: there are too few classes, or a file does not fit them.
    """
    ways = config.task.ways
    clustering = config.strategy.clustering(ways)
    if clustering is None:
        return None
    seed, source = derive_seed(config.evaluation.seed, "clusters"), clustering.features
    if source == "file":
        assert clustering.file is not None
        return read_clusters(Path(clustering.file), base.names, clusters=clustering.number, ways=ways)
    if source == "random":
        return random_clusters(base.names, clusters=clustering.number, ways=ways, seed=seed)
    if source == "raw":
        features = raw_features(base)
    else:
        learner = _initial(config, base.shape) if source == "init" else _trained(clustering.checkpoint).learner
        features = embedded_features(learner.to(device), base, device)
    return cluster_classes(
        base.names,
        features,
        clusters=clustering.number,
        ways=ways,
        source=source,
        seed=seed,
        smallest=clustering.smallest,
    )


def clusters_of_trial(
    config: TrialConfig, base: ClassTable, device: torch.device, folder: Path | None
) -> Clusters | None:
    """Return the clusters that a trial began with, if it goes on in ``folder``; else those of :func:`cluster_base_classes`.

    A file of clusters may have been edited meanwhile, and embeddings on another device may put a class elsewhere.

    Raises:
        ConfigError: as :func:`cluster_base_classes`.
    """
    if folder is not None and (folder / LAST).exists():
        try:
            return Clusters.from_description(json.loads((folder / CLUSTERS).read_text(encoding="utf-8")), base.names)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # it has none, or they are damaged
            pass
    return cluster_base_classes(config, base, device)


def check_clusters(config: TrialConfig, base: ClassTable) -> None:
    """Check what :func:`cluster_base_classes` would refuse, as far as that costs nothing.

    Raises:
        ConfigError: there are too few classes, a file does not fit them, or a checkpoint saw others.
    """
    clustering = config.strategy.clustering(config.task.ways)
    if clustering is None:
        return
    check_number(clustering.number, len(base), clustering.smallest)
    if clustering.features == "file":
        cluster_base_classes(config, base, torch.device("cpu"))
    if clustering.checkpoint is not None:
        best = _trained(clustering.checkpoint)
        split = best.info.get("split") or {}  # weights that a program of the user's trained may lack it
        same_data = best.info["fingerprint"] == base.fingerprint and bool(split)
        if not same_data or not set(split["base"]) <= set(base.names) or split["protocol"].endswith(ALL_BASE_EXAMPLES):
            raise ConfigError(
                f"`strategy.cluster_checkpoint` {clustering.checkpoint} must have been trained on base classes of "
                f"{config.dataset} alone, as they are now."
            )


def embedded_features(learner: Learner, base: ClassTable, device: torch.device) -> Floats:
    """Return `(C, d)` class means of L2-normalised embeddings, by running statistics."""
    learner.eval()
    with torch.inference_mode():
        classes = embed_all(learner.backbone, DeviceTable.from_table(base, device=device))
        normalised = torch.nn.functional.normalize(classes.examples, dim=1)
        means = [part.mean(0) for part in normalised.split(classes.counts.tolist())]
        features: Floats = torch.stack(means).double().cpu().numpy()
        return features


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
