"""One gang of processes: starts, watches and stops them, and leaves none behind.

Each process is the leader of its own session, dies with the node program (parent-death signal), and writes to a log
of its own through a pipe. What it started itself dies with it (see `orphans`). The first process that fails decides the
outcome; what fails after it is a consequence.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from launcher.diagnosis.verdict import OtherLog
from launcher.ranks.logpump import LogPump
from launcher.ranks.orphans import MARK, Keeper, sweep
from launcher.ranks.progressfile import LineProgressFile

POLL_S = 0.05
FAILED_GANG_GRACE_S = 1.5
"""After a failure the others wait for a peer that is gone; they can't save, so they get little time."""
SCHEDULER_GRACE_S = 15.0
DUMP_S = 5.0
KILL_PATIENCE_S = 60.0
"""A process in an uninterruptible call (a dead disk, a driver) does not react to SIGKILL; after this time it is left."""
TEMPORARY_FAILURE = 75
"""Exit code of a rank that saved a checkpoint on SIGTERM and can be resumed (EX_TEMPFAIL)."""
DEFAULT_LOG_LIMIT = 1 << 30


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
    """Descriptors it inherits: the device locks, so that a device stays locked as long as a rank lives."""


@dataclass(frozen=True)
class Exit:
    """How a process ended: `code` as in subprocess, negative for a signal. `asked`: it had been asked to stop before."""

    process: Process
    code: int
    at: float
    asked: bool = False


@dataclass(frozen=True)
class EndOrder:
    """The order to end a gang that has not failed by itself.

    `how`: `stop` gives the ranks time to save, `abandon` little time, since they can't save, `dump` writes their
    stacks to their logs first, `kill` ends them at once, since their state must not be saved. `rule` is the kind of failure
    when that says more than `kind`; `rank` is the rank that caused the order, if a single one did.
    """

    kind: str
    reason: str
    how: str = "stop"
    rule: str = ""
    rank: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a gang ended. `failure` is the first failing process, or None. `logs` are what each process wrote, shortened."""

    exits: tuple[Exit, ...]
    failure: Exit | None = None
    end_order: EndOrder | None = None
    stopped: str = ""
    """The reason that came with the request to stop."""
    logs: Mapping[str, str] = field(default_factory=dict)
    times: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    """When the parts of `logs` were written: (offset, unix seconds), in order."""
    undying: tuple[str, ...] = ()
    """Processes that did not end after SIGKILL."""
    plogs: Mapping[str, tuple[OtherLog, ...]] = field(default_factory=dict)
    """What CANN logged of each process, where that was collected."""

    @property
    def ok(self) -> bool:
        return self.failure is None and self.end_order is None and not self.stopped


@dataclass
class _Member:
    process: Process
    popen: subprocess.Popen[bytes]
    exit: Exit | None = None
    asked: bool = False


@dataclass
class Gang:
    """Processes that start and end together. Start and poll it from one thread: the thread whose end ends the ranks.

    `mark` is unique on the machine; every process of the gang and all that they start carry it.
    """

    processes: Sequence[Process]
    mark: str = field(default_factory=lambda: f"gang:{os.getpid()}:{time.monotonic_ns()}")
    log_limit_bytes: int = DEFAULT_LOG_LIMIT
    progress: Mapping[str, LineProgressFile] = field(default_factory=dict)
    """Of the processes, by name, whose lines are read for progress."""
    _members: list[_Member] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pump = LogPump(self.log_limit_bytes)
        self.keeper = Keeper(self.mark)

    def start(self) -> None:
        try:
            self.keeper.ensure()
            for process in self.processes:
                writing = self.pump.open(process.name, process.log, self.progress.get(process.name))
                try:
                    self._members.append(_Member(process, _spawn(process, self.mark, writing)))
                finally:
                    os.close(writing)
        except BaseException:
            self.kill()
            self.close()
            raise

    def close(self) -> None:
        """After the last process has ended: kill everything that they started. Blocks until it is gone."""
        sweep(self.mark)
        self.keeper.dismiss()
        self.pump.close()

    def poll(self) -> list[Exit]:
        """Exits since the last call. What a dead process has left in its process group is killed."""
        new = []
        for member in self._members:
            if member.exit is None and _has_ended(member.popen.pid):
                _signal_group(member.popen.pid, signal.SIGKILL)
                code = member.popen.wait()
                member.exit = Exit(member.process, code, time.time(), member.asked)
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
                member.asked = member.asked or number != signal.SIGCONT
                _signal_group(member.popen.pid, number)

    def stop(self, grace_s: float) -> None:
        """SIGTERM (with SIGCONT, for a stopped rank), then SIGKILL after `grace_s`. Blocks until all have ended."""
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
        deadline = time.monotonic() + KILL_PATIENCE_S
        while self.alive and time.monotonic() < deadline:
            self.signal(signal.SIGKILL)
            self.wait(1.0)


def supervise(
    gang: Gang,
    *,
    grace_s: float,
    stop_requested: Callable[[], str],
    check: Callable[[], EndOrder | None],
    finished: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Run a started gang to its end.

    `stop_requested` returns a reason, or an empty text. `check` is called about once a second and may return an order
    to end the gang. `finished` is called at a request to stop: whether all ranks have already reported that they are
    done. Returns when all processes of the gang, and all that they started, have ended.
    """
    try:
        outcome = _watch(gang, grace_s, stop_requested, check, finished)
    except BaseException:
        gang.kill()
        raise
    finally:
        gang.close()
    logs = {name: excerpt.text for name, excerpt in gang.pump.excerpts.items()}
    return Outcome(
        gang.exits,
        outcome.failure,
        outcome.end_order,
        outcome.stopped,
        logs,
        {name: excerpt.times for name, excerpt in gang.pump.excerpts.items()},
        tuple(process.name for process in gang.alive),
    )


def _watch(
    gang: Gang,
    grace_s: float,
    stop_requested: Callable[[], str],
    check: Callable[[], EndOrder | None],
    finished: Callable[[], bool],
) -> Outcome:
    next_check = time.monotonic()
    while True:
        failure = next((e for e in gang.poll() if e.code != 0), None)
        if failure:  # if it saved a checkpoint without being asked, the others are saving, too
            gang.stop(grace_s if failure.code == TEMPORARY_FAILURE else FAILED_GANG_GRACE_S)
            return Outcome(gang.exits, failure=failure)
        if not [p for p in gang.alive if p.rank is not None]:
            if not gang.wait(SCHEDULER_GRACE_S):
                gang.kill()
            return Outcome(gang.exits)
        if reason := stop_requested():
            done = finished()  # before SIGTERM: a program may end with 0 on it without being done
            gang.stop(grace_s)
            return _stopped(gang, "" if done else reason)
        if time.monotonic() >= next_check:
            next_check = time.monotonic() + 1.0
            gang.keeper.ensure()
            if end_order := check():
                _end_by(end_order, gang, grace_s)
                return Outcome(gang.exits, end_order=end_order)
        time.sleep(POLL_S)


def _stopped(gang: Gang, reason: str) -> Outcome:
    """An empty `reason`: the ranks had reported that they are done before the request."""
    failure = next((e for e in gang.exits if e.process.rank is not None and e.code != 0), None)
    return Outcome(gang.exits, stopped=reason, failure=None if reason else failure)


def _end_by(end_order: EndOrder, gang: Gang, grace_s: float) -> None:
    if end_order.how == "dump":  # faulthandler prints the stacks of all threads on SIGABRT
        gang.signal(signal.SIGABRT)
        gang.signal(signal.SIGCONT)
        gang.wait(DUMP_S)
    elif end_order.how in ("stop", "abandon"):
        gang.stop(grace_s if end_order.how == "stop" else FAILED_GANG_GRACE_S)
    gang.kill()


def _spawn(process: Process, mark: str, log: int) -> subprocess.Popen[bytes]:
    process.cwd.mkdir(parents=True, exist_ok=True)
    cores = ",".join(map(str, process.cores)) or "-"
    wrapper = [sys.executable, "-I", "-S", str(Path(__file__).with_name("_exec.py")), str(os.getpid()), cores]
    return subprocess.Popen(
        [*wrapper, *process.argv],
        env={**process.env, MARK: mark},
        cwd=process.cwd,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=process.fds,
    )


def _has_ended(pid: int) -> bool:
    """True for a zombie of ours. It is not reaped here, so that its process group id can't be reused yet."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal_group(leader: int, number: signal.Signals) -> None:
    # macOS and hardened kernels answer PermissionError for a group that has only zombies
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)
