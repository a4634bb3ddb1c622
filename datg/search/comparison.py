"""Comparisons: every strategy with several seeds under one preset, on the same tasks.

A comparison is a search whose trials stand in a grid instead of being suggested, so it is parallel, resumable and shown in
MLflow like any other.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from datg.data.catalog import Dataset
from datg.errors import ConfigError, unknown_name
from datg.learners import LEARNERS
from datg.search.export import read_export
from datg.search.space import configured
from datg.strategies import STRATEGIES
from datg.trial import check_trial
from datg.trial_config import TrialConfig

Pair = tuple[str, str]  # learner, strategy


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is compared.

    Attributes:
        learners: names; each is combined with every strategy that is defined for it.
        strategies: names.
        seeds: training seeds 0, 1, ...
        options: dotted keys of strategies and learners, each set where there is such a key.
        tuned: exported configurations, whose strategy and learning rate replace the defaults.
    """

    learners: list[str]
    strategies: list[str]
    seeds: int
    options: dict[str, Any] = field(default_factory=dict)
    tuned: list[Path] = field(default_factory=list)

    @classmethod
    def of(
        cls, learners: str, strategies: str, seeds: int, *, settings: dict[str, Any], tuned: list[Path]
    ) -> "Comparison":
        """Reads lists of names; ``all`` is every one of the table.

        Raises:
            ConfigError: a name or an option is unknown, or no learner has any of the strategies.
        """
        comparison = cls(
            learners=_names("learner", learners, list(LEARNERS)),
            strategies=_names("strategy", strategies, list(STRATEGIES)),
            seeds=seeds,
            options={key: value for key, value in settings.items() if key.startswith(("strategy.", "learner."))},
            tuned=tuned,
        )
        comparison._check_options()
        if not comparison.pairs():
            raise ConfigError("\n".join(comparison.left_out()))
        return comparison

    def _check_options(self) -> None:
        compared: list[type[Any]] = [STRATEGIES[name] for name in self.strategies]
        known = {f"strategy.{entry.name}" for kind in compared for entry in fields(kind)}
        known |= {f"learner.{entry.name}" for name in self.learners for entry in fields(LEARNERS[name].options)}
        for key in self.options:
            if key not in known:
                raise ConfigError(
                    "no strategy or learner of this comparison has it: " + unknown_name("key", key, known)
                )

    def pairs(self) -> list[Pair]:
        """Learners and strategies that go together."""
        return [
            (learner, strategy)
            for learner in self.learners
            for strategy in self.strategies
            if learner not in STRATEGIES[strategy].refused_learners
        ]

    def left_out(self) -> list[str]:
        """A sentence for each strategy that is not defined for a learner."""
        return [
            f"{strategy} is left out with {learner}: {STRATEGIES[strategy].refused_learners[learner]}."
            for learner in self.learners
            for strategy in self.strategies
            if learner in STRATEGIES[strategy].refused_learners
        ]

    def grid(self, dataset: Dataset, config: TrialConfig) -> list[dict[str, Any]]:
        """The setting of every trial: all pairs with the first seed, then with the next.

        Raises:
            ConfigError: some trial would not be valid, or a tuned configuration belongs to none.
        """
        tuned = self._read_tuned(config)
        settings = []
        for seed in range(self.seeds):
            for pair in self.pairs():
                setting = {**self._setting(config, pair), **tuned.get(pair, {}), "seed": seed}
                check_trial(configured(config, setting), dataset)
                settings.append(setting)
        return settings

    def _setting(self, config: TrialConfig, pair: Pair) -> dict[str, Any]:
        learner, strategy = pair
        values = config.values()
        setting: dict[str, Any] = {}
        for section, name, options in (
            ("learner", learner, LEARNERS[learner].options),
            ("strategy", strategy, STRATEGIES[strategy]),
        ):
            own = values[section] if values[section]["name"] == name else {"name": name}
            names = {entry.name for entry in fields(options)}
            chosen = {key.partition(".")[2]: value for key, value in self.options.items() if key.startswith(section)}
            setting[section] = own | {key: value for key, value in chosen.items() if key in names}
        return setting

    def _read_tuned(self, config: TrialConfig) -> dict[Pair, dict[str, Any]]:
        found: dict[Pair, dict[str, Any]] = {}
        for path in self.tuned:
            values, _ = read_export(path)
            tuned = TrialConfig.of(values)
            pair = (tuned.learner_name, tuned.strategy_name)
            if pair not in self.pairs() or tuned.dataset != config.dataset:
                raise ConfigError(
                    f"`--tuned` {path} is of {pair[1]} with {pair[0]} on {tuned.dataset}, which this comparison does not have."
                )
            found[pair] = {"strategy": tuned.values()["strategy"], "training.lr": tuned.training.lr}
        return found


def _names(kind: str, text: str, known: list[str]) -> list[str]:
    if text == "all":
        return known
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise ConfigError(unknown_name(kind, name, known))
    if not names:
        raise ConfigError(f"name at least one {kind} of {', '.join(known)}, or all.")
    return list(dict.fromkeys(names))
