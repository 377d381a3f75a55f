"""Watches a gang that has not failed: hangs, ranks that stopped or left early, and training that does not learn."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import filterfalse
from pathlib import Path
from typing import Any

from launcher.jobfile.spec_failures import WatchSpec
from launcher.ranks.gang import EndOrder, Gang, Process
from launcher.ranks.learning import LearningGuard
from launcher.ranks.lineprogress import PLAIN, SOURCE
from launcher.runfolder.progress import ProgressReader
from launcher.units import show_duration

log = logging.getLogger("launcher.node")

CHATTER_TIMES = 4
"""With log lines but no progress a rank gets this many times longer than in silence."""
ASLEEP_S = 15.0
"""After a pause of the node program itself (stopped, or the machine was suspended) no silence counts."""
_UNFINISHED = ("compiling", "training")


@dataclass
class _RankState:
    """What the watchdog knows of one rank; times are on the monotonic clock."""

    reader: ProgressReader
    progressed: float
    reported: bool = False
    stopped_since: float = 0.0


@dataclass
class Watchdog:
    """Made before the start of a gang, checked about once a second. `classes` is that of the recipe, 0 when unknown."""

    gang: Gang
    files: Mapping[int, Path]
    limits: WatchSpec
    classes: int = 0
    proc: Path = Path("/proc")
    _ranks: dict[int, _RankState] = field(default_factory=dict)
    _warned: bool = False

    def __post_init__(self) -> None:
        self._begun = self._checked = time.monotonic()
        for rank, path in self.files.items():
            reader = ProgressReader(path)
            reader.skip()
            self._ranks[rank] = _RankState(reader, self._begun)
        self._guard = LearningGuard(self.classes, self.limits.guard_epochs)

    def check(self) -> EndOrder | None:
        """The order to end the gang, or None."""
        now = time.monotonic()
        self._restart_clocks_after_sleep(now)
        self._read(now)
        return self._left_early() or self._not_learning() or self._hang(now)

    def judge_end(self) -> EndOrder | None:
        """After a gang that has ended well: why its training has not succeeded all the same, or None."""
        self._read(time.monotonic())
        if self.limits.guard != "off":
            self._guard.end()
        return self._not_learning()

    def finished(self) -> bool:
        """Whether every rank has reported that it is done."""
        self._read(time.monotonic())
        return all(rank.reader.phase == "done" for rank in self._ranks.values())

    def _restart_clocks_after_sleep(self, now: float) -> None:
        gap = now - self._checked
        self._checked = now
        if gap > ASLEEP_S:
            self._begun = now
            for rank in self._ranks.values():
                rank.stopped_since = now if rank.stopped_since else 0.0

    def _read(self, now: float) -> None:
        pids = self.gang.pids()
        for rank, state in self._ranks.items():
            events = state.reader.update()
            if events:
                state.progressed, state.reported = now, not (_at_an_end(events[-1]) or _is_guess(events[-1]))
            if rank == min(self._ranks) and self.limits.guard != "off":
                for event in filterfalse(_is_guess, events):
                    self._guard.feed(event)
            stopped = _state(self.proc, pids.get(f"rank {rank}")) == "T"
            state.stopped_since = (state.stopped_since or now) if stopped else 0.0

    def _left_early(self) -> EndOrder | None:
        """A rank that ended with exit code 0 in the middle of training: the others would wait for it for ever."""
        for exit_ in self.gang.exits:
            state = self._ranks.get(exit_.process.rank) if exit_.process.rank is not None else None
            if state is None or exit_.code != 0 or not self.gang.alive:
                continue
            state.reader.update()
            if state.reader.phase in _UNFINISHED:
                reason = f"{exit_.process.name} ended with exit code 0 in the middle of {state.reader.phase}{_step(state)}, while others went on"
                return EndOrder("left-early", reason, how="kill", rank=exit_.process.rank)
        return None

    def _not_learning(self) -> EndOrder | None:
        if not self._guard.problem:
            return None
        if self.limits.guard == "stop":
            how = "kill" if self._guard.poisoned else "stop"
            rule = "not-finite" if self._guard.poisoned else "stuck"
            return EndOrder("not-learning", self._guard.problem, how, rule)
        if not self._warned:
            self._warned = True
            log.warning("%s (watch.guard is warn, so it goes on)", self._guard.problem)
        return None

    @property
    def warning(self) -> str:
        """The problem that the guard found, when `watch.guard` is warn; empty: none."""
        return self._guard.problem if self._warned else ""

    def _hang(self, now: float) -> EndOrder | None:
        limit = self.limits.hang_after
        if not limit:
            return None
        for rank, state in self._ranks.items():
            if state.stopped_since and now - state.stopped_since > limit:
                words = f"rank {rank} has been stopped (SIGSTOP) for {show_duration(now - state.stopped_since)}{_step(state)}"
                return EndOrder("hang", f"{words}; {_DUMPED}", how="dump", rank=rank)
        progressed = max([self._begun, *(state.progressed for state in self._ranks.values())])
        logged = max([self._begun, *(self.gang.pump.last_output_at(p.name) for p in self.gang.processes)])
        silent, stalled = now - max(progressed, logged), now - progressed
        if silent > limit:
            return EndOrder(
                "hang",
                f"no progress and no log line for {show_duration(silent)}{self._behind()}; {_DUMPED}",
                "dump",
            )
        if stalled > CHATTER_TIMES * limit and any(state.reported for state in self._ranks.values()):
            return EndOrder(
                "hang",
                f"log lines, but no progress for {show_duration(stalled)}{self._behind()}; {_DUMPED}",
                "dump",
            )
        return None

    def _stopped(self) -> list[str]:
        """Processes stopped by SIGSTOP, which the others wait for; MindSpore's scheduler may be one of them."""
        names = [name for name, pid in self.gang.pids().items() if _state(self.proc, pid) == "T"]
        return [f"{name} has been stopped (SIGSTOP)" for name in names]

    def _behind(self) -> str:
        """The ranks with the fewest steps, which the others wait for; for people."""
        alive = {p.rank for p in self.gang.alive if p.rank is not None}
        ended = [f"rank {p.rank} has ended" for p in _ended(self.gang) if p.rank is not None]
        steps = {
            rank: state.reader.progress.step or 0 for rank, state in self._ranks.items() if rank in alive
        }
        low, high = min(steps.values(), default=0), max(steps.values(), default=0)
        late = [f"rank {rank} stands at step {step}" for rank, step in steps.items() if step == low]
        words = [*self._stopped(), *ended, *(late[:3] if low < high else [])]
        others = [f"others at step {high}"] if high else []
        return f" ({', '.join([*words, *others])})" if words else ""


_DUMPED = "taken as a hang; the stacks of all ranks are in their logs"


def _is_guess(event: Mapping[str, Any]) -> bool:
    """Whether an event was read from a line of no known form: no run is ended for what it says, or ceases to say."""
    return event.get("from") == PLAIN


def _at_an_end(event: Mapping[str, Any]) -> bool:
    """Whether lines have counted to their end: what they counted may be only a part of what the program does."""
    step, steps = event.get("step"), event.get("steps")
    return event.get("from") == SOURCE and step is not None and steps is not None and step >= steps


def _ended(gang: Gang) -> list[Process]:
    return [exit_.process for exit_ in gang.exits]


def _step(seen: _RankState) -> str:
    at = seen.reader.progress
    return f" (step {at.step} of {at.steps})" if at.step is not None and at.steps is not None else ""


def _state(proc: Path, pid: int | None) -> str:
    """The kernel's letter for a process: T is stopped by a signal, t by a debugger."""
    if pid is None:
        return ""
    try:
        return (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
