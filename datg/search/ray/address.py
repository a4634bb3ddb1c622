"""Which Ray an `--address` names, and why none answers or starts: causes that are known are named, others are not guessed."""

import os
import socket
from pathlib import Path

from datg.errors import ConfigError
from datg.runtime.called import command
from datg.search.ray.worker import describe_error, system_message

AUTO_ADDRESS = "auto"
CONNECT_SECONDS = 5.0
LONGEST_SOCKET = "AF_UNIX path length"  # in Ray's words about a path that no socket can have


def check_address(address: str) -> None:
    """Refuse an address that cannot be meant, or where nobody answers: Ray itself would try for minutes.

    Raises:
        ConfigError: naming the address and the rule.
    """
    named_by = ""
    if address == AUTO_ADDRESS:
        address, named_by = _current_cluster()
        if not address:
            return  # Ray looks at the processes of this machine
    if address.startswith("ray://"):
        raise ConfigError(
            f"`--address` {address} is of Ray Client, through which no search runs; call the command on a machine of the "
            "cluster, with --address auto."
        )
    if address.startswith(("http://", "https://")):
        raise ConfigError(
            f"`--address` {address} is of Ray's dashboard; name the cluster itself, usually HOST:6379, or submit the command "
            f"there: ray job submit --address {address} -- {command('search', '--address auto ...')}"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(
            f"`--address` must be HOST:PORT, or auto for the cluster of this machine, got {address!r}{named_by}; Ray's own port "
            "is 6379."
        )
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ConfigError(
            f"`--address` {address}{named_by} does not answer ({error.strerror or error}); start Ray there first."
        ) from None


def _current_cluster() -> tuple[str, str]:
    """Return the address that `auto` means, if the environment or a file says it, and who says it."""
    address = os.environ.get("RAY_ADDRESS", "")
    if address and address != AUTO_ADDRESS:
        return address, ", which RAY_ADDRESS names,"
    file = temporary_folder()[0] / "ray" / "ray_current_cluster"
    try:
        return file.read_text(encoding="utf-8").strip(), f", which {file} names,"
    except OSError:
        return "", ""


def temporary_folder() -> tuple[Path, str]:
    """Return where Ray keeps sockets and logs, and the variable that says so; empty for Ray's own choice."""
    for variable in ("RAY_TMPDIR", "TMPDIR"):
        if os.environ.get(variable):
            return Path(os.environ[variable]), variable
    return Path(os.sep, "tmp"), ""


def explain_start(error: Exception) -> str:
    """Return why Ray could not be started here, and what helps."""
    folder, variable = temporary_folder()
    named = f"{variable} {folder}" if variable else str(folder)
    if LONGEST_SOCKET in str(error):
        return (
            f"{named} is too long a path for Ray's sockets, which may have 107 bytes together with what Ray adds; set a short "
            "one: export RAY_TMPDIR=/tmp"
        )
    if isinstance(error, OSError) and error.filename:
        return (
            f"Ray cannot write {error.filename} below {named} ({system_message(error)}); set a folder that can be written: "
            "export RAY_TMPDIR=/tmp"
        )
    logs = folder / "ray" / "session_latest" / "logs"
    return f"Ray could not be started here ({describe_error(error)}); the cause is unknown, see its logs: {logs}."


def explain_connection(error: Exception, address: str) -> str:
    """Return why a Ray that answers could not be joined, as far as Ray says."""
    return (
        f"`--address` {address}: {str(error).splitlines()[0]}; why is in Ray's own lines above, if there are any. Where they say "
        "Unauthenticated, the cluster wants its token: set RAY_AUTH_MODE=token here, and the token that is in use there."
    )
