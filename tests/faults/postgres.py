"""A private PostgreSQL server on loopback, from Debian's package, with a user whose password is asked for."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from tests.faults.servers import free_port

OPTIONS = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "max_connections=60"]


def find_programs() -> Path | None:
    """The folder of initdb and postgres; None where PostgreSQL is not installed."""
    beside = shutil.which("initdb")
    places = [Path(beside).resolve().parent] if beside else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists() and (place / "postgres").exists()), None)


def _not_root() -> dict[str, Any]:
    """Options for a process that gives up root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    who = names.get("postgres") or names["nobody"]
    return {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}


class Postgres:
    """The server; ``url(database)`` for its user ``u``."""

    def __init__(self, programs: Path, password: str) -> None:
        self.port, self._password, self._admin = free_port(), password, secrets.token_hex(8)
        self._as = _not_root()
        # Not below pytest's folder, which another user may not enter.
        self._root = Path(tempfile.mkdtemp(prefix="datg-postgres-", dir="/tmp" if self._as else None))
        password_file = self._root / "password"
        password_file.write_text(self._admin)
        for path in (self._root, password_file) if self._as else ():
            os.chown(path, self._as["user"], self._as["group"])
        self._environment = {**os.environ, "LC_ALL": "C", "HOME": str(self._root)}
        make = [programs / "initdb", "-D", self._root / "data", "-U", "postgres", "-A", "scram-sha-256", "--locale=C"]
        make += [f"--pwfile={password_file}", "-E", "UTF8", "--no-sync"]
        subprocess.run(make, cwd=self._root, env=self._environment, check=True, capture_output=True, **self._as)
        self._command = [programs / "postgres", "-D", self._root / "data", "-p", str(self.port)]
        self._command += [part for option in OPTIONS for part in ("-c", option)]
        self.start()
        self._execute(f"CREATE ROLE u LOGIN PASSWORD '{password}'")

    def start(self) -> None:
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._root,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._as,
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                self._execute("SELECT 1")
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """Without ceremony, as a crash would."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._root, ignore_errors=True)

    def database(self, name: str) -> str:
        """Makes an empty database; returns its URL."""
        self._execute(f"CREATE DATABASE {name} OWNER u")
        return f"postgresql+psycopg://u:{self._password}@127.0.0.1:{self.port}/{name}"

    def _execute(self, statement: str) -> None:
        account = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": "postgres",
            "password": self._admin,
            "dbname": "postgres",
        }
        with psycopg.connect(**account, autocommit=True) as connection:
            connection.execute(statement)
