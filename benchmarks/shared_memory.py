"""Do trials on one machine share one copy of the class table?

    python -m benchmarks.shared_memory

Runs the same trial in two of Ray's workers at once, first on a table of pictures, then on one a tenth as large, and compares the
memory that is each process's own (unique set size: its private pages).
"""

import ctypes
import json
import logging
import tempfile
from pathlib import Path
from typing import Annotated

import ray
import typer

from benchmarks.random_pictures import BASE, NOVEL, SIZE, VALIDATION, write_pictures
from datg.cli.main import run_command
from datg.data.catalog import Dataset, open_dataset
from datg.trial.config import TrialConfig
from datg.trial.data import TrialData
from datg.trial.run import run_trial

CLASSES = BASE + VALIDATION + NOVEL


def shared_memory(
    examples: Annotated[int, typer.Option(min=3000, help="Pictures in the large table.")] = 20_000,
) -> None:
    """Print one JSON line."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        sizes = {}
        for name, number in (("large", examples), ("small", examples // 10)):
            write_pictures(Path(folder) / name, number // CLASSES)
            sizes[name] = max(run_two(Path(folder), name))
        table = examples * 3 * SIZE * SIZE
    megabytes = {f"own memory on the {name} table, MB": round(size / 2**20, 1) for name, size in sizes.items()}
    difference = round((sizes["large"] - sizes["small"]) / 2**20, 1)
    print(json.dumps({"table, MB": round(table / 2**20), **megabytes, "difference, MB": difference}))


def run_two(root: Path, name: str) -> list[int]:
    """Return the own memory, in bytes, of two workers that have run the same trial on the table in Ray's object store."""
    data = ray.put(open_dataset(name, root))
    workers = [Worker.remote() for _ in range(2)]  # type: ignore[attr-defined]
    ray.get([worker.run.remote(data) for worker in workers])
    return list(ray.get([worker.own_memory.remote() for worker in workers]))


@ray.remote(num_cpus=1)
class Worker:
    """Run a short trial in a process that stays, as a search's workers do."""

    def run(self, dataset: Dataset) -> None:
        """Train and validate."""
        self.dataset = dataset
        dataset.table.examples.max()  # touch every page, as a long trial does
        config = TrialConfig.from_dict(
            {
                "dataset": dataset.name,
                "strategy": {"name": "vanilla"},
                "training": {"iterations": 4, "eval_every": 4},
                "evaluation": {"validation_tasks": 20},
            }
        )
        run_trial(config, TrialData.from_dataset(dataset), report=lambda progress: None)

    def own_memory(self) -> int:
        """See :func:`own_memory`; freed activations, noise of hundreds of MB, are given back first."""
        ctypes.CDLL(None).malloc_trim(0)
        return own_memory()


def own_memory() -> int:
    """Return the private pages of this process in bytes (Linux)."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


if __name__ == "__main__":
    run_command(shared_memory)
