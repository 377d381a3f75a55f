"""The heartbeat of a node program: `status/node-<k>.json` in the run directory, written once a second."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher.disk import write_private
from launcher.errors import StoreError
from launcher.runfolder.progress import ProgressReader
from launcher.runfolder.states import NodeStatus, RankStatus
from launcher.threads import join, start

log = logging.getLogger("launcher.node")

BEAT_S = 1.0
SILENT_BEAT_S = 10.0
"""An unchanged status is still rewritten this often, so that its age tells whether the node program lives."""


class Heartbeat:
    """Holds the status of one node and a thread that writes it. Every method may be called from any thread."""

    def __init__(self, path: Path, node: int, attempt: int) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._readers: dict[int, ProgressReader] = {}
        self._pids: dict[str, int] = {}
        self._node_phase = ("starting", time.time())
        self._values: dict[str, Any] = {
            "node": node,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "attempt": attempt,
        }
        self._written: tuple[str, float] = ("", 0.0)
        self._failing = False
        self.unwritten = b""
        """The status that the disk did not take; empty when it did."""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        start(self._thread)

    def stop(self) -> None:
        self._end.set()
        join(self._thread)
        self.beat()

    def set(self, *, phase: str | None = None, **values: Any) -> None:
        """Change fields of the status; a new phase begins now and clears detail and staging."""
        with self._lock:
            if phase is not None and phase != self._node_phase[0]:
                self._node_phase = (phase, time.time())
                self._values |= {"detail": "", "staging": None}
            self._values.update(values)

    def watch(self, progress_files: dict[int, Path]) -> None:
        """Follow the progress files of ranks that start next: what these hold now is of an earlier program or attempt.

        The node shows the phase of the lowest rank.
        """
        with self._lock:
            self._readers = {
                rank: self._readers.get(rank) or ProgressReader(path) for rank, path in progress_files.items()
            }
            for reader in self._readers.values():
                reader.update()
                reader.forget_phase()
            self._pids = {}

    def started(self, pids: Mapping[str, int]) -> None:
        """The ranks run, with these process ids by the name of the process."""
        with self._lock:
            self._pids = dict(pids)

    def snapshot(self) -> NodeStatus:
        with self._lock:
            phase, since = self._node_phase
            values = dict(self._values)
            ranks = []
            for rank, reader in sorted(self._readers.items()):
                reader.update()
                progress = reader.progress
                ranks.append(
                    RankStatus(
                        rank=rank,
                        phase=reader.phase_seen[0],
                        step=progress.step,
                        pid=self._pids.get(f"rank {rank}"),
                    )
                )
            if self._readers:
                first = self._readers[min(self._readers)]
                values["progress"] = first.progress
                if phase == "running":
                    phase, since = first.phase_seen if first.phase_seen[0] else ("starting", since)
                values["last_error"] = next(
                    (r.last_error for r in self._readers.values() if r.last_error),
                    values.get("last_error", ""),
                )
            return NodeStatus(
                phase=phase, phase_since=since, ranks=tuple(ranks), updated_at=time.time(), **values
            )

    def beat(self) -> None:
        now, status = time.monotonic(), self.snapshot()
        text = status.model_dump_json(exclude={"updated_at"})
        if text == self._written[0] and now - self._written[1] <= SILENT_BEAT_S:
            return
        try:
            write_private(self._path, status.model_dump_json(indent=1) + "\n")
        except (StoreError, OSError) as error:  # on a full disk the heartbeat is uploaded from memory
            if not self._failing:
                log.error("the status can't be written: %s", error)
            self._failing = True
            words = status.upload_error or f"the local disk takes nothing: {error}"
            shown = status.model_copy(update={"upload_error": words})
            self.unwritten = shown.model_dump_json(indent=1).encode() + b"\n"
            return
        self._failing, self.unwritten = False, b""
        self._written = (text, now)

    def _run(self) -> None:
        while not self._end.wait(BEAT_S):
            self.beat()
