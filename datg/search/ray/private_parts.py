"""A Ray of our own on this machine: loopback only, silent, and without the part that asks the network where it is.

Ray has no public way to start without an API server, nor to leave a program's signal handlers alone. So two of its private
functions are replaced while it starts here. That is all that this package uses of Ray's private parts; the version is bounded
above in `pyproject.toml`, and a Ray in which one of them has moved is refused with a sentence.
"""

import contextlib
import importlib
import os
import secrets
from collections.abc import Iterator
from typing import Any

from datg.errors import ConfigError


def prepare_environment() -> None:
    """Set what Ray reads when it is imported."""
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # listen on 127.0.0.1, on Linux too
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # Ray would write one to the home folder


@contextlib.contextmanager
def without_api_server() -> Iterator[None]:
    """Start no API server: without a dashboard it has one module left, which asks clouds' metadata services all the same."""
    with _replaced("ray._private.node", "Node.start_api_server", lambda self, **options: None):
        yield


@contextlib.contextmanager
def keeping_signal_handlers() -> Iterator[None]:
    """Keep Ray from ending the program with another exit code when SIGTERM comes while it starts."""
    with _replaced("ray._private.utils", "set_sigterm_handler", lambda handler: None):
        yield


@contextlib.contextmanager
def _replaced(module: str, path: str, value: Any) -> Iterator[None]:
    *owners, name = path.split(".")
    try:
        owner: Any = importlib.import_module(module)
        for part in owners:
            owner = getattr(owner, part)
        before = getattr(owner, name)
    except (ImportError, AttributeError):
        import ray

        raise ConfigError(
            f"ray {ray.__version__} has no {module}.{path}, which must be replaced while Ray starts; install one that "
            "is known to work: pip install 'ray[tune]>=2.60,<2.61'."
        ) from None
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
