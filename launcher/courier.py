"""Carries what a node has to the run's folder in the store, in the background, and brings back a request to cancel.

A store that is down never stops training: the next round tries again, and the end of the run waits for it.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from launcher import paths
from launcher.collect import Collector, CollectReport
from launcher.errors import StoreError
from launcher.heartbeat import Heartbeat
from launcher.storage import ObjectStore

log = logging.getLogger(__name__)


class Courier:
    """One thread per node program. `cancelled` is set when somebody put a cancel request into the run's folder."""

    def __init__(
        self,
        store: ObjectStore,
        collector: Collector,
        run_dir: paths.RunDir,
        node: int,
        every_s: float,
        heartbeat: Heartbeat,
    ) -> None:
        self.cancelled = threading.Event()
        self.last_report: CollectReport | None = None
        self._store = store
        self._collector = collector
        self._run_dir = run_dir
        self._node = node
        self._every_s = every_s
        self._heartbeat = heartbeat
        self._end = threading.Event()
        self._round = threading.Lock()
        self._sent: dict[str, bytes] = {}
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends after the round that is under way."""
        self._end.set()
        self._thread.join()

    def send_status(self) -> None:
        """Put the heartbeat and, from node 0, the state. Raises StoreError."""
        self._send(paths.node_status_key(self._node), self._run_dir.node_status(self._node))
        if self._node == 0:
            self._send(paths.STATE, self._run_dir.state)

    def _send(self, key: str, path: Path) -> None:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return
        if self._sent.get(key) != data:
            self._store.put(key, data)
            self._sent[key] = data

    def _run(self) -> None:
        while not self._end.wait(self._every_s):
            self.round()

    def round(self) -> None:
        """One exchange with the store. Errors are logged and shown in the status, never raised."""
        with self._round:
            error = ""
            try:
                self.send_status()
                report = self._collector.sync()
                self.last_report = report
                error = report.error
                if self._store.head(paths.CANCEL):
                    self.cancelled.set()
            except StoreError as store_error:
                error = str(store_error)
            except OSError as os_error:  # a file that went away under the upload
                error = f"{type(os_error).__name__}: {os_error}"
            if error and not self._failing:
                log.warning("upload: %s; training goes on, the next round tries again", error)
            if self._failing and not error:
                log.info("upload: the store answers again")
            self._failing = bool(error)
            pending = len(self.last_report.pending) if self.last_report else 0
            self._heartbeat.set(upload_error=error, pending_uploads=pending)
