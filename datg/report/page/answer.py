"""What a search found: the best trial and what it is worth, what it gained, what to be careful about; and all trials."""

from datg.report.leaderboard import in_order, score_row
from datg.report.page import figures
from datg.report.page.found import Search, state_name
from datg.report.page.page import Block, Table, Text, cell, score
from datg.report.selection import suspicions
from datg.trial.records import DONE, TrialRecord
from datg.trial.selection import gain


def answer(search: Search) -> list[Block]:
    """Return the best trial, what it is worth, what it gained, and what to be careful about."""
    best, selection = search.selection.best, search.selection
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(search.status.outcomes.items()))
    progress = f"{len(search.records)} of {search.settings.trials} trials begun; {outcomes or 'none has ended yet'}."
    if best is None:
        why = f"No trial {'finished' if search.status.done else 'has finished yet'}, so there is no best."
        return [Text([why, progress], "answer"), *_warnings(search)]
    values = ", ".join(f"{figures.short(key)} {cell(value)}" for key, value in best.searched.items())
    ties = ", ".join(str(record.number) for record in selection.ties)
    tied = (
        [f"It cannot be told from trial {ties}: the 95 % interval of the paired difference contains 0."] if ties else []
    )
    rows = _scores(best, selection.of)
    many = f" of {selection.of}" if selection.of > 1 else ""
    headline = f"Trial {best.number} is the best{many}: {', '.join(f'{row[1]} on {row[0]}' for row in rows[:2])}."
    return [
        Text([headline, values, *tied, progress], "answer"),
        Table(["accuracy on", "mean ± 95 % interval", "what it claims"], rows),
        *_gains(search, best),
        *_warnings(search),
    ]


def _scores(best: TrialRecord, of: int) -> list[list[str]]:
    """Return what the best is worth, on what, and what that claims."""
    assert best.last is not None
    told = f"the best of {of} trials, each the best of its validations: optimistic"
    rows = [["validation", score(best.objective, best.last.objective_ci95), told]]
    for name, found, what in (
        ("fresh validation tasks", best.fresh_validation, "tasks"),
        ("novel classes", best.test, "tasks of classes"),
    ):
        if found is not None:
            rows.append([name, score(found.accuracy, found.ci95), f"{found.episodes} {what} that influenced no choice"])
    return rows


def _gains(search: Search, best: TrialRecord) -> list[Block]:
    """Return how far the best is ahead of what the search is measured against."""
    own = [r for r in search.records if r.number == 0 and search.settings.own_setting is not None and r is not best]
    names = {"own": "the setting that the search began from"}
    rows = []
    for record in [*search.references, *own]:
        name = names.get(record.reference, record.reference) or "trial 0, the setting that the search began from"
        gained = gain(best, record) if record.state == DONE else None
        means = (gained.validation, gained.novel) if gained else (None, None)
        cells = [f"{mean.value:+.4f} ± {mean.ci95:.4f}" if mean else "" for mean in means]
        rows.append([name, state_name(record, search.running), *cells, record.error])
    told = ["No trial was better on validation than trial 0, the setting that the search began from."]
    ahead = [Text(told)] if best.number == 0 and search.settings.own_setting is not None else []
    if not rows:
        return [*ahead]
    heads = ["measured against", "outcome", "validation", "novel classes", "why not"]
    if not any(row[-1] for row in rows):
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    return [*ahead, Text(["The best minus what it is measured against, paired by task:"]), Table(heads, rows)]


def _warnings(search: Search) -> list[Block]:
    lines = list(search.status.causes)
    if search.selection.best is not None:
        lines += suspicions(search.selection.best, search.records, search.settings)
    collapsed = [str(r.number) for r in search.records if r.outcome == "collapsed"]
    if collapsed:
        lines.append(f"trial {', '.join(collapsed)} collapsed: its loss never left that of guessing")
    return [Text(lines, "warning")] if lines else []


def trials_table(search: Search) -> Table:
    """Return all trials, the best first."""
    records, keys = in_order(search.records), list(search.settings.space)
    rows = []
    for record in records:
        row = score_row(record)
        rows.append(
            [
                str(record.number),
                search.selection.mark(record.number),
                state_name(record, search.running),
                score(row["validation"], row["validation ci95"]),
                score(row["fresh validation"], row["fresh validation ci95"]),
                score(row["test"], row["test ci95"]),
                "" if record.last is None else f"{record.last.best_iteration} of {record.last.iteration}",
                "" if record.last is None else f"{record.last.seconds:.0f}",
                *(cell(record.searched.get(key)) for key in keys),
            ]
        )
    head = ["trial", "chosen", "outcome", "validation", "fresh validation", "novel classes", "best at", "seconds"]
    marks = [search.selection.mark(record.number) for record in records]
    return Table([*head, *map(figures.short, keys)], rows, marks, sortable=True)
