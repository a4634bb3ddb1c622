"""What does a GPU make of it: are losses right there, how fast is training, how many trials share one, how long is a test?

    python -m benchmarks.gpu_check --minutes 8 --output results       # on 84 x 84 random pictures, 5-way 1-shot, 4 tasks

Needs what a trial needs: this package's dependencies but Ray, Optuna and MLflow. Every part has its share of the time; what
it does not come to is said. Every figure is written to a file that is called after the device as soon as it is measured.
"""

import argparse
import json
import math
import multiprocessing
import os
import queue
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.processor import model, version
from benchmarks.random_pictures import NAME, write_pictures
from datg.data.catalog import Dataset, open_dataset
from datg.data.episodes import Tasks, TaskSampler
from datg.learners import LEARNERS
from datg.learners.learner import Learner
from datg.learners.running_statistics import accumulate_running_statistics
from datg.runtime.precision import resolve
from datg.runtime.random_streams import RandomStreams
from datg.storage.files import write_json
from datg.strategies import STRATEGIES
from datg.trial.clusters import cluster_base_classes
from datg.trial.config import TrialConfig
from datg.trial.data import TrialData
from datg.trial.evaluation import evaluate
from datg.trial.prepare import make_sampler, make_training
from datg.trial.training import Training

Row = dict[str, Any]
CPU = torch.device("cpu")
LONG = 30.0  # seconds; of an evaluation that takes longer a fiftieth is timed


@dataclass(frozen=True)
class Effort:
    """Say how much is measured.

    Attributes:
        side: of the pictures.
        examples: pictures a class.
        warm_up: iterations that are not timed.
        compared: iterations whose losses are compared.
        seconds: that a rate is timed for.
        tasks: of an evaluation.
        iterations: that a training is extrapolated to.
        trials: at once on one GPU.
        learners: whose training is timed.
        ways: names of :data:`WAYS` that it is timed in.
    """

    side: int = 84
    examples: int = 60
    warm_up: int = 150
    compared: int = 60
    seconds: float = 4.0
    tasks: int = 20_000
    iterations: int = 15_000
    trials: tuple[int, ...] = (1, 8, 2, 4)  # the ends first
    learners: tuple[str, ...] = ("protonet", "maml")
    ways: tuple[str, ...] = ("by kernels", "graphs", "graphs, compiled")


FULL, TINY = (
    Effort(),
    Effort(side=16, examples=20, warm_up=1, compared=3, seconds=0.01, tasks=20, iterations=10, trials=(1, 2)),
)


@dataclass
class Report:
    """Hold what was measured, written as it comes.

    Attributes:
        file: for all of it; None writes nothing.
        parts: rows by part.
    """

    file: Path | None
    parts: dict[str, list[Row]] = field(default_factory=dict)

    def keep_but(self, parts: list[str]) -> None:
        """Take over what the file holds already, without ``parts``, which are measured anew."""
        if self.file is not None and self.file.exists():
            found: dict[str, list[Row]] = json.loads(self.file.read_text(encoding="utf-8"))
            self.parts = {name: rows for name, rows in found.items() if name not in parts}

    def add(self, part: str, row: Row) -> None:
        """Note and print a row."""
        self.parts.setdefault(part, []).append(row)
        print(f"{part:<12}" + "  ".join(f"{name} {_shown(value)}" for name, value in row.items()), flush=True)
        if self.file is not None:
            write_json(self.file, self.parts)


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Bench:
    """Hold where and on what is measured.

    Attributes:
        root: of the data set.
    """

    device: torch.device
    root: Path
    dataset: Dataset
    effort: Effort

    def training(self, learner: str, strategy: str, *, device: torch.device | None = None, **settings: Any) -> Training:
        """Return a training at its beginning."""
        config = TrialConfig.from_dict(
            {
                "dataset": self.dataset.name,
                "learner": {"name": learner},
                "strategy": {"name": strategy},
                "training": settings,
            }
        )
        data, where = TrialData.from_dataset(self.dataset), device or self.device
        return make_training(config, data, where, cluster_base_classes(config, data.base, where))

    @property
    def ways(self) -> tuple[str, ...]:
        """Return the ways in which it is trained here: graphs are of GPUs."""
        return self.effort.ways if self.device.type == "cuda" else ("by kernels",)

    def best_way(self, learner: str) -> str:
        """Return the way that was fastest for a learner where it was tried, the last of those asked for without it."""
        return FASTEST[learner] if FASTEST[learner] in self.ways else self.ways[-1]

    def wait(self) -> None:
        """Wait until the device has done everything."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def warm_up(self, training: Training) -> float:
        """Do the first iterations, and return their seconds."""
        began = time.perf_counter()
        training.advance(self.effort.warm_up)
        self.wait()
        return time.perf_counter() - began

    def rate(self, training: Training, seconds: float) -> float:
        """Return seconds an iteration, the median over tens of them in ``seconds``: some may record a graph."""
        self.wait()
        began, tens = time.perf_counter(), [time.perf_counter()]
        while tens[-1] - began < seconds:
            training.advance(training.iteration + 10)
            self.wait()
            tens.append(time.perf_counter())
        return statistics.median(later - earlier for earlier, later in pairwise(tens)) / 10


def machine(bench: Bench) -> Iterator[Row]:
    """Say what the machine is, and what it does at best."""
    side = bench.effort.side
    yield {
        "device": device_name(bench.device),
        "torch": torch.__version__,
        "processor": f"{os.cpu_count()} cores, {model()}",
        "data": f"random pictures, {side} x {side}, 5-way 1-shot, 4 tasks, {resolve('auto', bench.device)}",
        "version": version(),
    }
    for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        size = 8192 if bench.device.type == "cuda" else 256
        left, right = (torch.randn(size, size, device=bench.device).to(dtype) for _ in range(2))
        seconds = _median_seconds(bench, partial(torch.mm, left, right))
        yield {"matrix product": name, "10^12 operations a second": 2 * size**3 / seconds / 1e12}


def device_name(device: torch.device) -> str:
    """Return what a device is called."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def losses(bench: Bench) -> Iterator[Row]:
    """Compare the first losses and gradients of every strategy and learner with the CPU's, from the same draws."""
    for strategy in reversed(list(STRATEGIES)):
        for learner in LEARNERS:
            if learner in STRATEGIES[strategy].refused_learners:
                continue
            there, here = (_first_step(bench, learner, strategy, device, "float32") for device in (CPU, bench.device))
            rounded = _first_step(bench, learner, strategy, bench.device, "bf16")
            yield {
                "strategy": strategy,
                "learner": learner,
                "float32 loss off by": abs(here[0] - there[0]) / abs(there[0]),
                "gradient": _distance(here[1], there[1]),
                "bf16 loss off by": abs(rounded[0] - there[0]) / abs(there[0]),
                "bf16 gradient": _distance(rounded[1], there[1]),
            }


def _first_step(
    bench: Bench, learner: str, strategy: str, device: torch.device, precision: str
) -> tuple[float, Tensor]:
    """Return loss and gradient of one meta-batch that is drawn on the CPU."""
    training = bench.training(learner, strategy, device=device, precision=precision)
    sampler = training.batch.sampler
    host = make_sampler(_config_of(bench, learner, strategy), bench.dataset.part("base"), CPU)
    drawn = HostDrawn(sampler.classes, sampler.ways, sampler.shots, sampler.queries, host)
    batch = replace(training.batch, sampler=drawn, streams=RandomStreams.from_seed(0), progress=0.5)
    training.learner.train()
    training.learner.draw_from(batch.streams.noise)
    with draws_on_the_host(), exact_products():
        loss = training.strategy.losses(training.learner, batch).total
        loss.backward()
    gradients = [value.grad.flatten() for value in training.learner.parameters() if value.grad is not None]
    return loss.item(), torch.cat(gradients).float().cpu()


def _config_of(bench: Bench, learner: str, strategy: str) -> TrialConfig:
    return TrialConfig.from_dict(
        {"dataset": bench.dataset.name, "learner": {"name": learner}, "strategy": {"name": strategy}}
    )


def _distance(left: Tensor, right: Tensor) -> float:
    return float((left - right).norm() / right.norm())


@dataclass(frozen=True)
class HostDrawn(TaskSampler):
    """Draw tasks on the CPU, for any device."""

    host: TaskSampler

    def draw(self, number: int, *, generator: torch.Generator, within: Tensor | None = None) -> Tasks:
        """See :meth:`TaskSampler.draw`; the generator is the CPU's."""
        tasks = self.host.draw(number, generator=generator, within=None if within is None else within.cpu())
        device = self.classes.starts.device
        return Tasks(tasks.classes.to(device), tasks.rows.to(device), tasks.shots)


@contextmanager
def draws_on_the_host() -> Iterator[None]:
    """Have noise drawn by the CPU's generators, and moved."""

    def moved(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *sizes, device=None, **others: draw(*sizes, **others).to(device)

    with mock.patch.object(torch, "rand", moved(torch.rand)), mock.patch.object(torch, "randn", moved(torch.randn)):
        yield


@contextmanager
def exact_products() -> Iterator[None]:
    """Keep convolutions from rounding float32 to TF32."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


# By name: how a step is computed.
WAYS: dict[str, Row] = {
    "by kernels": {},
    "graphs": {"cuda_graphs": True},
    "graphs, compiled": {"compile": True, "cuda_graphs": True},
}
# By learner; MAML's steps have so many forms that compiling them takes minutes.
FASTEST = {"protonet": "graphs, compiled", "maml": "graphs"}


def _trained(bench: Bench) -> Iterator[tuple[Row, Row]]:
    """Return what is trained, and in which way, with the settings of that."""
    for learner, strategy, how in product(bench.effort.learners, ("datg", "vanilla"), bench.ways):
        yield {"learner": learner, "strategy": strategy, "how": how}, WAYS[how]


def speed(bench: Bench) -> Iterator[Row]:
    """Time iterations: kernel by kernel, as CUDA graphs, and these with compiled blocks."""
    for row, settings in _trained(bench):
        training = bench.training(row["learner"], row["strategy"], **settings)
        row["warm-up, s"] = bench.warm_up(training)
        row["ms an iteration"] = 1000 * bench.rate(training, bench.effort.seconds)
        yield row | _profile(bench, training)


def graphs(bench: Bench) -> Iterator[Row]:
    """Compare the mean loss of the first iterations by graphs with that of the same ones kernel by kernel."""
    for row, settings in _trained(bench):
        training = bench.training(row["learner"], row["strategy"], precision="float32", **settings)
        training.advance(bench.effort.compared)
        yield row | {"iterations": bench.effort.compared, "mean loss": training.mean_losses()["loss"]}


def _profile(bench: Bench, training: Training) -> Row:
    """Return kernels and busy milliseconds an iteration, and the most memory that it took."""
    if bench.device.type != "cuda":
        return {}
    torch.cuda.reset_peak_memory_stats(bench.device)
    number = 10
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        training.advance(training.iteration + number)
        bench.wait()
    events = found.key_averages()
    return {
        "kernels": sum(event.count for event in events if event.self_device_time_total > 0) / number,
        "busy ms": sum(event.self_device_time_total for event in events) / 1000 / number,
        "MiB": torch.cuda.max_memory_allocated(bench.device) / 2**20,
    }


def _median_seconds(bench: Bench, action: Callable[[], object]) -> float:
    seconds = []
    for _ in range(20):
        bench.wait()
        began = time.perf_counter()
        action()
        bench.wait()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[3:])


def sharing(bench: Bench) -> Iterator[Row]:
    """Run several trials on one device at once, each in a process of its own."""
    alone = math.nan
    for number in bench.effort.trials:
        context = multiprocessing.get_context("spawn")
        barrier, rates = context.Barrier(number), context.Queue()
        arguments = (bench.root, str(bench.device), bench.effort, barrier, rates)
        processes = [context.Process(target=_share, args=arguments, daemon=True) for _ in range(number)]
        for process in processes:
            process.start()
        total = sum(rates.get(timeout=180) for _ in processes)
        for process in processes:
            process.join()
        alone = total if number == 1 else alone
        yield {"trials at once": number, "iterations a second in all": total, "times one": total / alone}


def _share(root: Path, device: str, effort: Effort, barrier: Any, rates: Any) -> None:
    torch.set_num_threads(1)
    bench = Bench(torch.device(device), root, open_dataset(NAME, root), effort)
    training = bench.training("protonet", "datg", **WAYS[bench.best_way("protonet")])
    bench.warm_up(training)
    barrier.wait(120)
    rates.put(1 / bench.rate(training, effort.seconds))


def evaluation(bench: Bench) -> Iterator[Row]:
    """Time a final evaluation of each learner, what it computes once included."""
    for learner in LEARNERS:
        training = bench.training(learner, "vanilla")
        training.advance(1)
        accumulate_running_statistics(training.learner, training.batch.sampler, seed=0)
        sampler = make_sampler(_config_of(bench, learner, "vanilla"), bench.dataset.part("novel"), bench.device)
        run = partial(_seconds_of_tasks, bench, training.learner, sampler)
        whole, sample = bench.effort.tasks, max(1, bench.effort.tasks // 50)
        run(sample)
        seconds = run(sample) * whole / sample
        timed = whole if seconds < LONG else sample
        yield {"learner": learner, "tasks": whole, "of these timed": timed, "s": run(timed) * whole / timed}


def _seconds_of_tasks(bench: Bench, learner: Learner, sampler: TaskSampler, tasks: int) -> float:
    bench.wait()
    began = time.perf_counter()
    evaluate(learner, sampler, tasks=tasks, seed=0, purpose="test")
    return time.perf_counter() - began


def length(bench: Bench) -> Iterator[Row]:
    """Extrapolate whole trainings by DATG."""
    for learner in bench.effort.learners:
        training = bench.training(learner, "datg", **WAYS[bench.best_way(learner)])
        warm_up = bench.warm_up(training)
        seconds = bench.rate(training, 2 * bench.effort.seconds) * (bench.effort.iterations - bench.effort.warm_up)
        yield {
            "learner": learner,
            "how": bench.best_way(learner),
            "iterations": bench.effort.iterations,
            "s": warm_up + seconds,
        }


# By name: what is measured, and its share of the time.
PARTS: dict[str, tuple[Callable[[Bench], Iterator[Row]], float]] = {
    "machine": (machine, 0.05),
    "losses": (losses, 0.2),
    "graphs": (graphs, 0.1),
    "speed": (speed, 0.25),
    "evaluation": (evaluation, 0.1),
    "length": (length, 0.1),
    "sharing": (sharing, 0.2),
}


GRACE = 60.0  # seconds that a part may need beyond its time, for the row that it is at


def measure(bench: Bench, minutes: float, parts: list[str], report: Report) -> bool:
    """Run ``parts``, each in a process of its own until its time is over; return whether nothing failed.

    What hangs on a GPU cannot be interrupted: its process is killed.
    """
    whole, shares = True, sum(PARTS[name][1] for name in parts)
    context = multiprocessing.get_context("spawn")
    for name in parts:
        ends = time.monotonic() + PARTS[name][1] / shares * minutes * 60
        rows: Any = context.Queue()
        process = context.Process(target=_send_rows, args=(name, bench.root, str(bench.device), bench.effort, rows))
        process.start()
        assert process.pid is not None
        try:
            while (row := _next_row(rows, process, ends + GRACE)) is not None:
                report.add(name, row)
                whole &= "failed" not in row
                if time.monotonic() >= ends:
                    report.add(name, {"ended": "by its share of the time"})
                    break
        except queue.Empty:
            whole = False
            report.add(name, {"failed": "it hangs: nothing came for longer than its time, and it was killed"})
        finally:
            process.kill()
            with suppress(ProcessLookupError):  # it has ended, or had not begun
                os.killpg(process.pid, signal.SIGKILL)
            process.join()
    return whole


def _next_row(rows: Any, process: Any, deadline: float) -> Row | None:
    """Return the next row of a part, None after the last.

    Raises:
        queue.Empty: nothing came until ``deadline``.
    """
    while True:
        alive = process.is_alive()  # asked first: what a dead process has sent is there
        try:
            row: Row | None = rows.get(timeout=max(0.0, min(1.0, deadline - time.monotonic())))
            return row
        except queue.Empty:
            if not alive:
                rows.put(None)
                return {"failed": f"its process ended with {process.exitcode}"}
            if time.monotonic() >= deadline:
                raise


def _send_rows(name: str, root: Path, device: str, effort: Effort, rows: Any) -> None:
    """Measure a part, in a process of its own; None is the last of the rows."""
    os.setpgid(0, 0)  # what it starts ends with it
    try:
        for row in PARTS[name][0](Bench(torch.device(device), root, open_dataset(NAME, root), effort)):
            rows.put(row)
    except Exception as error:
        text = str(error).strip() or "without a message"
        rows.put({"failed": f"{type(error).__name__}: {text.splitlines()[0]}"})
    rows.put(None)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything together")
    parser.add_argument(
        "--output",
        type=Path,
        help="a folder for a file that is called after the device; other parts in it stay",
    )
    parser.add_argument("--device", default="cuda", help="cpu measures the same there, for a look at this program")
    parser.add_argument(
        "--tiny", action="store_true", help="small pictures, few tasks: seconds, and no figures to quote"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--learners", nargs="+", choices=FULL.learners, default=FULL.learners, help="that are trained")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=FULL.ways, help="in which they are trained on a GPU")
    asked = parser.parse_args(arguments)
    device = torch.device(asked.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print(
            f"torch {torch.__version__} sees no GPU here, so there is nothing to check; --device cpu --tiny shows how it goes."
        )
        return 2
    effort = replace(TINY if asked.tiny else FULL, learners=tuple(asked.learners), ways=tuple(asked.ways))
    if asked.output is not None:
        asked.output.mkdir(parents=True, exist_ok=True)
    file = f"{device_name(device).lower().replace(' ', '-')}.json"
    report = Report(None if asked.output is None else asked.output / file)
    report.keep_but(asked.parts)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_pictures(root / NAME, effort.examples, side=effort.side)
        bench = Bench(device, root, open_dataset(NAME, root), effort)
        return 0 if measure(bench, asked.minutes, asked.parts, report) else 1


if __name__ == "__main__":
    sys.exit(main())
