"""What leader and followers have in common: the thread that writes and reads messages, and the wait for what it reads."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from launcher.errors import LauncherError, NodeTrouble
from launcher.node.messages import Machine
from launcher.node.peers import Check
from launcher.node.rendezvous.folder import MessageFolder
from launcher.node.rendezvous.presence import Presence
from launcher.node.rendezvous.timing import Timing
from launcher.storage import ObjectStore
from launcher.threads import start

log = logging.getLogger("launcher.node")

FOLDER = "rendezvous/"
WAIT_S = 0.2


class Member(ABC):
    """One machine of the rendezvous. `_changed` guards all fields that both threads use, and wakes the waiting one."""

    def __init__(self, store: ObjectStore, machine: Machine, timing: Timing, launch: str) -> None:
        self._store, self._machine, self._timing, self._launch = store, machine, timing, launch
        self._changed = threading.Condition()
        self._presence = Presence(timing)
        self._messages = MessageFolder(store, FOLDER)
        self._attempt = 0
        self._written = ""
        self._alive_at = 0.0
        self._eager = False
        self._exchanging = threading.Lock()
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rendezvous", daemon=True)

    # ---- called by the main thread

    def enter_attempt(self, attempt: int) -> None:
        """Go to the folder of this attempt, with nothing written and nobody heard of yet."""
        with self._changed:
            self._attempt = attempt
            folder, confirm = f"{FOLDER}attempt-{attempt}/", self._timing.confirm
            self._messages = MessageFolder(self._store, folder, confirm=confirm)
            self._written, self._alive_at = "", 0.0
            self._presence.reset()
            self._reset_messages()
        if not self._thread.is_alive():
            start(self._thread)

    def close(self) -> None:
        """End the thread; what was published last is written."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._attempt:
            self._exchange()

    def _wait(self, condition: Callable[[], bool], check: Check) -> None:
        """Block until `condition` holds. Raises NodeTrouble when a machine is lost or did not come."""
        while True:
            with self._changed:
                if condition():
                    return
                self._check_others()
                self._changed.wait(WAIT_S)
            check()

    def _check_others(self) -> None:
        """Raises NodeTrouble when another machine is lost or did not come."""
        if words := self._lost() or self._absent():
            raise NodeTrouble(words)

    # ---- the two sides differ in what they write, what they read and whom they wait for

    @abstractmethod
    def _reset_messages(self) -> None:
        """Forget all messages; called with the lock held."""

    @abstractmethod
    def _write(self) -> None:
        """Write this machine's message if it has changed, and show from time to time that it lives."""

    @abstractmethod
    def _read(self) -> None:
        """Read the messages of the other side."""

    @abstractmethod
    def _lost(self) -> str:
        """Names a machine that fell silent; empty when there is none."""

    @abstractmethod
    def _absent(self) -> str:
        """Names the machines that did not come in time; empty when there is none."""

    # ---- the thread

    def _run(self) -> None:
        while not self._closing.is_set():
            self._exchange()
            self._wake.wait(self._timing.eager_s if self._eager else self._timing.poll_s)
            self._wake.clear()

    def _exchange(self) -> bool:
        """Write and read once; called by both threads. False when the store is down; else all is written."""
        with self._exchanging:
            try:
                self._write()
                self._read()
            except LauncherError as error:
                with self._changed:
                    if self._presence.note_store_down():
                        log.warning("rendezvous: %s; waiting for the store", error)
                return False
            with self._changed:
                if self._presence.note_store_up():
                    log.info("rendezvous: the store answers again")
                self._changed.notify_all()
            return True

    def _alive_is_due(self) -> bool:
        return time.monotonic() - self._alive_at >= self._timing.alive_s
