"""A configuration and a data set brought together: checked, and made into a training."""

import torch

from datg.backbones import BACKBONES
from datg.data.catalog import Dataset
from datg.data.class_table import ClassTable
from datg.data.episodes import DeviceTable, TaskSampler
from datg.data.import_settings import PARTS
from datg.data.splits import check_split, check_tasks
from datg.errors import ConfigError
from datg.generation.clustering import Clusters
from datg.runtime.precision import resolve
from datg.runtime.random_streams import RandomStreams
from datg.strategies.strategy import Batch
from datg.trial.clusters import check_clusters
from datg.trial.config import TrialConfig
from datg.trial.data import TrialData
from datg.trial.model import build_learner
from datg.trial.training import Schedule, Training, make_optimiser


def check_trial(config: TrialConfig, dataset: Dataset) -> None:
    """Check a configuration against the data, before anything runs.

    Raises:
        ConfigError: too many clusters for the base classes, or a backbone that cannot read the examples.
        DataError: a part of the split has too few classes or examples for the tasks.
    """
    task = config.task
    check_split(dataset.split, dataset.table.sizes)
    parts = {part: dataset.part(part).sizes for part in PARTS}
    check_tasks(parts, ways=task.ways, shots=task.shots, queries=task.queries)
    shape = dataset.table.shape
    BACKBONES[config.backbone_name].check_shape(shape)
    problems = config.strategy.validate(config.context(shape))
    if problems:
        raise ConfigError("\n".join(problems))
    check_clusters(config, dataset.part("base"))


def make_sampler(
    config: TrialConfig, table: ClassTable, device: torch.device, *, sharing: DeviceTable | None = None
) -> TaskSampler:
    """Draw tasks of the configured geometry from the classes of ``table``; see :meth:`DeviceTable.from_table`."""
    task = config.task
    return TaskSampler(
        DeviceTable.from_table(table, device=device, sharing=sharing),
        ways=task.ways,
        shots=task.shots,
        queries=task.queries,
    )


def make_training(
    config: TrialConfig, data: TrialData, device: torch.device, clusters: Clusters | None = None
) -> Training:
    """Return a training at its beginning.

    Args:
        config: checked.
        data: its base classes are trained on.
        device: where.
        clusters: of the base classes, if the strategy works with any.
    """
    settings = config.training
    learner = build_learner(config, data.base.shape).to(device)
    learner.backbone.precision = resolve(settings.precision, device)
    if settings.compile:
        learner.backbone.compile_blocks()
    cluster_masks = None if clusters is None else torch.from_numpy(clusters.cluster_masks()).to(device)
    return Training(
        learner,
        config.strategy,
        Batch(
            make_sampler(config, data.base, device),
            settings.batch,
            RandomStreams.from_seed(config.seed, device=device),
            cluster_masks,
        ),
        make_optimiser(
            learner,
            settings.optimiser,
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        ),
        Schedule(
            lr=settings.lr,
            iterations=settings.iterations,
            milestones=tuple(settings.milestones),
            gamma=settings.gamma,
        ),
        graphs=settings.cuda_graphs and device.type == "cuda",
    )
