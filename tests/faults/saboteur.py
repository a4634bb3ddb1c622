"""Faults inside Ray's workers: a ``sitecustomize`` that every Python process of a search loads, and what it is told to do.

The plan is a JSON file: trial number to ``[fault, how often]``. A fault happens at the trial's third iteration after its first
validation, as long as the trial has been tried less often than that.
"""

import json
import os
from pathlib import Path

SITE = """
import importlib.abc, importlib.machinery, json, os, signal, sys, time
from pathlib import Path

PLAN = json.loads(Path(os.environ["FAULT_PLAN"]).read_text())


def happen(fault, training):
    if fault == "sigkill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "segfault":
        import ctypes
        ctypes.string_at(0)
    if fault == "exception":
        raise RuntimeError("a wrong shape")
    if fault == "exit":
        sys.exit(3)
    if fault == "cuda memory":
        import torch
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    if fault == "host memory":
        raise MemoryError("cannot allocate 8 GiB")
    if fault == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if fault == "hang":
        time.sleep(100000)
    if fault == "nan":
        for value in training.learner.parameters():
            value.data.fill_(float("nan"))


def sabotage(worker):
    run_trial = worker.run_trial

    def run(config, data, *, folder, **options):
        fault, often = PLAN.get(folder.name, (None, 0))
        attempts = folder / "attempts"
        tries = len(attempts.read_text()) if attempts.exists() else 0
        with attempts.open("a") as file:
            file.write("x")
        if fault is None or tries >= often:
            return run_trial(config, data, folder=folder, **options)
        from datg.training import Training
        update = Training._update
        due = config.training.eval_every + 3 if tries == 0 else 0

        def broken(self):
            if self.iteration >= due and (tries == 0 or self.iteration > 0):
                Training._update = update
                happen(fault, self)
            update(self)

        Training._update = broken
        try:
            return run_trial(config, data, folder=folder, **options)
        finally:
            Training._update = update

    worker.run_trial = run


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "datg.search.worker":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module
        def exec_module(module):
            execute(module)
            sabotage(module)
        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder())
"""


def environment_for(folder: Path, plan: dict[int, tuple[str, int]]) -> dict[str, str]:
    """What a search's environment must hold for the plan to happen."""
    site = folder / "site"
    site.mkdir(parents=True)
    (site / "sitecustomize.py").write_text(SITE)
    (folder / "plan.json").write_text(json.dumps(plan))
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "FAULT_PLAN": str(folder / "plan.json")}
