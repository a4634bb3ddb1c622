import os
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from datg.backbones.conv4 import Conv4, Conv4Options
from datg.backbones.fc2 import Fc2, Fc2Options
from datg.data.catalog import Dataset, open_dataset
from datg.data.class_table import ClassTable
from datg.data.episodes import DeviceTable, TaskSampler
from datg.learners import LEARNERS
from datg.learners.learner import NamedLearner
from datg.runtime.random_streams import RandomStreams, generator
from datg.strategies.strategy import Batch
from tests.data.importing.raw_forms import stock


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)
    # Of commands in processes of their own, too: threads that share a core with another test wait for each other.
    os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks as slow what of a matrix of parameters is not in its sample: there each value stands at least once."""
    seen: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for item in items:
        if item.get_closest_marker("matrix") is None:
            continue
        own = {(name, repr(value)) for name, value in item.callspec.params.items()}
        known = seen[item.nodeid.partition("[")[0]]
        if own <= known:
            item.add_marker("slow")
        known |= own


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the built-in data set, made once."""
    root = tmp_path_factory.mktemp("data")
    open_dataset("glyphs", root)
    return root


@pytest.fixture(scope="session")
def glyphs(data_root: Path) -> Dataset:
    return open_dataset("glyphs", data_root)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; a test that wants it is skipped, with this reason, where there is none."""
    root = os.environ.get("DATG_REAL_DATA")
    if not root:
        pytest.skip("DATG_REAL_DATA is unset: no real pictures at hand")
    return Path(root)


@pytest.fixture
def take() -> Callable[[int, int], list[list[np.ndarray]]]:
    """Pictures for raw forms: real ones where there are any, else generated ones."""
    root = os.environ.get("DATG_REAL_DATA")
    return stock(Path(root) if root else None)


def table_of(counts: list[int], shape: tuple[int, ...] = (3, 16, 16), seed: int = 0) -> ClassTable:
    """A class table of random pictures, each class around a colour of its own."""
    rng = np.random.default_rng(seed)
    pictures = []
    for count in counts:
        centre = rng.integers(0, 200, size=(1, shape[0], *[1] * (len(shape) - 1)))
        pictures.append((centre + rng.integers(0, 55, size=(count, *shape))).astype(np.uint8))
    sizes = np.array(counts, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    return ClassTable(
        np.concatenate(pictures), tuple(f"class {i}" for i in range(len(counts))), starts, sizes, f"random {seed}"
    )


def batch_of(
    table: ClassTable,
    *,
    ways: int = 3,
    shots: int = 1,
    queries: int = 4,
    size: int = 3,
    seed: int = 0,
    clusters: int = 0,
) -> Batch:
    """What a strategy draws from; with ``clusters`` the classes are cut into runs of equal length."""
    sampler = TaskSampler(DeviceTable.from_table(table), ways=ways, shots=shots, queries=queries)
    groups = None
    if clusters:
        groups = torch.arange(clusters)[:, None] == torch.arange(len(table)) * clusters // len(table)
    return Batch(sampler, size, RandomStreams.from_seed(seed), groups)


def learner_of(
    name: str,
    *,
    shape: tuple[int, ...] = (3, 16, 16),
    filters: int = 4,
    ways: int = 3,
    seed: int = 0,
    dropout: float = 0.2,
    **options: object,
) -> NamedLearner:
    """A small learner of the table; on pictures of conv4, on vectors of fc2."""
    backbone = (
        partial(Conv4, shape, Conv4Options(filters=filters))
        if len(shape) == 3
        else partial(Fc2, shape, Fc2Options(width=2 * filters, dropout=dropout))
    )
    kind = LEARNERS[name]
    built = kind.build(backbone, kind.options(**options), generator=generator(seed, "net"), ways=ways)
    built.draw_from(generator(seed, "noise"))
    return built.train()
