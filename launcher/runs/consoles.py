"""The output of a run's containers, as their platform keeps it: with the start-up, and errors from before the run began."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from launcher.backends import get_backend
from launcher.backends.base import Handle, Platform
from launcher.diagnosis.stamps import stamp_of
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
    _from_files: set[int] = field(default_factory=set)
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
        try:
            page = backend.console(handle, node, self._after.get(node, ""))
        except BackendError:
            kept = self._kept(backend, handle, node)
            if node in self._from_files:
                return kept
            raise
        self._after[node] = page.after
        if not page.lines and page.cleared:
            return self._kept(backend, handle, node)
        return self._lines(handle, node, page.lines)

    def _kept(self, backend: Platform, handle: Handle, node: int) -> list[LogLine]:
        """The output as the platform left it in the run's folder, once; nothing after lines of the platform itself."""
        if node in self._time or node in self._from_files:
            return []
        pattern = backend.kept_console(handle, node)
        store = self.entry.store.open()
        files = [info for info in store.list(pattern.partition("*")[0]) if fnmatchcase(info.key, pattern)]
        lines: list[LogLine] = []
        with tempfile.TemporaryDirectory(prefix="launcher-console-") as folder:
            for info in sorted(files, key=lambda info: (info.mtime or 0.0, info.key)):
                path = Path(folder) / "log"
                store.get_file(info.key, path)
                with path.open(errors="replace", newline="\n") as file:
                    lines += self._lines(handle, node, [line.rstrip("\n") for line in file])
        if files:
            self._from_files.add(node)
        return lines

    def _lines(self, handle: Handle, node: int, texts: Sequence[str]) -> list[LogLine]:
        attempt = int(handle.data.get("attempt", 1))
        lines = []
        for text in texts:
            self._time[node] = stamp_of(text) or self._time.get(node, 0.0)
            lines.append(LogLine(self._time[node], attempt, node, "console", text))
        return lines
