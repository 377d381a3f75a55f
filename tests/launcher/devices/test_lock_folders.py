"""The folder of the device locks: made safely, and never trusted when somebody else can change it."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

import pytest

from launcher.devices import lockfolder
from launcher.devices.inventory import DeviceLocks
from launcher.devices.lockfolder import default_lock_dir, is_for_all, prepare
from launcher.errors import PlanError, UsageError
from tests.launcher.devices.tickets import tickets
from tests.waiting import PATIENCE_S, wait_until


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_users_share_the_queue() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        locks = DeviceLocks(folder / "locks", label="mine")
        go_read, go_write = os.pipe()
        done_read, done_write = os.pipe()
        child = os.fork()  # before a lock is taken: a fork would share it
        if child == 0:
            try:
                os.close(go_write)
                os.umask(0o077)
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                os.read(go_read, 1)
                with DeviceLocks(folder / "locks", label="theirs").acquire([0, 1], timeout_s=PATIENCE_S):
                    os.write(done_write, b"+")
                    os.read(go_read, 1)
            except BaseException as error:
                os.write(done_write, repr(error).encode())
            finally:
                os._exit(0)
        try:
            with locks.acquire([0]):
                os.write(go_write, b"1")
                wait_until(lambda: len(tickets(folder / "locks")) == 1)
            assert os.read(done_read, 1000) == b"+"
            with pytest.raises(PlanError, match="held by theirs"):
                locks.acquire([1], wait=False)  # a lock file that the other user made, under a strict umask
        finally:
            os.close(go_write)
            os.waitpid(child, 0)
        with locks.acquire([0, 1], wait=False):
            pass


def test_cleaners_of_temporary_files_are_kept_off(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with DeviceLocks(tmp_path).acquire([0]), pytest.raises(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # what systemd-tmpfiles tries first
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(fd)
    for path in tmp_path.iterdir():
        path.unlink()
    with DeviceLocks(tmp_path).acquire([0], wait=False):
        pass


def test_a_folder_that_can_not_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="LAUNCHER_LOCK_DIR"):
        DeviceLocks(tmp_path / "file" / "locks").acquire([0])


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep")
    folder = tmp_path / "locks"
    folder.mkdir()
    (folder / "device-0.lock").symlink_to(precious)
    with pytest.raises(UsageError, match=r"device-0\.lock"):
        DeviceLocks(folder).acquire([0])
    assert precious.read_text() == "keep"


def test_a_folder_that_somebody_else_can_change_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(UsageError, match="it is a link"):
        DeviceLocks(tmp_path / "link").acquire([0])
    assert list((tmp_path / "real").iterdir()) == []


def test_a_pipe_in_the_place_of_a_lock_blocks_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "queue.lock")
    with pytest.raises(UsageError, match="no plain file"):
        DeviceLocks(tmp_path).acquire([0])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder to another user")
def test_a_folder_of_another_user_is_neither_the_systems_nor_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAUNCHER_LOCK_DIR", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    system = tmp_path / "system"
    monkeypatch.setattr(lockfolder, "SYSTEM", system)
    assert default_lock_dir() == system  # root makes it
    prepare(system)
    assert is_for_all(system)
    os.chown(system, 65534, 65534)
    mine = default_lock_dir()
    assert mine.is_relative_to(tmp_path / "state")
    prepare(mine)
    assert mine.stat().st_mode & 0o777 == 0o700
    os.chown(mine, 65534, 65534)
    with pytest.raises(OSError, match="belongs to another user"):
        prepare(mine)
