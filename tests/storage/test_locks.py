"""Locks where the file system has them; where it refuses them, work goes on and that is said."""

import errno
import fcntl
import json
import os
import socket

import pytest
from filelock import Timeout

from datg.errors import ConfigError
from datg.search.state.folder import DriverLock, SearchFolder
from datg.storage.locks import OptionalLock


@pytest.fixture
def refused(monkeypatch):
    """A file system without locks: an NFS without its lock daemon, a Lustre that was mounted without flock."""

    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_another_process_is_kept_out(tmp_path):
    with OptionalLock(tmp_path / "lock") as lock:
        assert lock.held
        with pytest.raises(Timeout), OptionalLock(tmp_path / "lock", timeout=0):
            pass
    with OptionalLock(tmp_path / "lock", timeout=0) as lock:
        assert lock.held


def test_where_locks_are_refused_work_goes_on_and_that_is_said(tmp_path, refused, caplog):
    with OptionalLock(tmp_path / "lock") as lock:
        assert not lock.held
    assert f"{tmp_path / 'lock'} cannot be locked (No locks available)" in caplog.text
    assert "NFS: not nolock; Lustre: flock" in caplog.text


def test_other_troubles_are_not_passed_over(tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output error"), OptionalLock(tmp_path / "lock"):
        pass


@pytest.mark.parametrize(
    ("owner", "age", "taken"),
    [
        ({}, 0, False),
        ({"host": socket.gethostname(), "pid": os.getpid()}, 0, True),
        ({"host": socket.gethostname(), "pid": 2**22 + 1}, 0, False),
        ({"host": "elsewhere", "pid": 1}, 5, True),
        ({"host": "elsewhere", "pid": 1}, 100, False),
    ],
)
def test_without_locks_a_driver_counts_by_its_signs_of_life(owner, age, taken, tmp_path, refused):
    folder = SearchFolder(tmp_path)
    if owner:
        folder.driver.write_text(json.dumps(owner))
        then = folder.driver.stat().st_mtime - age
        os.utime(folder.driver, (then, then))
    lock = DriverLock(folder)
    if taken:
        with pytest.raises(ConfigError, match="is already driven by process"), lock:
            pass
        assert folder.driver.exists(), "what is another one's stays"
    else:
        with lock:
            assert json.loads(folder.driver.read_text())["pid"] == os.getpid()
        assert not folder.driver.exists()
