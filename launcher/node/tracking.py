"""Curves for the trackers of `track:` while the run goes on: a thread of node 0 for each, so that one that hangs holds up no other."""

from __future__ import annotations

import logging
import os
import threading

from launcher.node.ending import RunEnd
from launcher.node.heartbeat import Heartbeat
from launcher.node.statefile import StateFile
from launcher.plan.model import Plan
from launcher.runfolder.states import RunState
from launcher.threads import join, started
from launcher.tracking.history import local_history
from launcher.tracking.trackers import LiveWriter, live_writer, mlflow_uri
from vitmodels.secrets import mask

log = logging.getLogger("launcher.node")

FILES_S = 120.0
"""How long the end of a run waits for its files: a disk or the import of a package may be slow."""
SERVERS_S = 30.0
"""How long it waits for a server that does not answer."""
SERVERS = ("mlflow",)
"""Trackers that are told of the end when the results are in the store; the files of others are among these results."""


class Tracking:
    """Does nothing on other machines than node 0, in rehearsals, and for jobs without trackers. Never raises."""

    def __init__(self, plan: Plan, node: int, state: StateFile, heartbeat: Heartbeat) -> None:
        self._heartbeat = heartbeat
        self._errors: dict[str, str] = {}
        self._lock = threading.Lock()
        names = plan.track.to if node == 0 and not plan.rehearsal else ()
        self._trackers = [_Tracker(name, plan, state, self) for name in names]

    def start(self) -> None:
        for tracker in self._trackers:
            tracker.start()

    def end_files(self, end: RunEnd) -> None:
        """Complete the files, before the last upload."""
        self._end([each for each in self._trackers if each.name not in SERVERS], end, FILES_S)

    def end_servers(self, end: RunEnd, patience_s: float = SERVERS_S) -> None:
        """Tell the servers how the run ended; blocks for `patience_s` at most."""
        self._end([each for each in self._trackers if each.name in SERVERS], end, patience_s)

    def _end(self, trackers: list[_Tracker], end: RunEnd, patience_s: float) -> None:
        threads = [(each, each.end(end)) for each in trackers]
        for tracker, thread in threads:
            join(thread, patience_s)
            if thread.is_alive():
                self.note(
                    tracker.name, f"no answer within {patience_s:.0f} s; the end of its curves may be missing"
                )

    def note(self, name: str, error: str) -> None:
        """Log an error once, and show all of them in the status. An empty one: the tracker answers again."""
        with self._lock:
            before, self._errors[name] = self._errors.get(name, ""), error
            words = "; ".join(f"{key}: {each}" for key, each in self._errors.items() if each)
        self._heartbeat.set(tracking_error=words)
        if error and error != before:
            log.warning("track (%s): %s; the run goes on without it", name, error)
        if before and not error:
            log.info("track (%s): it takes the curves again", name)


class _Tracker:
    """One tracker and its thread."""

    def __init__(self, name: str, plan: Plan, state: StateFile, tracking: Tracking) -> None:
        self.name, self._plan, self._state, self._tracking = name, plan, state, tracking
        self._writer: LiveWriter | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"track {name}", daemon=True)

    def start(self) -> None:
        started(self._thread)

    def end(self, end: RunEnd) -> threading.Thread:
        """Bring the tracker up to date with the end of the run, in a thread that is returned."""
        self._over.set()
        last = self._state.ended(end)
        thread = threading.Thread(target=self._end, args=(last,), name=f"track {self.name}", daemon=True)
        started(thread)
        return thread

    def _end(self, last: RunState) -> None:
        join(self._thread)
        self._update(last)

    def _run(self) -> None:
        while True:
            self._update(self._state.value)
            if self._over.wait(self._plan.track.every):
                return

    def _update(self, run: RunState) -> None:
        try:
            if self._writer is None:
                uri = mlflow_uri(self._plan.track, os.environ)
                self._writer = live_writer(self.name, self._plan.run_dir.root, uri)
            self._writer.update(local_history(self._plan, run))
            error = ""
        except (
            Exception
        ) as problem:  # of a package of others, a server, a disk: never the reason for a failure
            first = mask(str(problem)).split("\n", 1)[0]
            error = f"{type(problem).__name__}: {first}" if first else type(problem).__name__
        self._tracking.note(self.name, error)
