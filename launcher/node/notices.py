"""Messages about a run from its own machine: a thread of node 0 looks at the run's state every two seconds."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence

from launcher.node.ending import RunEnd
from launcher.node.heartbeat import Heartbeat
from launcher.node.statefile import StateFile
from launcher.notify.postbox import Letter, Postbox
from launcher.plan.model import Plan
from launcher.threads import join, started

log = logging.getLogger("launcher.node")

LOOK_S = 2.0
CLAIM_S = 20.0
SEND_S = 30.0
"""How long the end of a run waits for targets that don't answer."""


class Notices:
    """Does nothing on other machines than node 0, in rehearsals, and for jobs that notify nobody. Never raises."""

    def __init__(self, plan: Plan, node: int, state: StateFile, heartbeat: Heartbeat) -> None:
        self._state, self._heartbeat = state, heartbeat
        active = node == 0 and bool(plan.notify.to) and not plan.rehearsal
        self._postbox = (
            Postbox(plan.notify, plan.store.open, os.environ, plan.submitted_in) if active else None
        )
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)

    def start(self) -> None:
        if self._postbox is not None:
            started(self._thread)

    def take_end(self, end: RunEnd) -> Sequence[Letter]:
        """Stop looking, and take the messages about this end, before anybody else can see it."""
        if self._postbox is None or not end.state.terminal:
            return ()
        self._end.set()
        letters: list[Letter] = []
        thread = threading.Thread(target=self._take_end, args=(end, letters), name="notices", daemon=True)
        started(thread)
        join(thread, CLAIM_S)  # a store that is down must not hold up the end
        return tuple(letters)

    def send(self, letters: Sequence[Letter], patience_s: float = SEND_S) -> None:
        """Blocks for `patience_s` at most."""
        if self._postbox is not None and letters:
            self._postbox.deliver(letters, patience_s)

    def _take_end(self, end: RunEnd, letters: list[Letter]) -> None:
        assert self._postbox is not None
        join(self._thread)
        try:
            letters += self._postbox.take(self._state.ended(end), self._heartbeat.snapshot().progress)
        except Exception as error:  # never the reason for a failure
            log.warning("notify: %s: %s", type(error).__name__, error)

    def _run(self) -> None:
        assert self._postbox is not None
        while not self._end.wait(LOOK_S):
            try:
                letters = self._postbox.take(self._state.value, self._heartbeat.snapshot().progress)
            except Exception as error:  # never the reason for a failure
                log.warning("notify: %s: %s", type(error).__name__, error)
                continue
            self.send(letters)
