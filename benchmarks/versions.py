"""Is this version of the package faster than another, in how much memory, and does it compute the same?

    python -m benchmarks.versions 6808711                    # ten minutes: every strategy of ProtoNet, and MAML
    python -m benchmarks.versions 6808711 --profile          # and what each operation of a step takes

Both versions take turns, round after round, each in a process of its own that does the same iterations: 84 x 84
random pictures, 5-way 1-shot, 4 tasks. A ratio is the median over rounds. The losses of the first iteration are compared
before anything is timed.
"""

import io
import json
import os
import statistics
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.contestants import Contestant, Machine
from benchmarks.processor import describe, precisions
from benchmarks.random_pictures import NAME, write_pictures
from datg.cli.console import console, print_rows
from datg.cli.main import run_command
from datg.errors import ConfigError
from datg.storage.files import write_json
from datg.strategies import STRATEGIES

ROUNDING = 1e-3  # of a loss, which sums that are taken in another order may change
WARM_UP, ITERATIONS = 2, 2
SHOWN = 8  # operations of a profile


def main(
    revision: Annotated[str, typer.Argument(help="The other version: a commit, branch or tag of this repository.")],
    learners: Annotated[list[str], typer.Option("--learner", help="Which learners.")] = ["protonet", "maml"],  # noqa: B006
    rounds: Annotated[int, typer.Option(min=1, help="In which both take a turn.")] = 7,
    threads: Annotated[int, typer.Option(min=1)] = os.cpu_count() or 1,
    profile: Annotated[
        bool, typer.Option("--profile", help="Say what the operations of a step of Vanilla take.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="A file for all of it, .json.")] = None,
) -> None:
    """Compare steps of training."""
    rows, profiles = list[dict[str, Any]](), dict[str, Any]()
    with tempfile.TemporaryDirectory() as folder:
        before = _checked_out(revision, Path(folder) / "before")
        root = Path(folder) / "data"
        write_pictures(root / NAME)
        machine = Machine(root, NAME, threads)
        for learner in learners:
            for precision in precisions():
                for strategy in (name for name, kind in STRATEGIES.items() if learner not in kind.refused_learners):
                    values = {
                        "learner": {"name": learner},
                        "strategy": {"name": strategy},
                        "training": {"precision": precision},
                    }
                    with (
                        Contestant(machine, textbook=False, source=before) as old,
                        Contestant(machine, textbook=False) as new,
                    ):
                        rows.append({"case": f"{learner} {strategy} {precision}"} | _turns(old, new, values, rounds))
                        print(json.dumps(rows[-1]), flush=True)
                        if profile and strategy == "vanilla":
                            profiles[rows[-1]["case"]] = {
                                name: side.ask("profile", "step", 3) for name, side in (("before", old), ("now", new))
                            }
    print_rows(rows, console())
    for case, sides in profiles.items():
        for side, operations in sides.items():
            longest = {name: round(ms, 1) for name, ms in list(operations.items())[:SHOWN]}
            print(f"{case}, {side}: {sum(operations.values()):.0f} ms an iteration: {longest}")
    if output is not None:
        write_json(output, {"machine": describe(threads), "before": revision, "steps": rows, "profiles": profiles})


def _checked_out(revision: str, folder: Path) -> Path:
    """Return ``folder`` with the files of a revision; the repository stays as it is."""
    done = subprocess.run(["git", "archive", revision], capture_output=True, check=False)
    if done.returncode:
        raise ConfigError(
            f"`{revision}` must be a version of this repository, but git says: {done.stderr.decode().strip()}"
        )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _turns(old: Contestant, new: Contestant, values: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Return a row of the table."""
    sides = (old, new)
    for side in sides:
        side.ask("prepare", "step", values)
    idle = [side.ask("peak_memory") for side in sides]
    before, now = (side.ask("train", "step", 1)[1] for side in sides)
    if abs(now - before) > ROUNDING * abs(before):
        raise ConfigError(f"{values}: the first loss was {before} and is {now}, so there is nothing to compare.")
    for side in sides:
        side.ask("train", "step", WARM_UP)
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for side, found in zip(sides, seconds, strict=True):
            found.append(side.ask("train", "step", ITERATIONS)[0])
    ratios = [was / now for was, now in zip(*seconds, strict=True)]
    memory = [(side.ask("peak_memory") - was) >> 20 for side, was in zip(sides, idle, strict=True)]
    return {
        "times as fast": round(statistics.median(ratios), 2),
        "of rounds": f"{min(ratios):.2f} to {max(ratios):.2f}",
        "ms before": round(1000 * statistics.median(seconds[0])),
        "ms now": round(1000 * statistics.median(seconds[1])),
        "MiB before": memory[0],
        "MiB now": memory[1],
        "loss differs by": f"{abs(now - before) / abs(before):.0e}",
    }


if __name__ == "__main__":
    run_command(main)
