"""Which settings of a search matter."""

import optuna

from datg.config import flatten
from datg.report.page import figures
from datg.report.page.found import Search
from datg.report.page.importances import LEAST_TRIALS
from datg.report.page.page import Block, Figure, Text, cell
from datg.report.page.study import widest
from datg.search.space import default_params


def settings_blocks(search: Search) -> list[Block]:
    """Return importances, each setting by itself, the two most important together, and all at once."""
    keys, scored = list(search.settings.space), search.scored
    finished = sum(trial.state == optuna.trial.TrialState.COMPLETE for trial in search.study.trials)
    if not scored:
        return [Text(["No trial has a score yet."])]
    found = search.importances
    few = f"{finished} trials finished: {LEAST_TRIALS} are needed, with different scores and settings, to say anything"
    order = [entry.key for entry in found] or keys
    distributions = widest(search.settings, [record.searched for record in scored])
    values = flatten(search.settings.config.to_dict())
    own = default_params(search.settings.ranges, search.settings.config)
    own |= {entry.key: values.get(entry.key) for entry in search.settings.ranges if entry.kind == "choice"}
    blocks: list[Block] = []
    if len(keys) > 1:
        title = f"Importance (PED-ANOVA, {finished} finished trials; a long interval says that it may be luck)"
        blocks.append(Figure(title, figures.importance_bars(found), few))
    best = search.selection.best
    for key in order:
        drawn = figures.slice_of(key, distributions[key], scored, best, own[key])
        blocks.append(Figure(f"{key} (without a search {cell(own[key])}, dashed)", drawn, small=True))
    if found:
        pair = " and ".join(map(figures.short, order[:2]))
        blocks.append(Figure(f"The two most important: {pair}", figures.contour(search.study, order)))
    if len(keys) > 1:
        title = "All settings of the finished trials (drag along an axis to select)"
        blocks.append(Figure(title, figures.parallel(search.study, order), "fewer than two trials finished"))
    return blocks
