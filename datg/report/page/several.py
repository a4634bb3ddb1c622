"""Several searches side by side."""

from functools import partial
from typing import Any

from datg.report.page import figures
from datg.report.page.answer import answer, trials_table
from datg.report.page.found import Search
from datg.report.page.page import Block, Figure, Section, Table, Text, cell, score, section
from datg.trial.folder import BEST_VALIDATION
from datg.trial.selection import difference


def several_sections(searches: list[Search]) -> list[Section]:
    """Return two or more searches side by side; settings that one of them does not search are left empty there."""
    return [
        section("Side by side", lambda: [_side_by_side(searches)]),
        section("Best so far", lambda: _together(searches)),
        *(section(f"{search.folder.name}: what was found", partial(_found, search)) for search in searches),
        *(section(f"{search.folder.name}: trials", partial(_trials, search)) for search in searches),
    ]


def _found(search: Search) -> list[Block]:
    return [Text([search.describe()]), *answer(search)]


def _trials(search: Search) -> list[Block]:
    return [trials_table(search)]


def _side_by_side(searches: list[Search]) -> Table:
    columns = [_column(search) for search in searches]
    for search, column in list(zip(searches, columns, strict=True))[1:]:
        column["validation, minus the first, paired"] = _paired(searches[0], search)
    rows = list(dict.fromkeys(key for column in columns for key in column))
    cells = [[row, *(column.get(row, "") for column in columns)] for row in rows]
    return Table(["", *(search.folder.name for search in searches)], cells)


def _column(search: Search) -> dict[str, str]:
    config, best = search.settings.config, search.selection.best
    column = {
        "what": f"{config.strategy_name} with {config.learner_name}",
        "data set": config.dataset,
        "trials begun": f"{len(search.records)} of {search.settings.trials}",
    }
    if best is None or best.last is None:
        return column
    scores = {"fresh validation": best.fresh_validation, "novel classes": best.test}
    column |= {
        "best trial": str(best.number),
        "validation (best of all)": score(best.objective, best.last.objective_ci95),
        **{name: score(found.accuracy, found.ci95) for name, found in scores.items() if found is not None},
    }
    return column | {key: cell(value) for key, value in best.searched.items()}


def _paired(first: Search, other: Search) -> str:
    """Return how far the best of one search is ahead of another's, on the tasks that both validate on, if those are the same."""
    best, others_best = first.selection.best, other.selection.best
    if _validated_on(first) != _validated_on(other):
        return "not on the same tasks"
    mean = difference(others_best, best, BEST_VALIDATION) if best and others_best else None
    return "" if mean is None else f"{mean.value:+.4f} ± {mean.ci95:.4f}"


def _validated_on(search: Search) -> tuple[Any, ...]:
    """Return what decides the validation tasks of a search."""
    config, provenance = search.settings.config, search.settings.provenance
    data = (config.dataset, provenance["fingerprint"], tuple(provenance["split"]["validation"]))
    return (*data, config.task, config.evaluation.seed, config.evaluation.validation_tasks)


def _together(searches: list[Search]) -> list[Block]:
    lines = [(search.folder.name, search.records) for search in searches]
    none = "no trial has ended with a score yet"
    return [
        Figure("Over trials", figures.best_so_far(lines), none),
        Figure("Over hours", figures.best_so_far(lines, by_hours=True), none),
    ]
