"""A run that is disturbed, while it is under way: its processes, and the moments of its life."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults.disks import Disk
from benchmarks.faults.platforms import Platform
from launcher.errors import StoreError
from launcher.runs.index import RunEntry
from launcher.runs.view import RunView, view_of
from tests.servers.faults import Faults

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
    """`scale` shortens what lasts for a while. `clock` holds the seconds by which the run's clock is wrong.

    `env` is that of whoever submitted it, `homes` a place for homes of others. `reasons` are those of all failures on
    the way; `wrong` is what a fault itself found.
    """

    entry: RunEntry
    cli: subprocess.Popen[bytes]
    chance: random.Random
    platform: Platform
    homes: Path
    env: dict[str, str]
    scale: float = 1.0
    disk: Disk | None = None
    clock: Path | None = None
    proxy: Faults | None = None
    hit: str = ""
    phase: str = ""
    resumes: int = 0
    reasons: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    index: Path | None = None

    @property
    def folder(self) -> Path:
        """The run's directory on its machine, as it is seen from here."""
        return self.platform.run_folder(self.entry)

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
