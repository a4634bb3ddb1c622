"""Comparisons: every strategy with several seeds under one preset, on the same tasks.

A comparison is a search whose trials stand in a grid instead of being suggested, so it is parallel, resumable and shown in
MLflow like any other.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from datg.data.catalog import Dataset
from datg.errors import ConfigError, unknown_name
from datg.learners import LEARNERS
from datg.search.settings import pair_name
from datg.search.space import with_params
from datg.strategies import STRATEGIES
from datg.trial.config import TrialConfig
from datg.trial.exported import read_export, seeds_chosen_by, training_seeds
from datg.trial.prepare import check_trial

Pair = tuple[str, str]  # learner, strategy
OWN_SECTIONS = {"strategy": "strategies", "learner": "learner"}  # each with the flag that chooses its names


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Hold what is compared.

    Attributes:
        learners: names; each is combined with every strategy that is defined for it.
        seeds: how many training seeds, of 0, 1, ... without those that a search chose by.
        settings: dotted keys that the user has set; those of strategies and learners reach whatever has such a key.
        tuned: exported configurations, whose strategy, learner and learning rate replace the defaults.
        tune: trials of a search of its own for each learner and strategy, whose best replaces the defaults; 0 searches nothing.
        repeats: searches of each, with other seeds; the first one's best is compared.
    """

    learners: list[str]
    strategies: list[str]
    seeds: int
    settings: dict[str, Any] = field(default_factory=dict)
    tuned: list[Path] = field(default_factory=list)
    tune: int = 0
    repeats: int = 1

    @classmethod
    def parse(
        cls,
        learners: str,
        strategies: str,
        seeds: int,
        *,
        settings: dict[str, Any],
        tuned: list[Path],
        tune: int = 0,
        repeats: int | None = None,
    ) -> "Comparison":
        """Read lists of names; ``all`` is every one of the table.

        Raises:
            ConfigError: a name or an option is unknown, or no learner has any of the strategies.
        """
        comparison = cls(
            learners=parse_names("learner", learners, list(LEARNERS)),
            strategies=parse_names("strategy", strategies, list(STRATEGIES)),
            seeds=seeds,
            settings=settings,
            tuned=tuned,
            tune=tune,
            repeats=repeats or 1,
        )
        if tune and tuned:
            raise ConfigError("`--tune` searches what `--tuned` gives; leave one of them out.")
        if repeats and not tune:
            raise ConfigError("`--repeat-search` repeats the searches of --tune; give --tune N, too.")
        comparison._check_options()
        if not comparison.pairs():
            raise ConfigError("\n".join(comparison.left_out()))
        return comparison

    def _check_options(self) -> None:
        options = options_of(self.learners, self.strategies)
        for key in self.settings:
            section, _, name = key.partition(".")
            if section in OWN_SECTIONS and name in ("", "name"):
                raise ConfigError(f"`{key}` of a comparison is given with --{OWN_SECTIONS[section]}, not with --set.")
            if section in OWN_SECTIONS and key not in options:
                raise ConfigError(
                    "no strategy or learner of this comparison has it: " + unknown_name("key", key, options)
                )

    def asked(self) -> dict[str, Any]:
        """Return what this is a comparison of, by option."""
        return {
            "learner": self.learners,
            "strategies": self.strategies,
            "seeds": self.seeds,
            "set": self.settings,
            "tuned": [str(path.absolute()) for path in self.tuned],
            "tune": self.tune,
            "repeat-search": self.repeats,
        }

    def pairs(self) -> list[Pair]:
        """Return learners and strategies that go together."""
        return [
            (learner, strategy)
            for learner in self.learners
            for strategy in self.strategies
            if learner not in STRATEGIES[strategy].refused_learners
        ]

    def left_out(self) -> list[str]:
        """Return a sentence for each strategy that is not defined for a learner."""
        return [
            f"{strategy} is left out with {learner}: {STRATEGIES[strategy].refused_learners[learner]}."
            for learner in self.learners
            for strategy in self.strategies
            if learner in STRATEGIES[strategy].refused_learners
        ]

    def grid(self, dataset: Dataset, config: TrialConfig) -> list[dict[str, Any]]:
        """Return the setting of every trial: all pairs with the first seed, then with the next.

        Raises:
            ConfigError: some trial would not be valid, or a tuned configuration belongs to none.
        """
        tuned = self._read_tuned(config)
        settings = []
        for seed in training_seeds(self.seeds, self._seeds_of_searches()):
            for pair in self.pairs():
                setting = self._setting(config, pair, tuned.get(pair, {})) | {"seed": seed}
                try:
                    check_trial(with_params(config, setting), dataset)
                except ConfigError as error:
                    lines = (f"{pair[1]} with {pair[0]}: {line}" for line in str(error).splitlines())
                    raise ConfigError("\n".join(lines)) from error
                settings.append(setting)
        return settings

    def _seeds_of_searches(self) -> set[int]:
        """Return the seeds that configurations were, or will be, chosen by."""
        chosen_by = set(range(self.repeats)) if self.tune else set()
        return chosen_by.union(*(seeds_chosen_by(*read_export(path)) for path in self.tuned))

    def tuned_trials(self) -> dict[str, int]:
        """Return of how many trials each exported configuration is the best, where it says so."""
        found = {}
        for path in self.tuned:
            values, provenance = read_export(path)
            config, selection = TrialConfig.from_dict(values), provenance.get("selection") or {}
            if selection.get("trial is") == "best":
                found[pair_name(config.learner_name, config.strategy_name)] = int(selection["of trials"])
        return found

    def options_of(self, pair: Pair) -> dict[str, Any]:
        """Return what the user has set of options that this learner or strategy has, by dotted key."""
        learner, strategy = pair
        kinds: dict[str, type[Any]] = {"learner": LEARNERS[learner].options, "strategy": STRATEGIES[strategy]}
        names = {f"{section}.{entry.name}" for section, kind in kinds.items() for entry in fields(kind)}
        return {key: value for key, value in self.settings.items() if key in names}

    def _setting(self, config: TrialConfig, pair: Pair, tuned: dict[str, Any]) -> dict[str, Any]:
        """Default or the options of ``config`` < tuned ones < what the user has set."""
        learner, strategy = pair
        setting = dict(tuned)
        if "training.lr" in self.settings:
            setting.pop("training.lr", None)
        options = self.options_of(pair)
        for section, name in (("learner", learner), ("strategy", strategy)):
            chosen = {key.partition(".")[2]: value for key, value in options.items() if key.startswith(f"{section}.")}
            given = config.to_dict()[section]
            setting[section] = tuned.get(section, given if given["name"] == name else {"name": name}) | chosen
        return setting

    def _read_tuned(self, config: TrialConfig) -> dict[Pair, dict[str, Any]]:
        tuned_pairs: dict[Pair, dict[str, Any]] = {}
        for path in self.tuned:
            exported, _ = read_export(path)
            tuned = TrialConfig.from_dict(exported)
            pair = (tuned.learner_name, tuned.strategy_name)
            if pair not in self.pairs():
                raise ConfigError(
                    f"`--tuned` {path} is of {pair[1]} with {pair[0]}, which this comparison does not have; add it with "
                    "--strategies and --learner, or leave the file out."
                )
            if pair in tuned_pairs:
                raise ConfigError(
                    f"`--tuned` {path} is of {pair[1]} with {pair[0]}, like another one; give one of each pair."
                )
            values, compared = tuned.to_dict(), config.to_dict()
            differing = [key for key in ("task", "backbone") if values[key] != compared[key]]
            differing += ["training.preset"] if tuned.training.preset != config.training.preset else []
            if differing:
                raise ConfigError(
                    f"`--tuned` {path} was found with another {', '.join(differing)} than this comparison has; set the same "
                    "for both, or leave the file out."
                )
            tuned_pairs[pair] = {key: values[key] for key in ("strategy", "learner")} | {
                "training.lr": tuned.training.lr
            }
        return tuned_pairs


def options_of(learners: Iterable[str], strategies: Iterable[str]) -> set[str]:
    """Return the dotted keys of everything that can be set of these learners and strategies."""
    compared: list[type[Any]] = [STRATEGIES[name] for name in strategies]
    options = {f"strategy.{entry.name}" for kind in compared for entry in fields(kind)}
    return options | {f"learner.{entry.name}" for name in learners for entry in fields(LEARNERS[name].options)}


def without_own_sections(settings: list[str]) -> list[str]:
    """Return what of ``--set`` is not of a strategy's or a learner's own options, which reach whatever has them."""
    return [text for text in settings if text.partition(".")[0].strip() not in OWN_SECTIONS]


def parse_names(kind: str, text: str, choices: list[str]) -> list[str]:
    """Read a list of names with commas; ``all`` is every one of ``choices``.

    Raises:
        ConfigError: one is unknown, or there is none.
    """
    if text == "all":
        return choices
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in choices:
            raise ConfigError(unknown_name(kind, name, choices))
    if not names:
        raise ConfigError(f"name at least one {kind} of {', '.join(choices)}, or all.")
    return list(dict.fromkeys(names))
