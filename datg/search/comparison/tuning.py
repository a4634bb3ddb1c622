"""Equal care: before the seeds of a comparison are trained, each learner and strategy gets a search of its own.

The searches are like any other, in folders beside that of the comparison. The best of the first search of each pair takes the
place of its defaults; further ones, with other seeds, show how much of the outcome is the luck of searching.
"""

from dataclasses import asdict, dataclass
from typing import Any

from datg.search.settings import SearchSettings, pair_name
from datg.search.space import with_params
from datg.search.state.folder import SearchFolder
from datg.search.state.records import RecordReader
from datg.trial.accuracies import Mean, over_seeds
from datg.trial.selection import select


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Hold what one search of a comparison found.

    Attributes:
        trials: that it had.
        best: the best one's number; None if none finished.
        validation: its accuracy, by which it was chosen.
        fresh_validation: on validation tasks that influenced no choice.
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
    found = {pair: _found(folder.beside(first)) for pair, (first, *_) in settings.tuning.searches.items()}
    grid = []
    for setting in settings.grid:
        pair = pair_name(setting["learner"]["name"], setting["strategy"]["name"])
        grid.append({**setting, **found[pair]})
    tuned = {pair: settings.tuning.trials if values else 0 for pair, values in found.items()}
    return settings.model_copy(update={"grid": grid, "tuned": tuned})


def _found(folder: SearchFolder) -> dict[str, Any]:
    """Return what the best trial of a search has in place of defaults: learner, strategy, and what else was searched."""
    settings = SearchSettings.load(folder)
    best = select(RecordReader(folder, settings).records()).best
    if best is None:
        return {}
    values = with_params(settings.config, best.searched).to_dict()
    sections = ("learner", "strategy")
    others = {key: value for key, value in best.searched.items() if key.partition(".")[0] not in sections}
    return {section: values[section] for section in sections} | others


def outcomes(folder: SearchFolder, settings: SearchSettings) -> list[Outcome]:
    """Return what the searches of a comparison have found so far, one entry a search, those of a pair together.

    Searches that somebody has removed are left out.
    """
    names = [] if settings.tuning is None else [name for names in settings.tuning.searches.values() for name in names]
    return [_outcome(folder.beside(name)) for name in names if folder.beside(name).settings.exists()]


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
