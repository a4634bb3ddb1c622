from pathlib import Path

import pytest
import yaml

from datg.config import Layers, known_keys, nest, parse_settings
from datg.errors import ConfigError
from datg.learners import LEARNERS
from datg.strategies import STRATEGIES
from datg.trial.config import PRESETS, TrialConfig


def config_of(**values: object) -> TrialConfig:
    return TrialConfig.from_dict({"dataset": "glyphs", **values})


@pytest.mark.parametrize(
    ("strategy", "learner"),
    [
        (name, learner)
        for name in STRATEGIES
        for learner in LEARNERS
        if learner not in STRATEGIES[name].refused_learners
    ],
)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_configuration_survives_yaml(learner: str, strategy: str, preset: str):
    config = config_of(learner={"name": learner}, strategy={"name": strategy}, training={"preset": preset})
    again = TrialConfig.from_dict(yaml.safe_load(yaml.safe_dump(config.to_dict())))
    assert again == config
    assert (again.learner_name, again.strategy_name) == (learner, strategy)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strategy": {"name": "datg", "alpha": 0}}, "`strategy.alpha` must be greater than 0, got 0."),
        ({"strategy": {"name": "datg", "alpha": float("nan")}}, "`strategy.alpha` must be a finite number"),
        (
            {"strategy": {"name": "datg", "clusters": 1}},
            "`strategy.clusters` must be greater than or equal to 2, got 1.",
        ),
        ({"strategy": {"name": "datg", "mmd_bandwidth": 0}}, "`strategy.mmd_bandwidth` must be greater than 0, got 0."),
        ({"strategy": {"name": "datg", "mmd_weight": -1}}, "`strategy.mmd_weight` must be greater than or equal to 0"),
        ({"strategy": {"name": "datg", "mix_low": 3, "mix_high": 2}}, "`strategy.mix_low` must be at most 2"),
        (
            {"strategy": {"name": "datg", "mmd_gradient": "real"}},
            "`strategy.mmd_gradient` must be 'generated' or 'both', got 'real'.",
        ),
        ({"strategy": {"name": "inter_cluster", "mmd_gradient": "both"}}, "`strategy.mmd_gradient` is not a known key"),
        ({"learner": {"name": "maml", "distance_scale": "none"}}, "`learner.distance_scale` is not a known key"),
        (
            {"learner": {"name": "protonet", "distance_scale": 2}},
            "`learner.distance_scale` must be 'none' or 'dimension'",
        ),
        ({"strategy": {"name": "dagt"}}, "did you mean `datg`?"),
        ({"strategy": {"name": "datg", "alhpa": 1}}, "did you mean `strategy.alpha`?"),
        ({"strategy": {"name": "vanilla", "alpha": 1}}, "`strategy.alpha` is not a known key"),
        ({"strategy": 3}, "`strategy.name` must be one of"),
        ({"learner": {"name": "mamml"}}, "did you mean `maml`?"),
        ({"learner": {"name": "protonet", "inner_lr": 1}}, "`learner.inner_lr` is not a known key"),
        (
            {"learner": {"name": "maml"}, "strategy": {"name": "datg", "mix_high": 4}},
            "must be at most 3, the last layer",
        ),
        ({"backbone": {"name": "resnet"}}, "`resnet` is not a known backbone"),
        ({"training": {"iterations": 0}}, "`training.iterations` must be greater than or equal to 1, got 0."),
        ({"training": {"iteratoins": 5}}, "did you mean `training.iterations`?"),
        ({"training": {"preset": "x"}}, "`training.preset` must be 'paper' or 'mlti', got 'x'."),
        ({"training": {"iterations": 10, "eval_every": 11}}, "`training.eval_every` must be at most"),
        ({"task": {"ways": 1}}, "`task.ways` must be greater than or equal to 2, got 1."),
        ({"task": {"shots": "many"}}, "`task.shots` must be a valid integer"),
        ({"seed": -1}, "`seed` must be greater than or equal to 0"),
    ],
)
def test_what_cannot_work_is_refused_by_name_rule_and_value(values: dict, message: str):
    with pytest.raises(ConfigError) as caught:
        config_of(**values)
    assert message in str(caught.value)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        config_of(training={"lr": 0, "batch": 0}, strategy={"name": "datg", "alpha": 0, "beta": 0})
    for key in ("training.lr", "training.batch", "strategy.alpha", "strategy.beta"):
        assert f"`{key}`" in str(caught.value)


def test_presets_fill_what_is_not_given():
    assert config_of(training={"preset": "paper"}).training.optimiser == "sgd"
    assert config_of(training={"preset": "paper", "lr": 0.3}).training.lr == 0.3
    assert config_of().training == config_of(training={"preset": "mlti"}).training


def test_later_layers_win_and_know_where_they_came_from():
    layers = Layers(PRESETS, "training.preset")
    layers.add({"training": {"preset": "mlti", "lr": 0.5, "batch": 2}}, "YAML")
    layers.add(parse_settings(["training.batch=8", "training.preset=paper"]), "--set")
    assert layers.values["training.lr"] == 0.05 and layers.sources["training.lr"] == "preset paper"
    assert layers.values["training.batch"] == 8 and layers.sources["training.batch"] == "--set"


def test_another_strategy_does_not_inherit_the_options_of_the_one_before():
    layers = Layers()
    layers.add({"strategy": {"name": "datg", "clusters": 3}}, "YAML")
    layers.add({"strategy.name": "vanilla"}, "flag")
    assert layers.nested() == {"strategy": {"name": "vanilla"}}


def test_a_strategy_given_as_a_flag_keeps_what_the_user_set():
    layers = Layers()
    layers.add({"strategy": {"name": "datg", "alpha": 1}}, "YAML")
    layers.add({"strategy.clusters": 3}, "--set")
    layers.add({"strategy.name": "inter_cluster"}, "flag")
    assert layers.nested() == {"strategy": {"name": "inter_cluster", "clusters": 3}}


@pytest.mark.parametrize("setting", ["training.lr", "=3", " =3"])
def test_a_setting_without_key_or_value_is_refused(setting: str):
    with pytest.raises(ConfigError, match="must look like key=value"):
        parse_settings([setting])


def test_a_value_cannot_be_a_section_too():
    with pytest.raises(ConfigError, match="`training` is a value"):
        nest({"training": 3, "training.lr": 1})
    with pytest.raises(ConfigError, match="`learner` is a section"):
        nest({"learner.name": "maml", "learner": "maml"})


def test_the_known_keys_are_dotted():
    assert {"task.ways", "training.lr", "dataset"} <= set(known_keys(TrialConfig))


def test_no_default_stands_twice():
    """A strategy's defaults are the paper's setting; a space file must not repeat them."""
    for path in Path(__file__).parent.parent.parent.glob("search_spaces/*.yaml"):
        fixed = yaml.safe_load(path.read_text())["fixed"]
        assert set(fixed["strategy"]) == {"name"}, path


def test_where_a_search_keeps_its_network_makes_no_difference_but_which_network_it_is(tmp_path):
    def at(place):
        strategy = {"cluster_features": "embedding", "cluster_checkpoint": str(place / "network" / "best.safetensors")}
        return config_of(strategy=strategy)

    for name, content in (("a", b"a"), ("b", b"b"), ("copy of a", b"a")):
        (tmp_path / name / "network").mkdir(parents=True)
        (tmp_path / name / "network" / "best.safetensors").write_bytes(content)
    here = at(tmp_path / "a")
    assert here.matches(at(tmp_path / "moved away").to_dict()) and here.matches(at(tmp_path / "copy of a").to_dict())
    assert not here.matches(at(tmp_path / "b").to_dict())
    other = at(tmp_path / "moved away").to_dict()
    assert not here.matches({**other, "seed": 7})
