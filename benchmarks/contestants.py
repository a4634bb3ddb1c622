"""What takes turns in a benchmark: this package, another version of it, and the textbook, each in a process of its own.

The processes differ in how they allocate memory (:mod:`datg.runtime.allocator`), which belongs to what is compared.
"""

import importlib
import multiprocessing
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.textbook import Textbook, loss_of
from datg.data.catalog import Dataset, open_dataset
from datg.learners.running_statistics import accumulate_running_statistics
from datg.runtime.allocator import keep_freed_memory
from datg.trial.clusters import cluster_base_classes
from datg.trial.config import TrialConfig
from datg.trial.data import TrialData
from datg.trial.evaluation import evaluate
from datg.trial.model import build_learner
from datg.trial.prepare import make_sampler, make_training
from datg.trial.training import Training

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Machine:
    """Hold the machine and data of a contestant.

    Attributes:
        root: data sets.
        dataset: which of them.
        threads: of torch.
    """

    root: Path
    dataset: str
    threads: int


class Contestant:
    """Run a :class:`Player` in a process of its own, and answer calls of its methods.

    Besides, ``peak_memory`` is the most bytes that it has held, and ``profile`` the milliseconds of each operation.
    """

    def __init__(self, machine: Machine, *, textbook: bool, source: Path | None = None) -> None:
        """Start it; ``source`` is a folder with another version of this repository, whose player it is."""
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, machine, textbook, source), daemon=True)
        self._process.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()

    def ask(self, method: str, *arguments: Any) -> Any:
        """Return the result of a method of the player."""
        self._connection.send((method, arguments))
        kind, value = self._connection.recv()
        if kind == "error":
            raise RuntimeError(value)
        return value


def _serve(connection: Connection, machine: Machine, textbook: bool, source: Path | None) -> None:
    torch.set_num_threads(machine.threads)
    if not textbook:
        keep_freed_memory()
    players = sys.modules[__name__] if source is None else _version_in(source)
    player = (players.TextbookPlayer if textbook else players.Player)(machine)
    others: dict[str, Callable[..., Any]] = {"peak_memory": _peak_memory, "profile": partial(_profile, player)}
    while True:
        try:
            method, arguments = connection.recv()
        except EOFError:
            return
        try:
            answer = others.get(method) or getattr(player, method)
            connection.send(("value", answer(*arguments)))
        except Exception as error:
            connection.send(("error", f"{type(error).__name__}: {error}"))


def _version_in(source: Path) -> Any:
    """Return this module as another version of the repository has it, with all that it imports."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("datg", "benchmarks")]:
        del sys.modules[name]
    sys.path.insert(0, str(source))
    return importlib.import_module("benchmarks.contestants")


def _peak_memory() -> int:
    """Return what Linux calls VmHWM, in bytes: `getrusage` would count what the parent held, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(kilobytes) * 1024


def _profile(player: Any, name: str, iterations: int) -> dict[str, float]:
    """Return the milliseconds an iteration that each operation itself takes, the longest first."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        player.train(name, iterations)
    longest = sorted(found.key_averages(), key=lambda event: -event.self_cpu_time_total)
    return {event.key: event.self_cpu_time_total / 1000 / iterations for event in longest}


class Player:
    """Answer calls by this package."""

    def __init__(self, machine: Machine) -> None:
        self.dataset: Dataset = open_dataset(machine.dataset, machine.root)
        self.trainings: dict[str, Training] = {}
        self.learner: Any = None

    def prepare(self, name: str, values: dict[str, Any]) -> None:
        """Make a training, at its beginning."""
        config = TrialConfig.from_dict({"dataset": self.dataset.name, **values})
        data = TrialData.from_dataset(self.dataset)
        self.trainings[name] = make_training(config, data, CPU, cluster_base_classes(config, data.base, CPU))
        self.trainings[name].learner.train()

    def forget(self, name: str) -> None:
        """End a training."""
        del self.trainings[name]

    def train(self, name: str, iterations: int) -> tuple[float, float]:
        """Return seconds an iteration, and the mean loss of the iterations."""
        training = self.trainings[name]
        began = time.perf_counter()
        training.advance(training.iteration + iterations)
        seconds = (time.perf_counter() - began) / iterations
        loss = training.mean_losses()["loss"]
        training.forget_losses()
        return seconds, loss

    def draw(self, name: str, times: int) -> float:
        """Return the seconds that drawing and gathering a meta-batch of real tasks takes."""
        training = self.trainings[name]
        training.batch.draw()
        began = time.perf_counter()
        for _ in range(times):
            training.batch.draw()
        return (time.perf_counter() - began) / times

    def multiply_adds(self, name: str) -> float:
        """Return the multiply-adds of the convolutions and matrix products of an iteration of a training."""
        training = self.trainings[name]
        counter = FlopCounterMode(display=False)
        with counter:
            training.advance(training.iteration + 1)
        training.forget_losses()
        return counter.get_total_flops() / 2

    def matrix_rate(self, precision: str) -> float:
        """Return multiply-adds a second of a large matrix product."""
        size, dtype = 2048, torch.bfloat16 if precision == "bf16" else torch.float32
        left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
        torch.mm(left, right)
        seconds = []
        for _ in range(5):
            began = time.perf_counter()
            torch.mm(left, right)
            seconds.append(time.perf_counter() - began)
        return size**3 / min(seconds)

    def load(self, values: dict[str, Any], weights: dict[str, torch.Tensor], precision: str) -> None:
        """Build a learner to evaluate."""
        config = TrialConfig.from_dict({"dataset": self.dataset.name, "strategy": {"name": "vanilla"}, **values})
        self.learner = build_learner(config, self.dataset.table.shape)
        self.learner.load_state_dict(weights)
        self.learner.backbone.precision = precision
        self.learner.eval()
        self.sampler = make_sampler(config, self.dataset.part("novel"), CPU)

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        """Return what a trial would save of a training now: weights, and running statistics that belong to them."""
        training = self.trainings[name]
        accumulate_running_statistics(training.learner, training.batch.sampler, seed=0)
        return training.learner.state_dict()

    def evaluate(self, tasks: int) -> tuple[float, list[float]]:
        """Return seconds for all, what is computed once included, and the accuracy of each of the tasks 0 to ``tasks - 1``."""
        began = time.perf_counter()
        evaluation = evaluate(self.learner, self.sampler, tasks=tasks, seed=0, purpose="test")
        return time.perf_counter() - began, evaluation.accuracies.tolist()

    def evaluate_tasks_alone(self, tasks: int) -> float:
        """Return the seconds of an evaluation after what is computed once."""
        with torch.inference_mode():
            predictor = self.learner.predictor(self.sampler.classes, self.sampler.shots)

        def ready(classes: object, shots: int) -> object:
            return predictor

        self.learner.predictor, kept = ready, self.learner.predictor
        try:
            return float(self.evaluate(tasks)[0])
        finally:
            self.learner.predictor = kept


class TextbookPlayer(Player):
    """Answer the same calls by the textbook."""

    def prepare(self, name: str, values: dict[str, Any]) -> None:
        """Make a training, and float32 data for it."""
        super().prepare(name, values)
        training = self.trainings[name]
        self.textbook = Textbook.of(training.learner, training.batch.sampler.classes)

    def train(self, name: str, iterations: int) -> tuple[float, float]:
        """See :meth:`Player.train`."""
        training, losses = self.trainings[name], []
        began = time.perf_counter()
        for _ in range(iterations):
            loss = loss_of(self.textbook, training.batch, training.strategy)
            training.optimiser.zero_grad()
            loss.backward()
            training.optimiser.step()
            losses.append(loss.item())
        return (time.perf_counter() - began) / iterations, sum(losses) / iterations

    def load(self, values: dict[str, Any], weights: dict[str, torch.Tensor], precision: str) -> None:
        """See :meth:`Player.load`."""
        super().load(values, weights, "float32")
        self.textbook = Textbook.of(self.learner, self.sampler.classes)

    def evaluate(self, tasks: int, first: int = 0) -> tuple[float, list[float]]:
        """Return seconds and accuracies of the tasks from ``first`` on."""
        began = time.perf_counter()
        numbers = range(first, first + tasks)
        accuracies = [self.textbook.accuracy(self.sampler, number, seed=0, purpose="test") for number in numbers]
        return time.perf_counter() - began, accuracies
