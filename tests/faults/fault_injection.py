"""Faults inside Ray's workers, by a hook that the processes of a search install when they start.

The plan is a JSON file: trial number to ``[fault, how often]``. A fault happens at the trial's third iteration after its first
validation, as long as the trial has been tried less often than that. Nothing heavy is imported here: it is read by every process.
"""

import importlib.abc
import importlib.machinery
import json
import os
import signal
import sys
import time
from pathlib import Path

SITE, ROOT = Path(__file__).parent / "site", Path(__file__).parent.parent.parent
WORKER = "datg.search.ray.worker"


def environment_for(folder: Path, plan: dict[int, tuple[str, int]]) -> dict[str, str]:
    """What a search's environment must hold for the plan to happen."""
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(plan))
    path = os.pathsep.join([str(SITE), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "FAULT_PLAN": str(folder / "plan.json")}


def segfault():
    import ctypes

    ctypes.string_at(0)


def run_out_of_cuda_memory():
    import torch

    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def run_out_of_memory():
    raise MemoryError("cannot allocate 8 GiB")


def raise_an_exception():
    raise RuntimeError("a wrong shape")


FAULTS = {
    "sigkill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "segfault": segfault,
    "exception": raise_an_exception,
    "exit": lambda: sys.exit(3),
    "cuda memory": run_out_of_cuda_memory,
    "host memory": run_out_of_memory,
    "hang": lambda: time.sleep(100_000),
}


def happen(fault, training):
    if fault == "nan":
        for value in training.learner.parameters():
            value.data.fill_(float("nan"))
    else:
        FAULTS[fault]()


def inject_into(worker):
    """Has the plan happen to the trials that the module ``worker`` runs."""
    plan = json.loads(Path(os.environ["FAULT_PLAN"]).read_text())
    run_trial = worker.run_trial

    def run(config, data, *, folder, **options):
        fault, often = plan.get(folder.name, (None, 0))
        attempts = folder / "attempts"
        tries = len(attempts.read_text()) if attempts.exists() else 0
        with attempts.open("a") as file:
            file.write("x")
        if fault is None or tries >= often:
            return run_trial(config, data, folder=folder, **options)
        from datg.trial.training import Training

        update = Training._update
        due = config.training.eval_every + 3 if tries == 0 else 0

        def broken(training):
            if training.iteration >= due and (tries == 0 or training.iteration > 0):
                Training._update = update
                happen(fault, training)
            update(training)

        Training._update = broken
        try:
            return run_trial(config, data, folder=folder, **options)
        finally:
            Training._update = update

    worker.run_trial = run


class InjectAtImport(importlib.abc.MetaPathFinder):
    """Injects when the worker's module is imported, which is late, and not in every process."""

    def find_spec(self, name, path=None, target=None):
        if name != WORKER:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def execute_and_inject(module):
            execute(module)
            inject_into(module)

        spec.loader.exec_module = execute_and_inject
        return spec


def install():
    sys.meta_path.insert(0, InjectAtImport())
