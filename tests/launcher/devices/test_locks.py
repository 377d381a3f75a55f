"""Device locks under real processes: no sharing, order of arrival, crashes, several users."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.devices import lockfolder
from launcher.devices.holders import stuck_holders
from launcher.devices.inventory import DeviceLocks
from launcher.devices.lockfolder import default_lock_dir, is_for_all, prepare
from launcher.errors import PlanError, UsageError
from tests.waiting import PATIENCE_S, state_of, wait_until

ROOT = Path(__file__).parents[3]

HOLD = """
import sys, time
from pathlib import Path
from launcher.devices.inventory import DeviceLocks
folder, label, ids = Path(sys.argv[1]), sys.argv[2], [int(k) for k in sys.argv[3].split(",")]
with DeviceLocks(folder, label=label).acquire(ids) as held:
    with open(folder / "order.log", "a") as log:
        log.write(label + "\\n")
    print("held", flush=True)
    sys.stdin.readline()
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a process that takes devices, says `held`, and holds them until its stdin closes."""
    running: list[subprocess.Popen[str]] = []

    def run(label: str, ids: str, code: str = HOLD, **options: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), label, ids],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            **options,  # type: ignore[call-overload]
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def held(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"


def tickets(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.ticket"))


def finish(process: subprocess.Popen[str]) -> None:
    process.communicate("\n", timeout=PATIENCE_S)


def test_a_device_is_held_and_given_back(tmp_path: Path) -> None:
    locks = DeviceLocks(tmp_path, label="run-a")
    with locks.acquire([0, 1]) as mine:
        assert mine.ids == (0, 1)
        owners = locks.owners()
        assert list(owners) == [0, 1]
        assert owners[0] is not None
        assert (owners[0].label, owners[0].pid) == ("run-a", os.getpid())
        with pytest.raises(PlanError, match=rf"device 1 is held by run-a \(pid {os.getpid()}\)"):
            locks.acquire([1, 2], wait=False)
        with locks.acquire([2], wait=False):
            assert list(locks.owners()) == [0, 1, 2]
    mine.release()  # again, which does nothing
    assert locks.owners() == {}
    assert tickets(tmp_path) == []


def test_all_or_nothing(tmp_path: Path) -> None:
    locks = DeviceLocks(tmp_path)
    with locks.acquire([3]):
        with pytest.raises(PlanError, match="device 3"):
            locks.acquire([0, 1, 2, 3], wait=False)
        assert list(locks.owners()) == [3], "the three that were free were given back"


@pytest.mark.parametrize("ids", [[], [0, 0], [-1]])
def test_nonsense_is_refused(tmp_path: Path, ids: list[int]) -> None:
    with pytest.raises(UsageError, match="not a set of devices"):
        DeviceLocks(tmp_path).acquire(ids)


def test_waiting_ends_after_the_timeout_and_says_for_what(tmp_path: Path) -> None:
    locks = DeviceLocks(tmp_path, label="run-a")
    lines: list[str] = []
    with locks.acquire([0]), pytest.raises(PlanError, match=r"waited 0\.3 s"):
        DeviceLocks(tmp_path).acquire([0], timeout_s=0.3, on_wait=lines.append)
    assert len(lines) == 1
    assert lines[0].startswith("device 0 is held by run-a")
    assert tickets(tmp_path) == []


def test_the_first_free_set_is_taken(tmp_path: Path) -> None:
    locks = DeviceLocks(tmp_path)
    with locks.acquire([1]), locks.acquire_any([(0, 1), (2, 3)]) as second:
        assert second.ids == (2, 3)


@pytest.mark.system
def test_runs_start_in_order_of_arrival(tmp_path: Path, start: Start) -> None:
    first = start("first", "0,1")
    held(first)
    waiting = []
    for k, ids in enumerate(["0", "0,1", "1", "0"]):
        waiting.append(start(f"waiter-{k}", ids))
        wait_until(lambda k=k: len(tickets(tmp_path)) == k + 1)  # type: ignore[misc]
    finish(first)
    for process in waiting:
        # Every waiter overlaps the one before it, or is behind one that does.
        if process is waiting[1] or process is waiting[0]:
            held(process)
            finish(process)
    for process in waiting[2:]:
        held(process)
        finish(process)
    order = (tmp_path / "order.log").read_text().split()
    assert order[:3] == ["first", "waiter-0", "waiter-1"]
    assert sorted(order[3:]) == ["waiter-2", "waiter-3"]
    assert tickets(tmp_path) == []


def test_a_small_run_does_not_overtake_a_large_one_it_overlaps(tmp_path: Path, start: Start) -> None:
    holder = start("holder", "0")
    held(holder)
    large = start("large", "0,1")
    wait_until(lambda: len(tickets(tmp_path)) == 1)
    locks = DeviceLocks(tmp_path)
    with pytest.raises(PlanError, match="1 run is ahead in the queue, first large"):
        locks.acquire([1], wait=False)  # device 1 is free, but large came first
    with locks.acquire([2], wait=False):
        pass  # not in anybody's way
    finish(holder)
    held(large)


def test_a_killed_holder_frees_its_devices(tmp_path: Path, start: Start) -> None:
    holder = start("holder", "0,1")
    held(holder)
    holder.send_signal(signal.SIGKILL)
    with DeviceLocks(tmp_path).acquire([0, 1], timeout_s=PATIENCE_S):
        pass


def test_a_killed_waiter_leaves_the_queue(tmp_path: Path, start: Start) -> None:
    holder = start("holder", "0")
    held(holder)
    waiter = start("waiter", "0,1")
    wait_until(lambda: len(tickets(tmp_path)) == 1)
    waiter.send_signal(signal.SIGKILL)
    waiter.wait()
    with DeviceLocks(tmp_path).acquire([1], wait=False):
        assert tickets(tmp_path)[1:] == [], "the dead ticket was swept"


def test_a_stopped_waiter_is_still_in_the_queue(tmp_path: Path, start: Start) -> None:
    holder = start("holder", "0")
    held(holder)
    waiter = start("waiter", "0")
    wait_until(lambda: len(tickets(tmp_path)) == 1)
    with DeviceLocks(tmp_path)._turnstile():  # so the waiter is not in it
        waiter.send_signal(signal.SIGSTOP)
        wait_until(lambda: state_of(waiter.pid) == "T")
    finish(holder)
    with pytest.raises(PlanError, match="first waiter"):
        DeviceLocks(tmp_path).acquire([0], timeout_s=0.3)
    waiter.send_signal(signal.SIGCONT)
    held(waiter)


def test_a_rank_keeps_the_device_when_its_parent_dies(tmp_path: Path, start: Start) -> None:
    code = """
import subprocess, sys
from pathlib import Path
from launcher.devices.inventory import DeviceLocks
held = DeviceLocks(Path(sys.argv[1]), label="run").acquire([0])
rank = subprocess.Popen(["sleep", "60"], pass_fds=held.fds, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
print("held", flush=True)
print(rank.pid, flush=True)
sys.stdin.readline()
"""
    parent = start("run", "0", code)
    held(parent)
    assert parent.stdout is not None
    rank = int(parent.stdout.readline())
    try:
        parent.kill()
        parent.wait()
        with pytest.raises(PlanError, match="held by run"):
            DeviceLocks(tmp_path).acquire([0], wait=False)
    finally:
        os.kill(rank, signal.SIGKILL)
    with DeviceLocks(tmp_path).acquire([0], timeout_s=PATIENCE_S):
        pass


STRESS = """
import os, random, sys
from pathlib import Path
from launcher.devices.inventory import DeviceLocks
folder, label, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
rng = random.Random(seed)
locks = DeviceLocks(folder, label=label)
for _ in range(12):
    ids = rng.sample(range(4), rng.randint(1, 3))
    with locks.acquire(ids, timeout_s=120):
        marks = [folder / f"busy-{k}" for k in ids]
        for mark in marks:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))  # fails when somebody else is on this device
        for mark in marks:
            mark.unlink()
print("held", flush=True)
"""


@pytest.mark.system
def test_no_device_is_ever_shared(tmp_path: Path, start: Start) -> None:
    workers = [start(f"worker-{seed}", str(seed), STRESS) for seed in range(4)]
    for worker in workers:
        held(worker)
        assert worker.wait(timeout=PATIENCE_S) == 0
    assert tickets(tmp_path) == []


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


def test_a_stopped_process_in_the_queue_is_named_and_a_request_to_stop_is_heard(
    tmp_path: Path, start: Start
) -> None:
    code = HOLD.replace(
        "with DeviceLocks(folder, label=label).acquire(ids) as held:",
        "with DeviceLocks(folder, label=label)._turnstile():",
    )
    squatter = start("squatter", "0", code)
    held(squatter)
    squatter.send_signal(signal.SIGSTOP)
    wait_until(lambda: state_of(squatter.pid) == "T")
    lines: list[str] = []

    class Cancelled(Exception):
        pass

    def cancel() -> None:
        if lines:
            raise Cancelled

    with pytest.raises(Cancelled):
        DeviceLocks(tmp_path).acquire_any([[0]], on_wait=lines.append, on_poll=cancel)
    assert lines[0].startswith(f"the queue is held by squatter (pid {squatter.pid})")
    assert stuck_holders(tmp_path) == [
        f"the queue is held by {lines[0].removeprefix('the queue is held by ')}, which is stopped (kill -CONT {squatter.pid})"
    ]


def test_doctor_names_holders_that_are_stopped_or_gone(tmp_path: Path, start: Start) -> None:
    holder = start("holder", "0")
    held(holder)
    assert stuck_holders(tmp_path) == []
    holder.send_signal(signal.SIGSTOP)
    wait_until(lambda: state_of(holder.pid) == "T")
    (words,) = stuck_holders(tmp_path)
    assert words.startswith("device 0 is held by holder")
    assert "is stopped" in words
    (tmp_path / "device-0.lock").write_text('{"pid": 4194305, "since": 1, "label": "gone"}')
    assert "outlived it" in stuck_holders(tmp_path)[0]
    (tmp_path / "device-0.lock").write_text("x")
    assert "did not say who it is" in stuck_holders(tmp_path)[0]


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
