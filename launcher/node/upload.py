"""Uploads a node's files to the run's folder in the background, and looks there for a cancel request.

When a later attempt of the run has taken over, `superseded` is set and nothing more is uploaded: the node program
should end. A store that is down never stops training: the next upload tries again, and the end of the run waits for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from launcher.errors import StoreError
from launcher.node.cadence import Cadence
from launcher.node.heartbeat import Heartbeat
from launcher.results.collector import Collector
from launcher.results.report import CollectReport
from launcher.runfolder import paths
from launcher.runfolder.attempts import Superseded, stored_attempt
from launcher.storage import ObjectStore
from launcher.threads import give_way, join, start, started

log = logging.getLogger(__name__)

FOLLOWERS_PATIENCE_S = 60.0
CANCEL_LOOK_S = 15.0
"""Between two looks for a cancel request while a pass lasts."""


class BackgroundUpload:
    """One thread of the node program. `cancelled` is set when the run's folder holds a cancel request."""

    def __init__(
        self,
        store: ObjectStore,
        collector: Collector,
        run_dir: paths.RunDir,
        node: int,
        cadence: Cadence,
        heartbeat: Heartbeat,
    ) -> None:
        self.cancelled = threading.Event()
        self.superseded = threading.Event()
        self.last_report: CollectReport | None = None
        self._store = store
        self._collector = collector
        self._run_dir = run_dir
        self._node = node
        self._cadence = cadence
        self._heartbeat = heartbeat
        self._end = threading.Event()
        self._uploading = threading.Lock()
        self._sent: dict[str, bytes] = {}
        self._told: set[str] = set()
        self._failing = False
        self._behind_since = 0.0
        self._thread = threading.Thread(target=self._run, name="upload", daemon=True)

    @property
    def attempt(self) -> int:
        return self._collector.attempt

    def start(self) -> None:
        start(self._thread)

    def stop(self) -> None:
        """End the thread after the upload that is under way."""
        self._end.set()
        join(self._thread)

    def send_status(self, state: str = "") -> None:
        """Put the heartbeat and, from node 0, the state, unless a later attempt has taken over. Raises StoreError.

        `state` goes out in place of the file, and the heartbeat's `unwritten` in place of one that the disk did not take.
        """
        self._look_for_a_later_attempt()
        if self.superseded.is_set():
            return
        self._send(
            paths.node_status_key(self._node),
            self._heartbeat.unwritten or _bytes(self._run_dir.node_status(self._node)),
        )
        if self._node == 0:
            self._send_state(state.encode() or _bytes(self._run_dir.state))

    def _send_state(self, text: bytes) -> None:
        """A dying earlier attempt may have overwritten the state: ours is then sent again."""
        self.check_attempt()
        if self.superseded.is_set():
            return
        if stored_attempt(self._store) != self._collector.attempt:
            self._sent.pop(paths.STATE, None)
        self._send(paths.STATE, text)

    def _look_for_a_later_attempt(self) -> None:
        """Sets `superseded`. Followers wait a while: node 0 may just have announced an attempt that they will enter, too.

        Those of a large run read only the marks of attempts, which each node 0 makes before it writes anything.
        """
        try:
            if self._cadence.confirm:
                self._collector.fence.check_folder()
            else:
                self._collector.fence.check()
        except Superseded as error:
            self._behind_since = self._behind_since or time.monotonic()
            patience_s = 0.0 if self._node == 0 else FOLLOWERS_PATIENCE_S
            if time.monotonic() - self._behind_since >= patience_s:
                self.give_way(error.what)
        else:
            self._behind_since = 0.0

    def check_attempt(self) -> None:
        """Give way where somebody else has this attempt, or a later one has begun. On node 0 this takes the attempt. Raises StoreError."""
        try:
            self._collector.fence.check()
        except Superseded as error:
            self.give_way(error.what)

    def give_way(self, why: str) -> None:
        """Somebody else has this attempt, or a later one has begun: nothing is sent from now on but logs."""
        if not self.superseded.is_set():
            log.error("%s; nothing of attempt %d counts any more", why, self._collector.attempt)
            self.superseded.set()

    def _send(self, key: str, data: bytes) -> None:
        if data and self._sent.get(key) != data:
            self._store.put(key, data, confirm=self._cadence.confirm)
            self._sent[key] = data

    def _run(self) -> None:
        pause_s = self._cadence.first_s
        while not self._end.wait(pause_s):
            self.upload_once()
            pause_s = self._cadence.next_s

    def upload_once(self) -> None:
        """Upload what is new, and read the cancel request. Errors are logged and shown in the status, never raised."""
        with self._uploading:
            error = ""
            try:
                self.send_status()
                report = _Gently(self._collector.sync).run(self._look_for_cancel)
                self.last_report = report
                error = report.error
                self._tell(report.problems)
                self._look_for_cancel()
            except StoreError as store_error:
                error = str(store_error)
            except OSError as os_error:  # a file was removed during the upload
                error = f"{type(os_error).__name__}: {os_error}"
            if error and not self._failing:
                log.warning("upload: %s; training goes on, the next upload tries again", error)
            if self._failing and not error:
                log.info("upload: the store answers again")
            self._failing = bool(error)
            pending = len(self.last_report.pending) if self.last_report else 0
            self._heartbeat.set(upload_error=error, pending_uploads=pending)

    def _look_for_cancel(self) -> None:
        """Raises StoreError."""
        if self._store.head(paths.CANCEL):
            self.cancelled.set()

    def _tell(self, problems: Sequence[str]) -> None:
        """Log each file that is not uploaded once."""
        for problem in problems:
            if problem not in self._told:
                self._told.add(problem)
                log.warning("%s", problem)


class _Gently:
    """Work in a thread of low priority: on a machine whose ranks keep all cores busy it takes what they leave."""

    def __init__(self, work: Callable[[], CollectReport]) -> None:
        self._work = work
        self._done: list[CollectReport] = []
        self._error: BaseException | None = None
        self._ended = threading.Event()

    def run(self, look: Callable[[], None]) -> CollectReport:
        """The result, or the error, of the work. `look` is called now and then while it lasts; its StoreErrors are passed over."""
        thread = threading.Thread(target=self._try, name="gentle upload", daemon=True)
        if not started(thread):
            return self._work()
        while not self._ended.wait(CANCEL_LOOK_S):
            with suppress(StoreError):
                look()
        if self._error is not None:
            raise self._error
        return self._done[0]

    def _try(self) -> None:
        give_way()
        try:
            self._done.append(self._work())
        except BaseException as error:  # raised again by whoever waits
            self._error = error
        finally:
            self._ended.set()


def _bytes(path: Path) -> bytes:
    """The content of a file; empty when there is none."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
