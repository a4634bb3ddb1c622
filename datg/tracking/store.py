"""Which MLflow store is meant, and how a user looks at it."""

import os
from pathlib import Path

from datg.errors import without_password
from datg.tracking.database import SQLITE

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def tracking_uri(given: str | None) -> str:
    """Return ``given``, else ``$MLFLOW_TRACKING_URI``, else the database that a bare ``mlflow ui`` in this folder shows."""
    return given or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{Path.cwd() / 'mlflow.db'}"


def bypass_proxies_for_loopback() -> None:
    """Have HTTP proxies of the environment not asked for this machine's own servers, which they could not reach."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    names = [name.strip() for name in known.split(",") if name.strip()]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(
        [*names, *(name for name in LOOPBACK if name not in names)]
    )


def how_to_look(uri: str) -> str:
    """Return the command, or the address, that shows a tracking store."""
    if uri == tracking_uri(None) and "MLFLOW_TRACKING_URI" not in os.environ:
        return "mlflow ui"
    shown = without_password(uri)
    return shown if uri.startswith("http") else f"mlflow ui --backend-store-uri {shown}"
