"""Equal care: before the seeds of a comparison are trained, each learner and strategy gets a search of its own.

The searches are like any other, in folders beside that of the comparison. The best of the first search of each pair takes the
place of its defaults; further ones, with other seeds, show how much of the outcome is the luck of searching.
"""

from dataclasses import asdict, dataclass
from typing import Any

from datg.search.settings import SearchSettings, pair_name
from datg.search.state.folder import SearchFolder
from datg.search.state.records import RecordReader
from datg.trial.accuracies import Mean, over_seeds
from datg.trial.config import TrialConfig
from datg.trial.exported import read_export
from datg.trial.selection import select


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Hold what one search of a comparison found.

    Attributes:
        trials: that it had.
        best: the best one's number; None if none finished.
        validation: its accuracy, by which it was chosen.
        fresh_validation: on validation tasks that no choice has seen.
        accuracy: on novel classes, with the seed of the search.
    """

    learner: str
    strategy: str
    search: str
    seed: int
    trials: int
    best: int | None = None
    validation: float | None = None
    fresh_validation: float | None = None
    accuracy: float | None = None


def tuned_settings(folder: SearchFolder, settings: SearchSettings) -> SearchSettings:
    """Return the settings of a comparison with what its searches found in place of defaults.

    A pair whose search finished no trial keeps its defaults, and is the best of 0.
    """
    assert settings.tuning is not None
    found = {}
    for pair, (first, *_) in settings.tuning.searches.items():
        path = folder.beside(first).best
        if path.exists():
            found[pair] = TrialConfig.from_dict(read_export(path)[0])
    grid = [_replaced(setting, found) for setting in settings.grid]
    tuned = {pair: settings.tuning.trials if pair in found else 0 for pair in settings.tuning.searches}
    return settings.model_copy(update={"grid": grid, "tuned": tuned})


def _replaced(setting: dict[str, Any], found: dict[str, TrialConfig]) -> dict[str, Any]:
    config = found.get(pair_name(setting["learner"]["name"], setting["strategy"]["name"]))
    if config is None:
        return setting
    values = config.to_dict()
    return {
        **setting,
        "learner": values["learner"],
        "strategy": values["strategy"],
        "training.lr": values["training"]["lr"],
    }


def outcomes(folder: SearchFolder, settings: SearchSettings) -> list[Outcome]:
    """Return what the searches of a comparison have found so far, one entry a search, those of a pair together."""
    tuning = settings.tuning
    if tuning is None:
        return []
    return [_outcome(folder.beside(name)) for names in tuning.searches.values() for name in names]


def _outcome(folder: SearchFolder) -> Outcome:
    settings = SearchSettings.load(folder)
    config, selection = settings.config, select(RecordReader(folder, settings).records())
    searched = Outcome(
        learner=config.learner_name,
        strategy=config.strategy_name,
        search=folder.name,
        seed=settings.seed,
        trials=settings.trials,
    )
    best = selection.best
    if best is None:
        return searched
    scores = {"fresh_validation": best.fresh_validation, "accuracy": best.test}
    told = {key: None if score is None else score.accuracy for key, score in scores.items()}
    return Outcome(**asdict(searched) | {"best": best.number, "validation": best.objective} | told)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Hold how the outcome of repeated searches of one pair spreads, with Student's intervals over searches.

    Attributes:
        searches: that found something.
        fresh_validation: of each search's best.
        accuracy: likewise, on novel classes.
    """

    learner: str
    strategy: str
    searches: int
    fresh_validation: Mean | None
    accuracy: Mean | None


def spreads(found: list[Outcome]) -> list[Spread]:
    """Return the spread of every pair."""
    pairs = dict.fromkeys((outcome.learner, outcome.strategy) for outcome in found)
    return [_spread(*pair, [o for o in found if (o.learner, o.strategy) == pair]) for pair in pairs]


def _spread(learner: str, strategy: str, found: list[Outcome]) -> Spread:
    fresh = [outcome.fresh_validation for outcome in found if outcome.fresh_validation is not None]
    novel = [outcome.accuracy for outcome in found if outcome.accuracy is not None]
    return Spread(
        learner=learner,
        strategy=strategy,
        searches=sum(outcome.best is not None for outcome in found),
        fresh_validation=over_seeds(fresh) if fresh else None,
        accuracy=over_seeds(novel) if novel else None,
    )
