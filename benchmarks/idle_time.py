"""The share of time in which the places of trials stood empty, between two trials of a search that nothing interrupted.

    python launchers/search.py --dataset glyphs --trials 6 --max-concurrent 2 ...
    python -m benchmarks.idle_time runs/glyphs-20261123-1 --at-once 2

It looks at the time from the first step of the search to that of the trial that began last: until then every place had work.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from datg.cli.main import run_command
from datg.errors import ConfigError
from datg.trial.folder import read_reports


def idle_share(spans: list[tuple[float, float]], at_once: int) -> float:
    """Return the idle share of ``at_once`` places; spans are (first step, last validation) in seconds of any clock."""
    first, last = min(begin for begin, _ in spans), max(begin for begin, _ in spans)
    busy = sum(min(end, last) - begin for begin, end in spans)
    return 1 - busy / (at_once * (last - first))


def main(
    search: Annotated[Path, typer.Argument(help="The folder of an ended search.")],
    at_once: Annotated[int, typer.Option(min=1, help="Trials at once.")] = 2,
) -> None:
    """Print one JSON line."""
    histories = [read_reports(path) for path in search.glob("trials/*")]
    spans = [(history[0].time - history[0].seconds, history[-1].time) for history in histories if history]
    if len(spans) <= at_once:
        raise ConfigError(f"{search} holds {len(spans)} trials that began; more than --at-once {at_once} are needed.")
    lengths = [end - begin for begin, end in spans]
    summary = {"idle share": round(idle_share(spans, at_once), 4), "trials": len(spans)}
    print(json.dumps(summary | {"shortest, s": round(min(lengths), 1), "longest, s": round(max(lengths), 1)}))


if __name__ == "__main__":
    run_command(main)
