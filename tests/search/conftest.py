from pathlib import Path

import pytest

from datg.config import Layers
from datg.data.catalog import Dataset
from datg.data.dataset_yaml import read_dataset_yaml
from datg.search.resolve import MakeGrid, resolve_settings
from datg.search.settings import SearchSettings
from datg.search.state.folder import SearchFolder
from datg.trial.config import PRESETS

SPACES = Path(__file__).parent.parent.parent / "search_spaces"


def settings_for(dataset: Dataset, root: Path, make_grid: MakeGrid | None = None, **flags: object) -> SearchSettings:
    """Settings of a small search, with dotted keys replaced by ``flags`` (underscores twice for dots)."""
    content = read_dataset_yaml(SPACES / "glyphs.yaml")
    layers = Layers(PRESETS, "training.preset")
    layers.add(content["fixed"], "YAML")
    layers.add({"search": content["search"]}, "YAML")
    small = {"training.iterations": 40, "training.eval_every": 10, "backbone.filters": 6}
    layers.add({"search.trials": 6}, "YAML")
    layers.add({**small, **{key.replace("__", "."): value for key, value in flags.items()}}, "flag")
    return resolve_settings(dataset, layers, content.get("space"), root=root, external_study=False, make_grid=make_grid)


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    path = tmp_path / "search-1"
    path.mkdir()
    return SearchFolder(path)
