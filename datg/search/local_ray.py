"""A Ray of our own on this machine: loopback only, silent, and without the part that asks the network where it is.

Also keeps Ray from what it does to a program that uses it: replacing its handlers of signals, ending it during a shutdown.
"""

import contextlib
import gc
import os
import secrets
from collections.abc import Iterator


def prepare_environment() -> None:
    """Must come before Ray is imported."""
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # listen on 127.0.0.1, on Linux too
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # Ray would write one to the home folder


@contextlib.contextmanager
def without_api_server() -> Iterator[None]:
    """Without a dashboard its server has one module left, which asks clouds' metadata services even if statistics are off."""
    from ray._private.node import Node

    start = Node.start_api_server
    Node.start_api_server = lambda self, **options: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Node.start_api_server = start  # type: ignore[method-assign]


@contextlib.contextmanager
def keeping_signal_handlers() -> Iterator[None]:
    """Ray would end the program with another exit code when SIGTERM comes while it starts."""
    from ray._private import utils

    set_handler = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = set_handler


@contextlib.contextmanager
def without_garbage() -> Iterator[None]:
    """Around Ray's shutdown: it ends the whole program if another thread's collector finds one of its references then."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
