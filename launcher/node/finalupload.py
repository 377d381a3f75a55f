"""The last upload of a run: everything, with retries while the store is down, until somebody asks again to stop."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence

from launcher.errors import IntegrityError, NoSpace, NotFound, StoreError
from launcher.node.context import NodeContext
from launcher.node.messages import Machine
from launcher.node.rendezvous.timing import ALIVE_PER_S, quiet_s
from launcher.node.stopping import CANCEL, StopKind, StopRequest
from launcher.results.outputfiles import LeftOut
from launcher.runfolder import paths
from launcher.runfolder.attempts import Superseded
from launcher.runfolder.smallfiles import read_small_object
from launcher.runfolder.states import State
from launcher.threads import join, started
from launcher.units import show_duration

log = logging.getLogger("launcher.node")

TRY_S = 60.0
NO_SPACE_PATIENCE_S = 30.0
"""A store that is down comes back in time; a full disk does not."""
POLL_S = 0.1
CANCEL_POLL_S = 3.0
"""How often the store is asked for a cancel request that was made on another machine; by each of many machines less often."""
GIVE_UP_S = 2.0
"""After a request to stop, so long the upload under way may take to end by itself."""
LAST_WORD_S = 5.0
"""So long the final state may take to reach the store before it is written here; in all, after a second request to stop."""


class FinalUpload:
    """Uploads in a thread of its own, since a call to a dead store can't be interrupted."""

    def __init__(self, context: NodeContext, final: State, reason: str) -> None:
        self._context, self._final, self._reason = context, final, reason
        self._given_up, self._asked = threading.Event(), threading.Event()
        self._error: BaseException | None = None
        self.not_uploaded: Sequence[Machine] = ()
        """Other machines that may hold results which the store does not have."""
        self.left_out: Sequence[LeftOut] = ()
        """Files that are results but stay on their machine, by the job's own words or for their names."""
        self._thread = threading.Thread(target=self._run, name="final upload", daemon=True)

    def wait(self) -> StopRequest | None:
        """Block until all is safe, or until somebody asks again to stop: then that request. Raises StoreError."""
        if not started(self._thread):  # then without looking for requests meanwhile
            self._run()
        started(threading.Thread(target=self._watch_store, name="cancel requests", daemon=True))
        request: StopRequest | None = None
        while self._thread.is_alive() and not request:
            self._thread.join(POLL_S)
            request = self._context.stopper.asked_again() or (CANCEL if self._asked.is_set() else None)
        if request:
            self._given_up.set()
            self._thread.join(GIVE_UP_S)
            if self._thread.is_alive() or self._error is not None:
                return request
        if self._error is not None:
            raise self._error
        return None

    def _run(self) -> None:
        try:
            self._upload_all()
        except BaseException as error:  # `wait` raises it again
            self._error = error

    def _watch_store(self) -> None:
        """Look for a new cancel request until the upload ends. One from before the end of the run is ignored."""
        settled = self._context.stopper.settled_for
        cancelled = settled is not None and settled.kind is StopKind.CANCEL
        came_before = self._final is State.CANCELLED or cancelled
        known = None if came_before else b""
        many = self._context.plan.nodes if self._context.node else 0
        pause_s = max(CANCEL_POLL_S, many / ALIVE_PER_S)
        if silence_s := self._quiet_s():
            silence_s += random.uniform(0, pause_s)  # noqa: S311
        self._thread.join(silence_s)
        while self._thread.is_alive():
            try:
                request = read_small_object(self._context.store, paths.CANCEL)
            except NotFound:
                request = b""
            except StoreError:
                request = None
            if request is not None:
                known = request if known is None else known
                if request not in (b"", known):
                    self._asked.set()
                    return
            self._thread.join(pause_s)

    def _upload_all(self) -> None:
        """Upload and verify everything, MANIFEST.json last. Raises StoreError when the retries have taken too long."""
        context = self._context
        started = time.monotonic()
        deadline = started + context.plan.upload_patience_s
        pause = 1.0
        if self._given_up.wait(self._quiet_s()):
            raise StoreError("given up on request")
        while True:
            try:
                budget_s = min(TRY_S, max(0.0, deadline - time.monotonic()))
                report = context.collector.sync(final=True, budget_s=budget_s)
                context.state.note_safe(report.latest_step, report.latest_file)
                self.not_uploaded = context.peers.finish_uploads()
                if context.node == 0:
                    self._commit()
                self.left_out = context.collector.left_out
                context.heartbeat.set(upload_error="", pending_uploads=0)
                return
            except StoreError as error:
                if isinstance(error, NoSpace):
                    deadline = min(deadline, started + NO_SPACE_PATIENCE_S)
                if (
                    time.monotonic() + pause > deadline
                    or isinstance(error, IntegrityError | Superseded)
                    or self._given_up.is_set()
                ):
                    raise
                remaining = show_duration(deadline - time.monotonic())
                log.warning("upload: %s; trying again for %s", error, remaining)
                context.heartbeat.set(upload_error=str(error))
                if self._given_up.wait(pause):
                    raise
                pause = min(30.0, pause * 2)

    def _quiet_s(self) -> float:
        """How long to wait for the other machines before the first upload: not at all when this one was asked to stop."""
        context = self._context
        return 0.0 if context.node == 0 or context.stopper.settled_for else quiet_s(context.plan.nodes)

    def _commit(self) -> None:
        context = self._context
        if self._given_up.is_set():
            raise StoreError("given up on request")
        facts = {"run_id": context.plan.run_id, "state": self._final.value, "reason": self._reason}
        context.collector.commit({**facts, "attempt": context.collector.attempt})


def save_end(context: NodeContext, *, asked_again: bool) -> None:
    """The final state: into the store first, so whoever sees here that the run has ended finds it ended there, too.

    A store that gives no answer does not keep it from this machine's disk for more than LAST_WORD_S. A run that was asked again
    to stop may be killed at any moment: it writes here first, and then the store has as long.
    """

    def send() -> None:
        try:
            context.upload.send_status(context.state.text())
        except StoreError as error:
            log.error("the final state is only on this machine: %s", error)

    if asked_again:
        context.state.write()
    thread = threading.Thread(target=send, name="last word", daemon=True)
    if not started(thread):
        send()
    join(thread, LAST_WORD_S)
    if not asked_again:
        context.state.write()
        join(thread)  # only the store's own timeout limits it


__all__ = ["LAST_WORD_S", "FinalUpload", "save_end"]
