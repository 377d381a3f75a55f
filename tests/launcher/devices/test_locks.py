"""Device locks under real processes: no sharing, order of arrival, crashes, several users."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.devices.holders import stuck_holders
from launcher.devices.inventory import DeviceLocks
from launcher.errors import PlanError, UsageError
from tests.launcher.devices.tickets import tickets
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
rank = subprocess.Popen(["sleep", "3600"], pass_fds=held.fds, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
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
    with locks.acquire(ids, timeout_s=400):
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


@pytest.mark.system
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
