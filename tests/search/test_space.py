import itertools

import pytest
import yaml

from datg.data.catalog import Dataset
from datg.data.dataset_yaml import dataset_yaml_for, read_dataset_yaml
from datg.data.import_settings import ImportSettings
from datg.data.importing.formats import FORMATS
from datg.data.protocols import PROTOCOLS
from datg.data.splits import Split
from datg.errors import ConfigError
from datg.learners import LEARNERS
from datg.search.space import (
    bounds_of,
    check_space,
    contains,
    default_params,
    parse_space,
    restrict,
    suggest,
    whole_space,
    with_params,
)
from datg.search.study import PRUNERS, SAMPLERS
from datg.search.study.memory import MemoryStudy
from datg.search.study.samplers import sampler_for
from datg.strategies import STRATEGIES
from datg.trial.config import TrialConfig
from datg.trial.prepare import check_trial
from tests.conftest import table_of
from tests.search.conftest import SPACES

FILES = sorted(SPACES.rglob("*.yaml"))


def config_of(path, learner="protonet", strategy="datg"):
    fixed = yaml.safe_load(path.read_text())["fixed"]
    return TrialConfig.from_dict(
        {"dataset": "mine", **fixed, "learner": {"name": learner}, "strategy": {"name": strategy}}
    )


def space_of(path, config):
    return whole_space(read_dataset_yaml(path).get("space") or {}, config)


def test_there_is_a_space_for_every_data_set_of_this_package():
    own = {"glyphs", "mini_imagenet", "isic", "dermnet", "tabula_muris"}
    assert {path.stem for path in FILES} == own | {"generic_images", "generic_cells"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_a_file_says_of_imports_can_be_done(path):
    settings = ImportSettings.from_dict(read_dataset_yaml(path).get("import") or {}, source=path.name)
    assert settings.form in (None, *FORMATS) and settings.protocol in (None, *PROTOCOLS)


def test_a_data_set_without_a_file_of_its_own_gets_the_generic_one_of_its_shape():
    assert dataset_yaml_for("moles", (3, 84, 84), SPACES).name == "generic_images.yaml"
    assert dataset_yaml_for("blood", (2866,), SPACES).name == "generic_cells.yaml"
    assert dataset_yaml_for("dermnet", (3, 84, 84), SPACES).name == "dermnet.yaml"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_file_begins_with_the_command_that_runs_it(path):
    name = "NAME" if path.stem.startswith("generic_") else path.stem
    assert path.read_text().startswith(f"# datg search --dataset {name}\n")


def dataset_of(base, shape=(3, 28, 28)):
    sizes = {"base": base, "validation": 5, "novel": 5}
    table = table_of([20] * (base + 10), shape=shape)
    names = iter(table.names)
    return Dataset("x", table, Split(protocol="file", **{p: [next(names) for _ in range(n)] for p, n in sizes.items()}))


def allowed(learner):
    return [name for name, kind in STRATEGIES.items() if learner not in kind.refused_learners]


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("path", "learner", "strategy", "sampler"),
    # Bounds that depend on each other are datg's: it meets every sampler, and every file in turn.
    [
        (FILES[number % len(FILES)], learner, "datg", sampler)
        for number, (learner, sampler) in enumerate(itertools.product(LEARNERS, SAMPLERS))
    ]
    + [(FILES[0], learner, name, "random") for learner in LEARNERS for name in allowed(learner) if name != "datg"],
)
def test_nothing_infeasible_is_ever_suggested(path, learner, strategy, sampler):
    config = config_of(path, learner, strategy)
    base = 11  # at 5 ways exactly two clusters
    dataset = dataset_of(base, shape=(3, 28, 28) if config.backbone_name == "conv4" else (40,))
    space, bounds = space_of(path, config), bounds_of(config, base)
    check_space(space, config, bounds)
    memory = MemoryStudy("s", PRUNERS["none"](1), [])
    for number in range(8):
        made = sampler_for(sampler, seed=0, number=number, trials=8, keys=[entry.key for entry in space])
        setting = memory.suggest(made, lambda trial: suggest(trial, space, bounds)).params
        check_trial(with_params(config, setting), dataset)
        assert contains(space, setting, bounds)
        if "strategy.clusters" in setting:
            assert 2 <= setting["strategy.clusters"] <= base // config.task.ways
        if "strategy.mix_low" in setting:
            assert setting["strategy.mix_low"] <= setting["strategy.mix_high"] <= config.shared_layers
        memory.end(number, "finished", number / 8)


@pytest.mark.parametrize(
    ("learner", "strategy"), [(learner, name) for learner in LEARNERS for name in allowed(learner)]
)
def test_the_method_as_published_lies_in_its_own_space(learner, strategy):
    config = config_of(FILES[0], learner, strategy)
    space = space_of(FILES[0], config)
    setting = default_params(space, config)
    assert contains(space, setting, bounds_of(config, 20))
    # Trial 0 is the method as its authors set it: the same configuration as without any search.
    assert (
        with_params(config, {**setting, **({"strategy.mix_high": None} if "strategy.mix_high" in setting else {})})
        == config
    )


def test_datg_searches_what_the_paper_sets_by_hand():
    config = config_of(FILES[0])
    assert default_params(space_of(FILES[0], config), config) == {
        "strategy.clusters": 2,
        "strategy.alpha": 2.0,
        "strategy.beta": 2.0,
        "strategy.mix_low": 0,
        "strategy.mix_high": 4,
        "strategy.mmd_bandwidth": 1.0,
        "strategy.mmd_weight": 1.0,
    }


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"mixer": "cutmix"}, {"mix_low", "mix_high"}),
        ({"mmd_kernel": "linear"}, {"mmd_bandwidth"}),
        ({"cluster_features": "file", "cluster_file": "clusters.yaml"}, {"clusters"}),
    ],
)
def test_what_has_no_meaning_is_not_searched(options, missing):
    full = set(STRATEGIES["datg"]().ranges())
    assert full - set(STRATEGIES["datg"](**options).ranges()) == {f"strategy.{name}" for name in missing}


@pytest.mark.parametrize(("preset", "low", "high"), [("mlti", 1e-4, 1e-2), ("paper", 5e-3, 0.5)])
def test_vanillas_learning_rate_is_searched_around_that_of_its_preset(preset, low, high):
    plain = config_of(FILES[0], strategy="vanilla").to_dict()
    training = {"iterations": plain["training"]["iterations"], "preset": preset}
    config = TrialConfig.from_dict(plain | {"training": training})
    space, bounds = whole_space({}, config), bounds_of(config, 20)
    check_space(space, config, bounds)
    assert space[0].resolved(bounds) == pytest.approx((low, high))
    assert contains(space, default_params(space, config), bounds)


def test_a_space_in_yaml_replaces_ranges_and_adds_some():
    config = config_of(FILES[0], strategy="taml", learner="maml")
    given = {
        "strategy.weight": {"choice": [0.1, 1.0]},
        "training.lr": {"log": [1e-4, 1e-2]},
        "strategy.alpha": {"log": [1, 2]},
    }
    assert {entry.key: entry.kind for entry in whole_space(given, config)} == {
        "strategy.weight": "choice",
        "training.lr": "log",
    }
    assert [entry.key for entry in whole_space({}, config)] == ["strategy.weight"]


def test_a_bound_like_1e_4_is_a_number():
    space = parse_space({"training.lr": {"log": ["1e-4", 0.1]}})
    assert space[0].values == (1e-4, 0.1)


def test_a_highest_layer_that_is_set_bounds_the_lowest():
    config = with_params(config_of(FILES[0]), {"strategy.mix_high": 2})
    space = [entry for entry in space_of(FILES[0], config) if entry.key != "strategy.mix_high"]
    bounds = bounds_of(config, 20)
    check_space(space, config, bounds)
    assert bounds["shared_layers"] == 2


def test_two_clusters_must_be_possible():
    config = config_of(FILES[0])
    with pytest.raises(ConfigError, match="9 base classes make no two clusters of 5 classes"):
        bounds_of(config, 9)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (3, "must map configuration keys to ranges"),
        ({"training.lr": 3}, "`space.training.lr` must be one of"),
        ({"training.lr": {"log": [1]}}, "must have a list of two bounds"),
        ({"training.lr": {"lgo": [1, 2]}}, "must be one of"),
        ({"training.lr": {"log": [0, 1]}}, "log bounds must be above 0"),
        ({"training.lr": {"float": [2, 1]}}, "lower bound must not exceed the upper"),
        ({"training.lr": {"float": [0.0, 1]}}, "`training.lr` must be greater than 0"),
        ({"training.rl": {"float": [0.1, 1]}}, "`training.rl` is not a known key"),
        ({"strategy.alpah": {"log": [0.1, 1]}}, "did you mean `strategy.alpha`"),
        ({"strategy.clusters": {"int": [2, "most"]}}, "has the bound 'most'"),
        ({"strategy.clusters": {"int": [2, 9]}, "strategy.mix_high": {"int": [0, 5]}}, "must be at most 4"),
        ({"training.optimiser": {"choice": []}}, "must have a list of choices"),
        ({"training.optimiser": {"choice": ["adam", "rmsprop"]}}, "`training.optimiser` must be 'sgd' or 'adam'"),
        ({"strategy.mix_low": {"int": [0, 4]}, "strategy.mix_high": {"int": [0, 4]}}, "`strategy.mix_low` must be"),
        ({"task.shots": {"int": [1, 5]}}, "cannot be searched"),
        ({"training.iterations": {"int": [1, 5]}}, "cannot be searched"),
    ],
)
def test_a_malformed_space_is_refused_by_key(space, message):
    config = config_of(FILES[0])
    with pytest.raises(ConfigError) as caught:
        check_space(restrict(parse_space(space), "datg"), config, bounds_of(config, 20))
    assert message in str(caught.value)
