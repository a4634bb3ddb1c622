"""Signals that come where somebody swallows what they raise."""

import os
import subprocess
import sys

import pytest

SWALLOW = """
import os, signal, time
from datg.runtime import signals
signals.LEAVE_SECONDS = 0.5
signals.raise_on_signals()
try:
    os.kill(os.getpid(), signal.{name})
    time.sleep(1)
except BaseException as error:
    print(repr(error), flush=True)
"""


def swallowed(then: str, name: str) -> subprocess.CompletedProcess:
    """A program that swallows a signal and does ``then``."""
    return subprocess.run([sys.executable, "-c", SWALLOW.format(name=name) + then], capture_output=True, text=True)


SIGNALS = pytest.mark.parametrize(
    ("name", "raised", "code"),
    [
        ("SIGINT", "KeyboardInterrupt()", 130),
        ("SIGTERM", "Terminated('SIGTERM')", 75),
        ("SIGUSR1", "Terminated('SIGUSR1')", 75),
    ],
)


@SIGNALS
def test_a_swallowed_signal_is_not_lost(name, raised, code):
    stubborn = swallowed("while True: time.sleep(1)", name)
    assert stubborn.stdout.strip() == raised and stubborn.returncode == code
    asked = swallowed(
        "request = signals.StopRequest(); request.install(); print(request.requested, request.exit_code)", name
    )
    assert asked.stdout.splitlines()[1] == f"True {code}" and asked.returncode == 0
    again = swallowed("signals.reraise_signal()", name)
    assert again.stdout.strip() == raised and raised.split("(")[0] in again.stderr and again.returncode != 0


TURNED = """
import os, signal
from typing import Annotated
from pydantic import BaseModel, PlainSerializer
from datg.cli.main import run_command
from datg.errors import ConfigError

def stop(value):
    os.kill(os.getpid(), signal.{name})
    return value

class Model(BaseModel):
    value: Annotated[int, PlainSerializer(stop)] = 0

def pydantic():
    Model().model_dump()

def ours():
    try:
        stop(0)
    except BaseException as error:
        raise ConfigError("this is not what happened") from error

def attribute():
    try:
        stop(0)
    except BaseException as error:
        raise AttributeError from error

run_command({by})
"""


@pytest.mark.parametrize("by", ["pydantic", "ours", "attribute"])
@SIGNALS
def test_a_signal_that_a_library_turns_into_its_own_error_is_still_the_signal(name, raised, code, by):
    ended = subprocess.run([sys.executable, "-c", TURNED.format(name=name, by=by)], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (code, f"stopped ({name}).\n")


IMPORT = """
import time
from datg.runtime import signals
signals.raise_on_signals()
try:
    import half_way
    print("imported", half_way.whole, flush=True)
    for _ in range(100):
        time.sleep(0.01)
except BaseException as error:
    print(repr(error), flush=True)
"""
HALF_WAY = """
import os, signal, time
os.kill(os.getpid(), signal.{name})
time.sleep(0.2)
whole = True
"""


@SIGNALS
def test_a_signal_during_an_import_is_raised_after_it(tmp_path, name, raised, code):
    (tmp_path / "half_way.py").write_text(HALF_WAY.format(name=name))
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    ended = subprocess.run(
        [sys.executable, "-c", IMPORT], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths}
    )
    assert ended.stdout.splitlines() == ["imported True", raised] and ended.returncode == 0, ended.stderr
