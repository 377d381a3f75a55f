"""When a training did what, read from outside in the same way whoever started it: the events of its ranks, and /proc."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.launch_ways import Start
from benchmarks.models import CannotRun
from launcher.ranks.orphans import marked

POLL_S = 0.05
LOOK_S = 2.0
"""Between two looks at all processes of the machine, which cost more than a look at a file."""
TOO_LONG_S = 600.0
TICKS = os.sysconf("SC_CLK_TCK")
PHASES = {
    "submit": "the command, until the node program exists",
    "start": "until the process of rank 0 exists",
    "python": "until that rank has read its recipe",
    "import": "until MindSpore is imported, the ranks have met, and the images are listed",
    "net": "until the net is made, with its compiled operators",
    "compile": "until the first step is done, with its graph",
}


@dataclass(frozen=True)
class Moments:
    """Seconds from the start to the first step of all ranks, by phase of rank 0, and seconds of cores until then."""

    phases: dict[str, float]
    cpu: float

    @property
    def total(self) -> float:
        return sum(self.phases.values())


def first_step(run: Start, since: float | None = None) -> Moments:
    """Block until each rank has ended a step after `since`, by default the start. Raises CannotRun."""
    begun = run.begun if since is None else since
    events = _wait(run, begun, "step")
    pids = marked(run.place.mark)
    cpu = run.cpu_before + sum(_cpu_seconds(pid) for pid in pids)
    first = events[0]
    handed = min((_began(pid) for pid in pids if _is(pid, "launcher.node")), default=begun)
    ends = {
        "submit": max(begun, handed),
        "start": min(_began(pid) for pid in pids if _is_rank(pid, 0)),
        "python": _at(first, begun, phase="starting"),
        "import": _at(first, begun, event="data"),
        "net": _at(first, begun, phase="compiling"),
        "compile": max(_at(each, begun, event="step") for each in events),
    }
    phases, before = {}, begun
    for name, end in ends.items():
        phases[name], before = end - before, end
    return Moments(phases, cpu)


def restart(run: Start) -> Moments:
    """Kill the last rank once there is a checkpoint, and block until each rank has ended another step. Raises CannotRun."""
    _wait(run, run.begun, "checkpoint", ranks=1)
    victim = next(pid for pid in marked(run.place.mark) if _is_rank(pid, run.place.ranks - 1))
    killed = time.time()
    os.kill(victim, signal.SIGKILL)
    return first_step(run, killed)


def _wait(run: Start, since: float, event: str, ranks: int = 0) -> list[list[dict[str, Any]]]:
    """The events of each rank once all of them, or the first `ranks`, have had one of this name after `since`."""
    count, begun = ranks or run.place.ranks, time.monotonic()
    deadline, look = begun + TOO_LONG_S, begun + LOOK_S
    while True:
        events = [_events(run.progress / f"rank-{rank}.jsonl") for rank in range(count)]
        if all(any(e["event"] == event and e["t"] > since for e in each) for each in events):
            return events
        if failure := run.failure():
            raise failure
        now = time.monotonic()
        if now > deadline or (now > look and not marked(run.place.mark)):
            raise CannotRun(run.way, f"no {event} of {count} rank(s)")
        look = now + LOOK_S if now > look else look
        time.sleep(POLL_S)


def _events(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except OSError:
        return []


def _at(events: list[dict[str, Any]], since: float, **fields: str) -> float:
    return next(
        float(e["t"])
        for e in events
        if e["t"] > since and all(e.get(key) == value for key, value in fields.items())
    )


def _words(pid: int, name: str) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace").split("\0")
    return []


def _is(pid: int, module: str) -> bool:
    """Whether a process is Python with `-m MODULE`."""
    words = _words(pid, "cmdline")
    return "python" in words[0] and module in words[1:4] if words else False


def _is_rank(pid: int, rank: int) -> bool:
    if not _is(pid, "vitmodels.train"):
        return False
    env = dict(word.split("=", 1) for word in _words(pid, "environ") if "=" in word)
    return env.get("MS_ROLE") != "MS_SCHED" and env.get("RANK_ID", "0") == str(rank)


def _stat(pid: int) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return ["0"] * 50


def _cpu_seconds(pid: int) -> float:
    """Of a process and of its children that have ended."""
    return sum(int(field) for field in _stat(pid)[11:15]) / TICKS


def _began(pid: int) -> float:
    """When a process was made, in seconds since 1970."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + int(_stat(pid)[19]) / TICKS
