"""How many trials share a GPU (`--gpus-per-trial auto`): as many as its memory holds, and as its units have time for.

One trial alone on a GPU trains a little. Its memory is what the whole device then has in use, the context of the process
included. The share of time that the device computes tells how many trials keep it busy. Then it evaluates a little on validation
classes, with the share that training alone would leave it, because what an evaluation holds at once goes by that
(:func:`~datg.runtime.gpu.buffer_bytes`): where that takes more than training, fewer trials share the GPU.
"""

import math
import time
from dataclasses import dataclass, replace

import torch
from torch.profiler import ProfilerActivity, profile

from datg.search.ray.resources import MOST_ON_A_GPU
from datg.trial.clusters import cluster_base_classes
from datg.trial.config import TrialConfig
from datg.trial.data import TrialData
from datg.trial.evaluation import evaluate
from datg.trial.prepare import make_sampler, make_training
from datg.trial.training import Training

WARM_UP, TIMED, PROFILED = 20, 40, 10  # iterations
EVALUATED = 2_000  # tasks: several blocks of every learner
USABLE = 0.9  # of a GPU's memory: fragmentation, and sizes that vary between trials


@dataclass(frozen=True)
class Need:
    """Hold what a trial needs of a GPU.

    Attributes:
        memory: bytes, with the context of its process.
        total: bytes that the GPU has.
        seconds: an iteration of a trial that has the GPU to itself.
        busy: the share of that time in which the GPU computes.
    """

    memory: int
    total: int
    seconds: float
    busy: float


def measure(config: TrialConfig, data: TrialData, device: torch.device) -> Need:
    """Train and evaluate a little on ``device``, which must have nothing else to do."""
    training = make_training(config, data, device, cluster_base_classes(config, data.base, device))
    training.advance(WARM_UP)
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    training.advance(WARM_UP + TIMED)
    torch.cuda.synchronize(device)
    seconds = (time.perf_counter() - began) / TIMED
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        training.advance(WARM_UP + TIMED + PROFILED)
        torch.cuda.synchronize(device)
    computing = sum(event.self_device_time_total for event in profiler.key_averages()) / 1e6 / PROFILED
    free, total = torch.cuda.mem_get_info(device)
    need = Need(total - free, total, seconds, min(1.0, computing / seconds))
    return replace(need, memory=max(need.memory, _memory_of_evaluation(training, config, data, need)))


def _memory_of_evaluation(training: Training, config: TrialConfig, data: TrialData, alone: Need) -> int:
    """Return the bytes in use after an evaluation with the share of a GPU that a trial would have by its training ``alone``."""
    device = training.batch.device
    number, _ = trials_at_once([alone])
    torch.cuda.set_per_process_memory_fraction(fraction(number), device)
    sampler = make_sampler(config, data.validation, device)
    try:
        evaluate(training.learner, sampler, tasks=EVALUATED, seed=0, purpose="validation")
    except torch.OutOfMemoryError:
        return int(USABLE * alone.total / max(1, number - 1))  # one fewer; a trial alone has the whole of it
    free, total = torch.cuda.mem_get_info(device)
    return total - free


def trials_at_once(needs: list[Need]) -> tuple[int, str]:
    """Return how many trials share a GPU, and why in a sentence; of several kinds of trials the largest needs count."""
    memory, busy = max(need.memory for need in needs), max(need.busy for need in needs)
    total = min(need.total for need in needs)
    by_memory = int(USABLE * total / memory)
    number = max(1, min(by_memory, MOST_ON_A_GPU, math.ceil(1 / busy) if busy > 0 else MOST_ON_A_GPU))
    milliseconds = 1000 * max(need.seconds for need in needs)
    sharing = "each trial gets a GPU" if number == 1 else f"{number} trials share a GPU"
    return number, (
        f"a trial takes {memory / 2**30:.1f} of a GPU's {total / 2**30:.1f} GiB and keeps it busy {busy:.0%} of the time "
        f"({milliseconds:.1f} ms an iteration): {sharing} (--gpus-per-trial {fraction(number):g})"
    )


def fraction(number: int) -> float:
    """Return the share of a GPU with which ``number`` trials fit."""
    return math.floor(10_000 / number) / 10_000
