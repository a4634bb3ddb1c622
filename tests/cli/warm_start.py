"""Commands in processes of their own that begin with their imports done: for tests of many short ones."""

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# What takes seconds; not Ray, whose environment is to be prepared before.
IMPORTED = [
    "datg.search.prepare",
    "datg.search.comparison.table",
    "datg.cli.run_with_display",
    "datg.final_training.run",
    "datg.inference.apply",
]


def run_command(command: Sequence[str], *, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run`, of a Python file with its arguments."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    outputs = cwd / "stdout", cwd / "stderr"
    process = context.Process(target=_become, args=(command[1:], cwd, env, outputs))
    process.start()
    process.join()
    out, err = (path.read_text() for path in outputs)
    for path in outputs:
        path.unlink()
    return subprocess.CompletedProcess(command, process.exitcode, out, err)


def _become(arguments: Sequence[str], cwd: Path, env: dict[str, str], outputs: tuple[Path, Path]) -> None:
    for number, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = list(arguments)
    sys.path.insert(0, str(Path(arguments[0]).parent))
    runpy.run_path(arguments[0], run_name="__main__")
