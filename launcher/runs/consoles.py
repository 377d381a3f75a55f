"""The output of a run's containers, as their platform keeps it: with the start-up, and errors from before the run began."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from launcher.backends import get_backend
from launcher.backends.base import Platform
from launcher.diagnosis.lines import stamp_of
from launcher.errors import BackendError, NoSuchRun
from launcher.runs.adopt import adopted
from launcher.runs.index import RunEntry
from launcher.runs.loglines import LogLine

MANY_NODES = 8
PAUSE_S = 2.0
"""Pause between two requests: platforms limit their rate."""


@dataclass
class ConsoleReader:
    """Each call returns the lines that are new since the last one. `node` None: of all nodes, at most of the first eight."""

    entry: RunEntry
    node: int | None = None
    _after: dict[int, str] = field(default_factory=dict)
    _time: dict[int, float] = field(default_factory=dict)
    _asked_at: float = 0.0

    def read(self) -> list[LogLine]:
        """Raises NoSuchRun for a run without such output, BackendError."""
        self.entry, why = adopted(self.entry)
        handle = self.entry.handle
        backend = get_backend(self.entry.backend)
        if handle is None or not isinstance(backend, Platform):
            raise NoSuchRun(
                f"no platform keeps the output of {self.entry.run_id}" + (f": {why}" if why else ""),
                hint="leave out --console: the logs of the run itself are in its folder",
            )
        nodes = int(handle.data.get("nodes", 1))
        if self.node is not None and self.node >= nodes:
            raise NoSuchRun(f"{self.entry.run_id} has nodes 0 to {nodes - 1}")
        numbers = range(min(nodes, MANY_NODES)) if self.node is None else (self.node,)
        time.sleep(max(0.0, self._asked_at + PAUSE_S - time.monotonic()))
        self._asked_at = time.monotonic()
        lines: list[LogLine] = []
        for node in numbers:
            lines += self._of_node(backend, node)
        return lines

    def _of_node(self, backend: Platform, node: int) -> list[LogLine]:
        handle = self.entry.handle
        if handle is None:
            raise BackendError("the run was never submitted from here")
        page = backend.console(handle, node, self._after.get(node, ""))
        self._after[node] = page.after
        attempt = int(handle.data.get("attempt", 1))
        lines = []
        for text in page.lines:
            self._time[node] = stamp_of(text) or self._time.get(node, 0.0)
            lines.append(LogLine(self._time[node], attempt, node, "console", text))
        return lines
