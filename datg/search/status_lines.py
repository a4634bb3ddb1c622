"""A search's status in words."""

from datg.display import duration
from datg.search.status import Status
from datg.sizes import shown_size


def lines_of(status: Status) -> list[str]:
    """Everything, for one search."""
    lines = [one_line(status)]
    for trial in status.running:
        silent = "" if trial["silent"] is None else f", last sign {duration(trial['silent'])} ago"
        lines.append(f"  trial {trial['trial']}: {trial['done']:.0%} done, {trial['where']}{silent}")
    lines += [f"  {line}" for line in status.causes]
    lines.append(f"  MLflow: {'has everything' if status.unsent is None else f'lacks {status.unsent}'}")
    lines.append(f"  disk: {shown_size(status.bytes)}")
    if status.resume:
        lines.append(f"  go on with: {status.resume}")
    return lines


def one_line(status: Status) -> str:
    """The most important, for a list of searches."""
    driven = f"driven by {status.driver}" if status.driver else "stopped" if status.resume else "done"
    ended = ", ".join(f"{outcome} {count}" for outcome, count in sorted(status.outcomes.items())) or "nothing ended"
    parts = [f"{status.search}: {driven}", f"{sum(status.outcomes.values())} of {status.asked} trials ended ({ended})"]
    if status.running:
        parts.append(f"{len(status.running)} {'running' if status.driver else 'interrupted'}")
    parts.append(f"evaluated {status.evaluated}")
    if status.best:
        best = status.best
        parts.append(f"best {best['validation']:.4f} ± {best['ci95']:.4f} (trial {best['trial']})")
    return "; ".join(parts)
