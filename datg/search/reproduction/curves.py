"""The paper's Figure 4 from what has been run: points with intervals, and what became of what the paper reads from them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from datg.search.comparison.table import Scores, paired
from datg.search.reproduction.folder import ReproductionResults
from datg.search.reproduction.paper import CURVE, FIGURE_LEARNER, FIGURE_SHOTS, FIGURE_STRATEGIES, GROWTH
from datg.search.reproduction.plan import Unit
from datg.search.reproduction.tables import Claim, unit_scores
from datg.trial.accuracies import Summary, summarise
from datg.trial.novel_curve import read_curve
from datg.trial.records import DONE

VANILLA, DATG = FIGURE_STRATEGIES


@dataclass(frozen=True)
class ReproducedFigure:
    """Hold a figure of the paper as it came out here.

    Attributes:
        name: figure4a or figure4b.
        where: data set, learner and shots.
        axis: what the points are over.
        lines: summaries on novel classes by point, by strategy; no point before a seed has been evaluated.
        seeds: the same for each seed alone, by strategy.
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
        points = {strategy: _over_training(unit, strategy, results) for strategy in FIGURE_STRATEGIES}
        claims = _claims_of_curve(where, unit, results)
        return _figure(name, where, "iterations", points, claims)
    points = {strategy: _over_classes(units, strategy, results) for strategy in FIGURE_STRATEGIES}
    return _figure(name, where, "base classes", points, _claims_of_growth(where, points))


def _is_of(name: str, unit: Unit, results: ReproductionResults) -> bool:
    if name == CURVE:
        return unit.novel_curve
    assert name == GROWTH
    growing = {one.dataset for one in results.reproduction.units if one.base_classes is not None}
    figure = (unit.learner, unit.shots, unit.tested_on, unit.tune) == (FIGURE_LEARNER, FIGURE_SHOTS, None, 0)
    return figure and unit.dataset in growing and set(FIGURE_STRATEGIES) <= set(unit.strategies)


Points = dict[int, Scores]  # by iteration or number of classes


def _figure(name: str, where: str, axis: str, points: Mapping[str, Points], claims: list[Claim]) -> ReproducedFigure:
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


def _over_training(unit: Unit, strategy: str, results: ReproductionResults) -> Points:
    """Return the scores at each validation, on the tasks and seeds that have ended well."""
    points: Points = {}
    for record in results.records(unit):
        if record.searched["strategy"] == strategy and record.state == DONE and record.test is not None:
            for iteration, accuracies in read_curve(record.folder).items():
                points.setdefault(iteration, {})[record.searched["seed"]] = accuracies
    return points


def _over_classes(units: list[Unit], strategy: str, results: ReproductionResults) -> Points:
    points: Points = {}
    for unit in units:
        settings = results.settings(unit)
        if settings is not None:
            points[len(settings.provenance["split"]["base"])] = unit_scores(unit, results)[strategy]
    return points


def _claims_of_curve(where: str, unit: Unit, results: ReproductionResults) -> list[Claim]:
    """Return whether each strategy gets worse on novel classes after its best validation.

    The iteration of the best validation is no choice by novel classes; the highest point of a curve would be one, and the last
    point lies below it by chance alone.
    """
    falls = {strategy: _falls(unit, strategy, results) for strategy in FIGURE_STRATEGIES}
    return [
        Claim(
            text=f"{VANILLA} overfits: its last weights are behind those of its best validation",
            where=where,
            difference=summarise(list(falls[VANILLA].values())) if falls[VANILLA] else None,
        ),
        Claim(
            text=f"{VANILLA} falls by more than {DATG} does",
            where=where,
            difference=paired(falls[VANILLA], falls[DATG]),
        ),
    ]


def _falls(unit: Unit, strategy: str, results: ReproductionResults) -> Scores:
    """Return, by seed, accuracies at the best validation minus those of the last weights."""
    falls: Scores = {}
    for record in results.records(unit):
        curve = read_curve(record.folder) if record.searched["strategy"] == strategy else {}
        if curve and record.state == DONE and record.last is not None and record.last.best_iteration in curve:
            falls[record.searched["seed"]] = curve[record.last.best_iteration] - curve[max(curve)]
    return falls


def _claims_of_growth(where: str, points: Mapping[str, Points]) -> list[Claim]:
    """Return whether both strategies gain by more classes, and whether DATG's lead shrinks."""
    sizes = sorted(set.intersection(*(set(found) for found in points.values())))
    if len(sizes) < 2:
        return []
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
