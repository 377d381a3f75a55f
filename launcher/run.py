"""One gang of processes: start them, watch them, stop them, and never leave one behind.

Each process is the leader of its own session, dies with the node program (parent-death signal), and writes to a log
file of its own. The first process that fails decides the outcome; what fails after it is a consequence.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

POLL_S = 0.05
FAILED_GANG_GRACE_S = 1.5
"""After a failure the others wait for a peer that is gone; they can't save, so they get little time."""
SCHEDULER_GRACE_S = 15.0

TEMPORARY_FAILURE = 75
"""Exit code of a rank that saved a checkpoint on SIGTERM and wants to be resumed (EX_TEMPFAIL)."""


@dataclass(frozen=True)
class Process:
    """What to start. `rank` is None for MindSpore's scheduler."""

    name: str
    rank: int | None
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    log: Path
    cores: tuple[int, ...] = ()
    fds: tuple[int, ...] = ()
    """Descriptors it inherits: the device locks, so that a device stays taken as long as a rank lives."""


@dataclass(frozen=True)
class Exit:
    """How a process ended: `code` as in subprocess, negative for a signal."""

    process: Process
    code: int
    at: float


@dataclass(frozen=True)
class Outcome:
    """How a gang ended. `failure` is the first failing process, or None."""

    exits: tuple[Exit, ...]
    failure: Exit | None = None
    hang_s: float | None = None
    stopped: str = ""
    """The reason given by whoever asked for the stop."""

    @property
    def ok(self) -> bool:
        return self.failure is None and self.hang_s is None and not self.stopped


@dataclass
class _Member:
    process: Process
    popen: subprocess.Popen[bytes]
    exit: Exit | None = None


@dataclass
class Gang:
    """Processes that live and die together. Start and poll it from one thread: the thread whose end ends the ranks."""

    processes: Sequence[Process]
    _members: list[_Member] = field(default_factory=list)

    def start(self) -> None:
        try:
            for process in self.processes:
                self._members.append(_Member(process, _spawn(process)))
        except BaseException:
            self.kill()
            raise

    def poll(self) -> list[Exit]:
        """New exits, in the order in which they were seen. What a dead process left in its group is killed."""
        new = []
        for member in self._members:
            if member.exit is None and _has_ended(member.popen.pid):
                _signal_group(member.popen.pid, signal.SIGKILL)
                member.exit = Exit(member.process, member.popen.wait(), time.time())
                new.append(member.exit)
        return new

    @property
    def alive(self) -> list[Process]:
        return [m.process for m in self._members if m.exit is None]

    @property
    def exits(self) -> tuple[Exit, ...]:
        return tuple(sorted((m.exit for m in self._members if m.exit), key=lambda e: e.at))

    def pids(self) -> dict[str, int]:
        return {m.process.name: m.popen.pid for m in self._members if m.exit is None}

    def signal(self, number: signal.Signals) -> None:
        for member in self._members:
            if member.exit is None:
                _signal_group(member.popen.pid, number)

    def stop(self, grace_s: float) -> None:
        """SIGTERM (with SIGCONT, for a stopped rank), then SIGKILL for who is left after `grace_s`. Blocks until all are gone."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        self.wait(grace_s)
        self.kill()

    def wait(self, timeout_s: float) -> bool:
        """True when all ended in time."""
        deadline = time.monotonic() + timeout_s
        self.poll()
        while self.alive and time.monotonic() < deadline:
            time.sleep(POLL_S)
            self.poll()
        return not self.alive

    def kill(self) -> None:
        while self.alive:
            self.signal(signal.SIGKILL)
            self.wait(1.0)


def supervise(
    gang: Gang,
    *,
    grace_s: float,
    hang_after_s: float,
    stop_requested: Callable[[], str],
    on_tick: Callable[[], None],
    activity: Callable[[], float],
) -> Outcome:
    """Run a started gang to its end.

    `stop_requested` returns a reason, or an empty text; `activity` the time of the last sign of life (unix seconds);
    `on_tick` is called about once per second. Returns when no process of the gang is left.
    """
    next_tick = 0.0
    while True:
        failure = next((e for e in gang.poll() if e.code != 0), None)
        if failure:
            gang.stop(FAILED_GANG_GRACE_S)
            return Outcome(gang.exits, failure=failure)
        if not [p for p in gang.alive if p.rank is not None]:
            if not gang.wait(SCHEDULER_GRACE_S):
                gang.kill()
            return Outcome(gang.exits)
        if reason := stop_requested():
            gang.stop(grace_s)
            return _stopped(gang, reason)
        if time.monotonic() >= next_tick:
            on_tick()
            next_tick = time.monotonic() + 1.0
            silent_s = time.time() - activity()
            if hang_after_s and silent_s > hang_after_s:
                return _hang(gang, silent_s)
        time.sleep(POLL_S)


def _stopped(gang: Gang, reason: str) -> Outcome:
    ranks = [e for e in gang.exits if e.process.rank is not None]
    if all(e.code == 0 for e in ranks):  # they finished at the very moment of the request
        return Outcome(gang.exits)
    return Outcome(gang.exits, stopped=reason)


def _hang(gang: Gang, silent_s: float) -> Outcome:
    """Dump the stacks of every rank into its log (faulthandler prints them on SIGABRT), then stop."""
    gang.signal(signal.SIGCONT)
    gang.signal(signal.SIGABRT)
    gang.wait(5.0)
    gang.kill()
    return Outcome(gang.exits, hang_s=silent_s)


def share_cores(cores: Sequence[int], ranks: int) -> list[tuple[int, ...]]:
    """Equal, disjoint slices of `cores`, in order; no pinning (empty tuples) with one rank or fewer cores than ranks.

    >>> share_cores([0, 1, 2, 3], 2)
    [(0, 1), (2, 3)]
    """
    each = len(cores) // ranks
    if ranks == 1 or each == 0:
        return [()] * ranks
    return [tuple(cores[i * each : (i + 1) * each]) for i in range(ranks)]


def usable_cores() -> list[int]:
    """Cores this process may use, which a container or a scheduler may have limited."""
    return sorted(os.sched_getaffinity(0))


def _spawn(process: Process) -> subprocess.Popen[bytes]:
    process.log.parent.mkdir(parents=True, exist_ok=True)
    process.cwd.mkdir(parents=True, exist_ok=True)
    cores = ",".join(map(str, process.cores)) or "-"
    wrapper = [sys.executable, "-I", "-S", str(Path(__file__).with_name("_exec.py")), str(os.getpid()), cores]
    with process.log.open("ab", buffering=0) as log:
        return subprocess.Popen(
            [*wrapper, *process.argv],
            env=dict(process.env),
            cwd=process.cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=process.fds,
        )


def _has_ended(pid: int) -> bool:
    """True for a zombie of ours; it is left unreaped, so that its process group can't be somebody else's yet."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal_group(leader: int, number: signal.Signals) -> None:
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        return
    except PermissionError:  # macOS and hardened kernels say so of a group that has only zombies
        return
