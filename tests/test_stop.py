"""Signals that come where somebody swallows what they raise."""

import subprocess
import sys

import pytest

SWALLOW = """
import os, signal, time
from datg import stop
stop.LEAVE_SECONDS = 0.5
stop.raise_on_signals()
try:
    os.kill(os.getpid(), signal.{name})
    time.sleep(1)
except BaseException as error:
    print(repr(error), flush=True)
"""


def swallowed(then: str, name: str) -> subprocess.CompletedProcess:
    """A program that swallows a signal and does ``then``."""
    return subprocess.run([sys.executable, "-c", SWALLOW.format(name=name) + then], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("name", "raised", "code"),
    [
        ("SIGINT", "KeyboardInterrupt()", 130),
        ("SIGTERM", "Terminated('SIGTERM')", 75),
        ("SIGUSR1", "Terminated('SIGUSR1')", 75),
    ],
)
def test_a_swallowed_signal_is_not_lost(name, raised, code):
    stubborn = swallowed("while True: time.sleep(1)", name)
    assert stubborn.stdout.strip() == raised and stubborn.returncode == code
    asked = swallowed(
        "request = stop.StopRequest(); request.install(); print(request.requested, request.exit_code)", name
    )
    assert asked.stdout.splitlines()[1] == f"True {code}" and asked.returncode == 0
    again = swallowed("stop.raise_what_came()", name)
    assert again.stdout.strip() == raised and raised.split("(")[0] in again.stderr and again.returncode != 0
