import pytest

import datg
from datg.data.catalog import Dataset
from datg.trial.folder import BEST
from datg.trial.model import load_best

SMALL = {
    "backbone": {"filters": 4},
    "training": {"iterations": 4, "eval_every": 2},
    "evaluation": {"validation_tasks": 20, "test_tasks": 20},
}


@pytest.fixture(scope="session")
def trained(tmp_path_factory, glyphs: Dataset):
    """By learner, the folder of a short trial on the built-in data set."""
    folders = {}

    def of(learner: str):
        if learner not in folders:
            folder = tmp_path_factory.mktemp(learner)
            config = {"dataset": "glyphs", "learner": {"name": learner}, "strategy": {"name": "vanilla"}, **SMALL}
            datg.run_trial(datg.TrialConfig.from_dict(config), glyphs, folder=folder)
            folders[learner] = folder
        return folders[learner]

    return of


@pytest.fixture
def network(trained):
    return lambda learner: load_best(trained(learner) / BEST)
