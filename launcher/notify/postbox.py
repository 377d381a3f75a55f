"""Each message goes to each target once, although the run's machine and watching ones see the same.

`notices/<what>-<target>` in the run's folder names who sends a message, from before it is sent. One that was neither sent nor given up for
long is taken over. Nothing here raises: a message is never the reason that a run or a command fails.
"""

from __future__ import annotations

import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from launcher.errors import IntegrityError, StoreError
from launcher.jobfile.spec_notify import NotifySpec, NotifyTarget
from launcher.notify.happenings import Happening, happenings
from launcher.notify.message import Message, message_of
from launcher.notify.targets import NotSent, missing_variables, send
from launcher.runfolder.paths import NOTICES
from launcher.runfolder.progress import Progress
from launcher.runfolder.smallfiles import read_small_object
from launcher.runfolder.states import RunState
from launcher.storage import ObjectStore
from launcher.storage.base import NoConditionalPut
from launcher.threads import started

log = logging.getLogger("launcher.notify")

STALE_S = 120.0
"""A sender that has not sent for so long has ended before it could."""
LOOK_AGAIN_S = 5.0
LOOK_AT_END_S = 1.0
"""Between looks at what another sender does: while the run goes on, and when it has ended."""
PAUSES_S = (1.0, 4.0)
"""Between the tries of one round."""
ROUND_S = 60.0
MAX_ROUNDS = 5


class Record(BaseModel):
    """Who sends a message. `at` by its own clock."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    token: str = ""
    by: str = ""
    at: float = 0.0
    sent: bool = False


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that this process is to send."""

    key: str
    target: NotifyTarget
    message: Message


class Postbox:
    """The messages of one run. `grace_s` of `take`: how long another sender may have it first.

    `folder`: where commands run, if this machine has it; else in the current folder.
    """

    def __init__(
        self, spec: NotifySpec, store: Callable[[], ObjectStore], env: Mapping[str, str], folder: str = ""
    ) -> None:
        self._spec, self._open, self._env, self._folder = spec, store, env, folder
        self._store: ObjectStore | None = None
        self._done: set[str] = set()
        self._theirs: set[str] = set()
        self._rounds: dict[str, int] = {}
        self._next_look: dict[str, float] = {}
        self._token = secrets.token_hex(8)

    @property
    def others_send(self) -> bool:
        """Whether another sender had a message at the last look, and had not sent it yet."""
        return bool(self._theirs)

    def take(self, run: RunState, progress: Progress, *, grace_s: float = 0.0) -> list[Letter]:
        """The messages that are due and that nobody else sends; they are this process's now."""
        return [
            letter
            for happening in happenings(run, progress, self._spec)
            for number, target in enumerate(self._spec.to)
            if (letter := self._letter(run, happening, number, target, grace_s)) is not None
        ]

    def _letter(
        self, run: RunState, happening: Happening, number: int, target: NotifyTarget, grace_s: float
    ) -> Letter | None:
        wanted = self._spec.events_of(target)
        event = next((each for each in happening.events if each in wanted), None)
        key = f"{NOTICES}{happening.key}-{number}"
        again_s = LOOK_AT_END_S if run.state.terminal else LOOK_AGAIN_S
        if event is None or key in self._done or not self._is_due(key, grace_s, again_s):
            return None
        if missing := missing_variables(target, self._env):
            log.warning(
                "notify.to[%d]: ${%s} is not set here, so this machine sends nothing to it",
                number,
                missing[0],
            )
            self._done.add(key)
            return None
        answer = self._claim(key)
        self._theirs.discard(key)
        if answer == "theirs":
            self._theirs.add(key)
        if answer == "sent":
            self._done.add(key)
        if answer in ("sent", "theirs") or (answer == "unknown" and not run.state.terminal):
            return None
        return Letter(key, target, message_of(run, happening, event, self._spec, time.time()))

    def _is_due(self, key: str, grace_s: float, again_s: float) -> bool:
        now = time.monotonic()
        if now < self._next_look.setdefault(key, now + grace_s):
            return False
        self._next_look[key] = now + again_s
        return True

    def _claim(self, key: str) -> Literal["mine", "theirs", "sent", "unknown"]:
        """Who sends this message. `unknown`: the store does not answer."""
        mine = Record(token=self._token, by=socket.gethostname(), at=time.time()).model_dump_json().encode()
        try:
            store = self._store = self._store or self._open()
            try:
                if store.put_new(key, mine):
                    return "mine"
            except NoConditionalPut:
                if store.head(key) is None:
                    store.put(key, mine)
                    return "mine"
            held = _read(store, key)
            if held.sent:
                return "sent"
            if held.token != self._token and _is_recent(store, key):
                return "theirs"
            store.put(key, mine)
        except StoreError as error:
            log.warning("notify: the run's folder can't be asked: %s", error.what)
            return "unknown"
        return "mine"

    def deliver(self, letters: Sequence[Letter], patience_s: float) -> bool:
        """Send them, all at once; blocks for `patience_s` at most. Whether all were sent."""
        sent: list[str] = []
        threads = [
            threading.Thread(target=self._send, args=(letter, sent), name="notify", daemon=True)
            for letter in letters
        ]
        running = [thread for thread in threads if started(thread)]
        if len(running) < len(threads):
            log.warning("notify: this machine starts no more threads: see ulimit -u")
        deadline = time.monotonic() + patience_s
        for thread in running:
            thread.join(max(0.0, deadline - time.monotonic()))
        return len(sent) == len(letters)

    def _send(self, letter: Letter, sent: list[str]) -> None:
        """With retries. What no try could send is given up for a while, and others may send it."""
        for pause_s in (*PAUSES_S, None):
            try:
                send(letter.target, letter.message, self._env, self._folder)
                break
            except NotSent as error:
                words, again = str(error), error.again
            except Exception as error:  # a package of others
                words, again = type(error).__name__, True
            if pause_s is None or not again:
                log.warning("notify (%s, %s): %s", letter.target.kind, letter.message.event, words)
                self._give_up(letter.key)
                return
            time.sleep(pause_s)
        self._done.add(letter.key)
        sent.append(letter.key)
        log.info("notify (%s): told of %s", letter.target.kind, letter.message.event)
        self._keep(letter.key)

    def _keep(self, key: str) -> None:
        record = Record(token=self._token, by=socket.gethostname(), at=time.time(), sent=True)
        with suppress(StoreError):
            if self._store is not None:
                self._store.put(key, record.model_dump_json().encode())

    def _give_up(self, key: str) -> None:
        self._rounds[key] = self._rounds.get(key, 0) + 1
        self._next_look[key] = time.monotonic() + ROUND_S
        if self._rounds[key] >= MAX_ROUNDS:
            self._done.add(key)
        with suppress(StoreError):
            if self._store is not None:
                self._store.delete(key)


def _is_recent(store: ObjectStore, key: str) -> bool:
    """Whether the record was written a moment ago, by the store's own time: the clocks of two senders may differ."""
    info = store.head(key)
    return info is not None and abs(store.now() - info.mtime) < STALE_S


def _read(store: ObjectStore, key: str) -> Record:
    """A record that can't be read counts as one that was given up."""
    try:
        return Record.model_validate_json(read_small_object(store, key))
    except (ValidationError, IntegrityError):
        return Record()
