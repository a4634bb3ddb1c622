"""What a search's best is worth, in sentences."""

import math

from datg.errors import ConfigError
from datg.search.settings import SearchSettings
from datg.search.space import Range, with_params
from datg.trial.config import TrialConfig
from datg.trial.records import DONE, FAILED, TrialRecord
from datg.trial.selection import Selection, gain

NEAR_EDGE = 0.02  # of a range, in its own scale


def describe_selection(
    selection: Selection, records: list[TrialRecord], references: list[TrialRecord], settings: SearchSettings
) -> list[str]:
    """Return sentences on the best trial: what was gained, what it was chosen from, its score on fresh tasks, its ties, what is
    suspicious.
    """
    best = selection.best
    if best is None:
        return []
    tasks = settings.config.evaluation.validation_tasks
    ci95 = best.last.objective_ci95 if best.last else math.nan
    return [
        *(
            line
            for reference in references
            if (line := _gain_over(best, reference, f"reference {reference.reference}"))
        ),
        *_gain_over_own(best, records, settings),
        f"best by validation: trial {best.number}, {best.objective:.4f} ± {ci95:.4f}, the best of {selection.of} trials, each "
        f"the best of its validations on the same {tasks} tasks, so it is optimistic",
        *(line for record in selection.finalists if (line := _fresh(record))),
        *_ties(selection),
        *suspicions(best, records, settings),
    ]


def suspicions(best: TrialRecord, records: list[TrialRecord], settings: SearchSettings) -> list[str]:
    """Return sentences on what a reader should look at twice: bests at a first validation, or at the end of a range."""
    return [*_best_at_first(records), *_edges(best, settings)]


def _gain_over(best: TrialRecord, reference: TrialRecord, name: str) -> str:
    """Say how far the best is ahead of a reference; nothing where they have no tasks in common."""
    if reference.state == FAILED:
        return f"{name} {reference.outcome}: {reference.error}"
    if reference.state != DONE:
        return ""
    gained = gain(best, reference)
    means = {"validation": gained.validation, "novel classes": gained.novel}
    told = [f"{part} {mean.value:+.4f} ± {mean.ci95:.4f}" for part, mean in means.items() if mean is not None]
    return f"best minus {name}, paired by task: {', '.join(told)}" if told else ""


def _gain_over_own(best: TrialRecord, records: list[TrialRecord], settings: SearchSettings) -> list[str]:
    """Say what the search gained over the setting that it began from, where that is a trial and finished."""
    own = next((record for record in records if record.number == 0 and record.state == DONE), None)
    if settings.own_setting is None or own is None:
        return []
    if best.number == own.number:
        return ["no trial was better on validation than trial 0, the setting that the search began from"]
    line = _gain_over(best, own, "trial 0, the setting that the search began from")
    return [line] if line else []


def _fresh(record: TrialRecord) -> str:
    fresh = record.fresh_validation
    if fresh is None:
        return ""
    return (
        f"trial {record.number} on {fresh.episodes} fresh validation tasks, which influenced no choice: {fresh.accuracy:.4f} ± "
        f"{fresh.ci95:.4f}"
    )


def _ties(selection: Selection) -> list[str]:
    if not selection.ties:
        return []
    numbers = ", ".join(str(record.number) for record in selection.ties)
    return [
        "tied with the best, because the 95 % interval of the paired difference over validation tasks contains 0: trial "
        f"{numbers}"
    ]


def _best_at_first(records: list[TrialRecord]) -> list[str]:
    """Say so if most trials that were validated more than once are best at their first validation."""
    several = [record.reports for record in records if len(record.reports) > 1]
    first = sum(reports[-1].best_iteration == reports[0].iteration for reports in several)
    if 2 * first <= len(several):
        return []
    return [f"{first} of {len(several)} trials are best at their first validation: no later one was better"]


def _edges(best: TrialRecord, settings: SearchSettings) -> list[str]:
    """Name the searched values of the best trial that lie at an end of their range, where the range could be wider."""
    bounds = {**settings.bounds, **best.searched}
    config = with_params(settings.config, best.searched)
    lines = []
    for entry in settings.ranges:
        value = best.searched.get(entry.key)
        if (
            entry.kind == "choice" or value is None
        ):  # None: its configuration cannot be read, or it had no such key then
            continue
        low, high = entry.resolved(bounds)
        ends = zip(("low", "high"), (low, high), entry.values, entry.beyond(low, high), strict=True)
        for end, edge, bound, beyond in ends:
            if isinstance(bound, str) or low == high:  # what data and learner allow cannot be widened
                continue
            if entry.distance(value, edge, low, high) <= NEAR_EDGE and _is_valid(config, entry, beyond):
                lines.append(
                    f"the best has {entry.key} {value:.4g}, at the {end} end of its range [{low:g}, {high:g}]: a wider "
                    "range may hold better values"
                )
    return lines


def _is_valid(config: TrialConfig, entry: Range, value: float) -> bool:
    try:
        with_params(config, {entry.key: value})
    except ConfigError:
        return False
    return True
