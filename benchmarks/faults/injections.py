"""The faults, their moments, and the run that they disturb."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.errors import StoreError
from launcher.runs.index import RunEntry
from launcher.runs.view import RunView, view_of
from tests.servers.faults import Faults, delay, reset, status

BEFORE = ("start", "staging")
WITH_RANKS = ("starting", "compiling", "training", "saving", "evaluating", "exporting")
AFTER = ("uploading", "commit")
MOMENTS = (*BEFORE, *WITH_RANKS, *AFTER)
THROUGH_PROXY = ("staging", "uploading", "commit")
"""These last for milliseconds with a store on the same disk, so the store is made slow for them."""
TOO_LONG_S = 480.0
POLL_S = 0.03


@dataclass
class Run:
    """One disturbed run, while it is under way. `scale` shortens what lasts for a while."""

    entry: RunEntry
    cli: subprocess.Popen[bytes]
    chance: random.Random
    locks: Path
    scale: float = 1.0
    small_disk: Path | None = None
    proxy: Faults | None = None
    hit: str = ""
    phase: str = ""

    @property
    def folder(self) -> Path:
        return self.entry.run_dir.root

    def view(self) -> RunView | None:
        """The run's view; None while the store does not answer."""
        try:
            return view_of(self.entry)
        except StoreError:
            return None

    def pids(self) -> dict[str, int]:
        """Processes of the run by role, as the machine shows them."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (path / "cmdline").read_bytes().split(b"\0")
                environment = (path / "environ").read_bytes().split(b"\0")
                role = _role(words, environment, self.entry.run_id)
                if role:
                    found.setdefault(role, int(path.name))
        return found

    def kill(self, role: str, number: signal.Signals) -> None:
        """Signal a process of the run, which is waited for until the run has ended."""
        pid: int | None = None
        if role == "cli":
            pid = self.cli.pid if self.cli.poll() is None else None
        else:
            while not (pid := self.pids().get(role)):
                view = self.view()
                if view is not None and view.state.terminal:
                    break
                time.sleep(POLL_S)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                self.note_phase()
                os.kill(pid, number)
                self.hit = f"{role} {number.name}"

    def note_phase(self) -> None:
        """Remember the phase that is about to be disturbed."""
        view = self.view()
        self.phase = (view.phase if view else "") or "queued"


def _role(words: list[bytes], environment: list[bytes], run_id: str) -> str:
    if b"launcher.node" in words and any(run_id.encode() in word for word in words):
        return "node"
    if any(word.endswith(b"orphans.py") for word in words) and any(run_id.encode() in word for word in words):
        return "keeper"
    if f"LAUNCHER_RUN_ID={run_id}".encode() not in environment:
        return ""
    if b"MS_ROLE=MS_SCHED" in environment:
        return "scheduler"
    rank = next((each[8:].decode() for each in environment if each.startswith(b"RANK_ID=")), "")
    return f"rank {rank}" if rank else ""


def wait_for(run: Run, moment: str, spread_s: float) -> None:
    """Block until the moment, and a random time longer; at most until the run has ended."""
    deadline = time.monotonic() + TOO_LONG_S
    while time.monotonic() < deadline and not _is_now(run, moment):
        view = run.view()
        if view is not None and view.state.terminal:
            return
        time.sleep(POLL_S)
    time.sleep(run.chance.uniform(0, spread_s))


def _is_now(run: Run, moment: str) -> bool:
    if moment == "start":
        return True
    if moment == "saving":
        return any((run.folder / "checkpoints").glob("*step-*"))
    if moment == "evaluating":
        return (run.folder / "eval" / "last.json").exists()
    if moment == "commit" and run.proxy is not None:
        return run.proxy.count("PUT", "/MANIFEST.json") > 0
    if moment in WITH_RANKS:
        return _has_reported(run, moment)
    view = run.view()
    return view is not None and view.phase == ("uploading" if moment == "commit" else moment)


def _has_reported(run: Run, phase: str) -> bool:
    """Whether rank 0 has reported that this phase began; the heartbeat shows it up to a second later."""
    try:
        return f'"phase": "{phase}"' in (run.folder / "progress" / "rank-0.jsonl").read_text()
    except OSError:
        return False


# ---- the faults

Fault = Callable[[Run], None]


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


def node_asleep(run: Run) -> None:
    """The node program does not run for a while, as in a suspended virtual machine."""
    run.kill("node", signal.SIGSTOP)
    time.sleep(run.scale * run.chance.uniform(1, 20))
    if run.hit:
        run.kill("node", signal.SIGCONT)
        run.hit = "node asleep"


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


def disk_full(*, for_ever: bool) -> Fault:
    """The disk of the run directory fills up; something else frees it again after a while, or never does."""

    def fault(run: Run) -> None:
        assert run.small_disk is not None
        ballast = run.small_disk / "ballast"
        run.note_phase()
        run.hit = "disk"
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(b"\0" * (1 << 16))
                file.flush()
        if not for_ever:
            time.sleep(run.scale * run.chance.uniform(1, 8))
            ballast.unlink()

    return fault


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


S = signal.Signals
RANK = r"rank \d|scheduler|process"
STORE = r"store|upload|results are on|refused|AccessDenied|answer|SlowDown|connection|staging"
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
    "node SIGKILL": Kind(signalling("node", S.SIGKILL), MOMENTS, r"node program (is|was) gone"),
    "node SIGTERM": Kind(signalling("node", S.SIGTERM), MOMENTS, r"SIGTERM|stopped by a signal"),
    "node asleep": Kind(node_asleep, MOMENTS, "never"),
    "keeper SIGKILL": Kind(signalling("keeper", S.SIGKILL), WITH_RANKS, "never"),
    "node and keeper SIGKILL": Kind(node_and_keeper, (*WITH_RANKS, "staging"), r"node program (is|was) gone"),
    "cli SIGKILL": Kind(signalling("cli", S.SIGKILL), MOMENTS, "never"),
    "cli SIGINT": Kind(signalling("cli", S.SIGINT), MOMENTS, "never"),
    "store refuses": Kind(store_fault(status(403, "AccessDenied"), 6.0), MOMENTS, STORE),
    "store resets": Kind(store_fault(reset, 6.0), MOMENTS, STORE),
    "store answers 503": Kind(store_fault(status(503, "SlowDown"), 6.0), MOMENTS, STORE),
    "store is slow": Kind(store_fault(delay(2.0), 10.0), MOMENTS, "never"),
    "disk full for a while": Kind(disk_full(for_ever=False), MOMENTS, r"(?i)no space|disk|Errno 28"),
    "disk full": Kind(disk_full(for_ever=True), MOMENTS, r"(?i)no space|disk|Errno 28"),
}
