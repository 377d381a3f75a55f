"""The faults: what each does to a run, when it can come, and what a failure that it causes must say."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.faults.run import MOMENTS, POLL_S, TOO_LONG_S, WITH_RANKS, Run
from launcher.errors import StoreError
from launcher.runfolder.paths import PLAN
from launcher.runfolder.states import State
from launcher.runs.folder import RunFolder
from launcher.runs.index import Index
from tests.servers.faults import delay, reset, status

Fault = Callable[[Run], None]
YEAR_S = 365 * 86_400.0
SET_MANIFEST = "/manifest.json"
DAMAGED = (
    "state.json",
    "status/node-0.json",
    "checkpoints/LATEST",
    SET_MANIFEST,
    PLAN,
    "record.json",
    "job.yaml",
)
DAMAGES: tuple[Callable[[bytes], bytes], ...] = (
    lambda data: b"",
    lambda data: data[: len(data) // 2],
    lambda data: b"\x00" * len(data),
    lambda data: b"[" * 200_000,
    lambda data: b'"text"',
)


def signalling(role: str, number: signal.Signals) -> Fault:
    """One process gets a signal. `rank` is one of the two."""

    def fault(run: Run) -> None:
        run.kill(f"rank {run.chance.randrange(2)}" if role == "rank" else role, number)

    return fault


def node_and_keeper(run: Run) -> None:
    """Both at once, so that only the next attempt can clean up."""
    pids = run.pids()
    run.note_phase()
    for role in ("keeper", "node"):
        if role in pids:
            os.kill(pids[role], signal.SIGKILL)
            run.hit = "node and keeper SIGKILL"


def asleep(role: str) -> Fault:
    """A process does not run for a while, as in a suspended machine."""

    def fault(run: Run) -> None:
        run.kill(role, signal.SIGSTOP)
        time.sleep(run.scale * run.chance.uniform(1, 20))
        if run.hit:
            run.kill(role, signal.SIGCONT)
            run.hit = f"{role} asleep"

    return fault


def store_fault(change: Callable[[Any], None], seconds: float) -> Fault:
    """The store misbehaves for a while, for every kind of request."""

    def fault(run: Run) -> None:
        assert run.proxy is not None
        run.note_phase()
        before = len(run.proxy.seen)
        for method in ("GET", "PUT", "POST", "HEAD", "DELETE"):
            run.proxy.add(change, method=method)
        time.sleep(run.scale * seconds)
        with run.proxy.lock:
            run.hit = f"{len(run.proxy.seen) - before} requests" if len(run.proxy.seen) > before else ""
            run.proxy.active.clear()

    return fault


def disk_fails(*, for_ever: bool) -> Fault:
    """The disk of the run directory fails; after a while it is as before, or never."""

    def fault(run: Run) -> None:
        assert run.disk is not None
        run.note_phase()
        run.hit = "disk"
        run.disk.fail()
        if not for_ever:
            time.sleep(run.scale * run.chance.uniform(1, 8))
            run.disk.repair()

    return fault


def clock_set(run: Run) -> None:
    """Somebody sets the clock of the machine, forth or back, and after a while again."""
    assert run.clock is not None
    run.note_phase()
    for _ in range(2):
        off = run.chance.choice((-YEAR_S, -600.0, 600.0, YEAR_S))
        draft = run.clock.with_suffix(".new")
        draft.write_text(str(off))
        draft.replace(run.clock)
        time.sleep(run.scale * run.chance.uniform(0, 3))
    run.hit = "clock"


def file_damaged(run: Run) -> None:
    """One of the run's small files, in the store or on the disk, becomes empty, cut off, or something else.

    Not once the last upload has begun: what is damaged after it stays so until somebody resumes the run.
    """
    store = run.entry.store.open()
    run.note_phase()
    if run.phase in ("uploading", "done"):
        return
    name = run.chance.choice(DAMAGED)
    if name == PLAN and RunFolder.of(run.entry).stored is None:
        name = "state.json"  # the store has the only copy of a plan that runs elsewhere: without it nobody can resume
    if name == SET_MANIFEST:
        sets = sorted(info.key for info in store.list("checkpoints/") if info.key.endswith(SET_MANIFEST))
        name = run.chance.choice(sets) if sets else "state.json"
    damage = run.chance.choice(DAMAGES)
    with contextlib.suppress(StoreError, OSError):
        if run.chance.random() < 0.7 or not (run.folder / name).is_file():
            store.put(name, damage(store.read(name)))
            run.hit = f"{name} in the store"
        else:
            path = run.folder / name
            path.write_bytes(damage(path.read_bytes()))
            run.hit = f"{name} on the disk"


def file_damaged_and_node_gone(run: Run) -> None:
    """The resume has to do with the damaged file."""
    file_damaged(run)
    damaged, run.hit = run.hit, ""
    run.kill("node", signal.SIGKILL)
    run.hit = f"{damaged}; {run.hit}" if run.hit and damaged else ""


def two_resumes(run: Run) -> None:
    """The run is stopped, and two people resume it at the same moment, each with a home of their own."""
    run.kill("node", signal.SIGTERM)
    deadline = time.monotonic() + TOO_LONG_S
    while (view := run.view()) is None or not view.state.terminal:
        if time.monotonic() > deadline:
            return
        time.sleep(POLL_S)
    if view.state is not State.FAILED:
        run.hit = ""
        return
    homes = [run.homes / name for name in ("anna", "bert")]
    people = [
        subprocess.Popen(
            [sys.executable, "-m", "launcher", "resume", run.entry.store.url],
            env={**run.env, "LAUNCHER_HOME": str(home)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for home in homes
    ]
    words = [person.communicate()[1] for person in people]
    winners = [home for home, person in zip(homes, people, strict=True) if person.returncode == 0]
    if len(winners) != 1:
        run.wrong.append(f"double attempt: {len(winners)} of two resumes began: {words}")
    for home in winners[:1]:
        run.index = home / "runs"
        run.entry = Index(run.index).find(run.entry.run_id)
    run.reasons.append(view.reason)
    run.resumes += 1
    run.hit = "two resumes"


def machine_lost(run: Run) -> None:
    """The machine is gone with all that ran on it; the platform finds out in its own time."""
    run.note_phase()
    run.hit = "machine" if run.platform.lose_machine(run.entry) else ""


def nothing(run: Run) -> None:
    """The control: what differs here differs without any fault."""


@dataclass(frozen=True)
class Kind:
    """A class of faults: what it does, when it can come, and what a failure it causes must say (a regular expression)."""

    do: Fault
    moments: tuple[str, ...] = MOMENTS
    reason: str = ""
    silent: bool = False
    """Nothing ends by itself: only the watchdog finds it."""
    needs: str = ""
    """What the run must have for it: a proxy before the store, a disk or a clock of its own, other machines."""


S = signal.Signals
RANK = r"rank \d|scheduler|process"
STORE = r"store|upload|results are on|refused|AccessDenied|answer|SlowDown|connection|staging"
STOPPED = r"SIGTERM|stopped by a signal|ended with 143 \(stopped"
GONE = r"node program (is|was) gone|ended with 137 \(killed"
FULL = r"(?i)no space|disk|Errno 28"
READ_ONLY = r"(?i)read-only|Errno 30"
FAULTS: dict[str, Kind] = {
    "none": Kind(nothing, ("start",), "never"),
    "rank SIGKILL": Kind(signalling("rank", S.SIGKILL), WITH_RANKS, r"rank \d.*SIGKILL"),
    "rank SIGSTOP": Kind(
        signalling("rank", S.SIGSTOP), WITH_RANKS, r"rank \d.*(stopped|SIGSTOP|progress|silent)", silent=True
    ),
    "rank SIGTERM": Kind(signalling("rank", S.SIGTERM), WITH_RANKS, r"rank \d.*(SIGTERM|75|stopped)"),
    "scheduler SIGKILL": Kind(signalling("scheduler", S.SIGKILL), WITH_RANKS, r"scheduler.*SIGKILL"),
    "scheduler SIGSTOP": Kind(signalling("scheduler", S.SIGSTOP), WITH_RANKS, RANK, silent=True),
    "scheduler SIGTERM": Kind(signalling("scheduler", S.SIGTERM), WITH_RANKS, r"scheduler"),
    "node SIGKILL": Kind(signalling("node", S.SIGKILL), MOMENTS, GONE),
    "node SIGTERM": Kind(signalling("node", S.SIGTERM), MOMENTS, STOPPED),
    "node asleep": Kind(asleep("node"), MOMENTS, "never"),
    "keeper SIGKILL": Kind(signalling("keeper", S.SIGKILL), WITH_RANKS, "never"),
    "node and keeper SIGKILL": Kind(node_and_keeper, (*WITH_RANKS, "staging"), GONE),
    "cli SIGKILL": Kind(signalling("cli", S.SIGKILL), MOMENTS, "never"),
    "cli asleep": Kind(asleep("cli"), MOMENTS, "never"),
    "cli SIGINT": Kind(signalling("cli", S.SIGINT), MOMENTS, "never"),
    "store refuses": Kind(store_fault(status(403, "AccessDenied"), 6.0), MOMENTS, STORE, needs="proxy"),
    "store resets": Kind(store_fault(reset, 6.0), MOMENTS, STORE, needs="proxy"),
    "store answers 503": Kind(store_fault(status(503, "SlowDown"), 6.0), MOMENTS, STORE, needs="proxy"),
    "store is slow": Kind(store_fault(delay(2.0), 10.0), MOMENTS, "never", needs="proxy"),
    "disk full for a while": Kind(disk_fails(for_ever=False), MOMENTS, FULL, needs="full disk"),
    "disk full": Kind(disk_fails(for_ever=True), MOMENTS, FULL, needs="full disk"),
    "disk read-only": Kind(disk_fails(for_ever=True), MOMENTS, READ_ONLY, needs="read-only disk"),
    "clock set": Kind(clock_set, MOMENTS, "never", needs="clock"),
    "file damaged": Kind(file_damaged, WITH_RANKS, "never"),
    "file damaged, node SIGKILL": Kind(file_damaged_and_node_gone, WITH_RANKS, GONE),
    "two resumes": Kind(two_resumes, WITH_RANKS, STOPPED),
    "machine lost": Kind(machine_lost, WITH_RANKS, r"node|machine|lost|gone", needs="machines"),
}
