"""The paper's Figure 4 from what has been run: points with intervals, and what became of what the paper reads from them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from datg.search.comparison.table import Scores, paired
from datg.search.reproduction.folder import ReproductionResults
from datg.search.reproduction.paper import CURVE, FIGURE_LEARNER, FIGURE_SHOTS, FIGURE_STRATEGIES, GROWTH
from datg.search.reproduction.plan import Unit
from datg.search.reproduction.tables import Claim
from datg.trial.accuracies import Accuracies, Summary, summarise
from datg.trial.novel_curve import read_curve
from datg.trial.records import DONE, TrialRecord

VANILLA, DATG = FIGURE_STRATEGIES


@dataclass(frozen=True)
class ReproducedFigure:
    """Hold a figure of the paper as it came out here.

    Attributes:
        name: figure4a or figure4b.
        where: data set, learner and shots.
        axis: what the points are over.
        lines: summaries on novel classes by point, by strategy; no point before a seed has been evaluated.
        seeds: means for each seed alone, by strategy.
        claims: what the paper reads from it.
    """

    name: str
    where: str
    axis: str
    lines: dict[str, dict[int, Summary]]
    seeds: dict[str, dict[int, dict[int, float]]]
    claims: list[Claim]


def reproduce_figure(name: str, results: ReproductionResults) -> ReproducedFigure | None:
    """Return a figure from what has been evaluated so far; None where none of its trainings was planned."""
    units = [unit for unit in results.reproduction.units if _is_of(name, unit, results)]
    if not units:
        return None
    unit = units[0]
    where = f"{unit.dataset}, {unit.learner}, {unit.shots}-shot"
    if name == CURVE:
        points = {strategy: over_training(results.records(unit), strategy) for strategy in FIGURE_STRATEGIES}
        figure = figure_of(name, where, "iterations", points, _claims_of_curve(where, points))
    else:
        points = {strategy: _over_classes(units, strategy, results) for strategy in FIGURE_STRATEGIES}
        figure = figure_of(name, where, "base classes", points, _claims_of_growth(where, points))
    if (settings := results.settings(unit)) is not None:
        chosen = settings.config.evaluation
        tasks = chosen.validation_tasks if name == CURVE else chosen.test_tasks
        where = f"{where}; each point on {tasks} tasks of novel classes"
    return replace(figure, where=where)


def _is_of(name: str, unit: Unit, results: ReproductionResults) -> bool:
    if name == CURVE:
        return unit.novel_curve
    assert name == GROWTH
    growing = {one.dataset for one in results.reproduction.units if one.base_classes is not None}
    figure = (unit.learner, unit.shots, unit.tested_on, unit.tune) == (FIGURE_LEARNER, FIGURE_SHOTS, None, 0)
    return figure and unit.dataset in growing and set(FIGURE_STRATEGIES) <= set(unit.strategies)


Points = dict[int, Scores]  # by iteration or number of classes


def figure_of(name: str, where: str, axis: str, points: Mapping[str, Points], claims: list[Claim]) -> ReproducedFigure:
    """Summarise the points of every strategy over seeds and tasks."""
    lines = {
        strategy: {place: summarise(list(scores.values())) for place, scores in sorted(found.items()) if scores}
        for strategy, found in points.items()
    }
    seeds: dict[str, dict[int, dict[int, float]]] = {strategy: {} for strategy in points}
    for strategy, found in points.items():
        for place, scores in sorted(found.items()):
            for seed, accuracies in scores.items():
                seeds[strategy].setdefault(seed, {})[place] = float(accuracies.mean(dtype=np.float64))
    return ReproducedFigure(name, where, axis, lines, seeds, claims)


def over_training(records: list[TrialRecord], strategy: str) -> Points:
    """Return the scores on novel classes by iteration, of the trainings that have ended well and kept a curve."""
    points: Points = {}
    for record in records:
        if record.searched["strategy"] == strategy and record.state == DONE and record.test is not None:
            for iteration, accuracies in read_curve(record.folder).items():
                points.setdefault(iteration, {})[record.searched["seed"]] = accuracies
    return points


def _over_classes(units: list[Unit], strategy: str, results: ReproductionResults) -> Points:
    """Return the scores by number of base classes; none for a set whose comparison has not begun."""
    points: Points = {}
    for unit in units:
        whole = results.reproduction.at_hand[unit.dataset].base_classes
        points[unit.base_classes or whole] = results.scores(unit)[strategy]
    return points


def _claims_of_curve(where: str, points: Mapping[str, Points]) -> list[Claim]:
    """Return whether Vanilla gets worse on novel classes in the last third of training, which is fixed beforehand, and DATG not.

    Neither the highest point of a curve nor the one of the best validation will do: both are chosen, and lie above the last
    one by chance alone.
    """
    falls = {strategy: _falls(found) for strategy, found in points.items()}
    return [
        Claim(
            text=f"{VANILLA} overfits: it is worse in the last third of training than in the third before",
            where=where,
            difference=summarise(list(falls[VANILLA].values())) if falls[VANILLA] else None,
        ),
        Claim(
            text=f"{DATG} goes on rising: it is better in the last third of training than in the third before",
            where=where,
            difference=summarise([-fall for fall in falls[DATG].values()]) if falls[DATG] else None,
        ),
        Claim(
            text=f"{VANILLA} falls there by more than {DATG} does",
            where=where,
            difference=paired(falls[VANILLA], falls[DATG]),
        ),
    ]


def _falls(points: Points) -> Scores:
    """Return, by seed, mean accuracies over the middle third of a curve minus those over the last; none for fewer points."""
    places = sorted(points)
    third = len(places) // 3
    if not third:
        return {}
    middle, last = places[-2 * third : -third], places[-third:]
    seeds = set.intersection(*(set(points[place]) for place in [*middle, *last]))
    return {seed: _mean(points, middle, seed) - _mean(points, last, seed) for seed in sorted(seeds)}


def _mean(points: Points, places: list[int], seed: int) -> Accuracies:
    mean: Accuracies = np.mean([points[place][seed] for place in places], axis=0, dtype=np.float64)
    return mean


def _claims_of_growth(where: str, points: Mapping[str, Points]) -> list[Claim]:
    """Return whether both strategies gain by more classes, and whether DATG's lead shrinks."""
    sizes = sorted(points[VANILLA])
    few, many = sizes[0], sizes[-1]
    leads = {size: _minus(points[DATG][size], points[VANILLA][size]) for size in (few, many)}
    claims = [
        Claim(
            text=f"{strategy} is better with {many} base classes than with {few}",
            where=where,
            difference=paired(found[many], found[few]),
        )
        for strategy, found in points.items()
    ]
    lead = paired(leads[few], leads[many])
    return [*claims, Claim(text=f"{DATG}'s lead is larger with {few} base classes", where=where, difference=lead)]


def _minus(first: Scores, second: Scores) -> Scores:
    return {seed: first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())}
