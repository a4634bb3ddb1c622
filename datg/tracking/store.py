"""Which MLflow store is meant, and how a user looks at it."""

import os
import shlex
from pathlib import Path
from urllib.parse import urlparse

from datg.errors import ConfigError, without_password
from datg.tracking.database import SQLITE

VARIABLE = "MLFLOW_TRACKING_URI"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def tracking_uri(given: str | None) -> str:
    """Return ``given``, else ``$MLFLOW_TRACKING_URI``, else the database that a bare ``mlflow ui`` in this folder shows."""
    return given or os.environ.get(VARIABLE) or f"{SQLITE}{Path.cwd() / 'mlflow.db'}"


def check_tracking_uri(uri: str | None) -> str | None:
    """Return ``uri``, which is None where the default is meant.

    Raises:
        ConfigError: a folder is named, which MLflow refuses to write.
    """
    allowed = os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("1", "true")
    names_folder = uri and (
        uri.startswith("file:") or (not urlparse(uri).scheme and (os.sep in uri or Path(uri).is_dir()))
    )
    if names_folder and not allowed:
        named = VARIABLE if uri == os.environ.get(VARIABLE) else "--tracking-uri"
        raise ConfigError(
            f"`{named}` {uri} names files in a folder, into which MLflow no longer writes; name a database, such as "
            f"{SQLITE}mlflow.db, or a server, such as http://127.0.0.1:5000."
        )
    return uri


def bypass_proxies_for_loopback() -> None:
    """Have HTTP proxies of the environment not asked for this machine's own servers, which they could not reach."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    names = [name.strip() for name in known.split(",") if name.strip()]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(
        [*names, *(name for name in LOOPBACK if name not in names)]
    )


def how_to_look(uri: str, page: str = "") -> str:
    """Return the command, or the address, that shows a tracking store, or a page of it."""
    shown = without_password(uri)
    if uri.startswith("http"):
        return shown.rstrip("/") + page
    own = uri == tracking_uri(None) and VARIABLE not in os.environ
    command = "mlflow ui" if own else f"mlflow ui --backend-store-uri {shlex.quote(shown)}"
    return f"{command}, then http://127.0.0.1:5000{page}" if page else command
