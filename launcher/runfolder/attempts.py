"""Who has which attempt of a run: numbers that exactly one command and one node program can take.

    claims/<a>      taken by the command that submits or resumes, before it asks the platform for anything
    attempts/<a>    taken by the node program of machine 0, before it writes any result or lets other machines start ranks

Both are made with `put_new`, which one of several writers wins. Where a store can't do that, a writer writes its token, waits
until the others must have written, and reads back: whoever wrote last has it, and all of them read the same. A writer that was
cut off for longer than that pause can still replace a token. So node programs compare the token before each write that
counts (`Fence`), and the one whose token is gone writes no more.
"""

from __future__ import annotations

import getpass
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from launcher.errors import IntegrityError, NotFound, StoreError, StoreRefused
from launcher.runfolder.paths import ATTEMPTS, CLAIMS, STATE
from launcher.runfolder.sets import Latest, is_attempt, read_json, read_latest
from launcher.runfolder.smallfiles import read_small_object
from launcher.storage.base import NoConditionalPut, ObjectStore

SETTLE_S = 1.0
"""Where a store knows no conditions: longer than a writer takes from its look to its write."""


class Superseded(StoreRefused):
    """Somebody else has this attempt, or a later one has begun: what this one has to say does not count."""


class Holder(BaseModel):
    """Whoever took a number. `at` is by its own clock, for people."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    token: str = Field("", max_length=100)
    by: str = Field("somebody", max_length=200)
    at: float = 0.0
    void: bool = False

    def data(self) -> bytes:
        return self.model_dump_json().encode()

    @property
    def words(self) -> str:
        """`anna@login1 (2026-11-28 05:00:06 UTC)`."""
        with suppress(ValueError, OverflowError, OSError):
            if self.at:
                return f"{self.by} ({time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(self.at))})"
        return self.by


def this_process() -> Holder:
    """A holder with a token that nobody else has."""
    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container or a laptop without a user's name
        user = "somebody"
    return Holder(token=secrets.token_hex(16), by=f"{user}@{socket.gethostname()}", at=time.time())


def take(store: ObjectStore, key: str, mine: Holder, sleep: Callable[[float], None] = time.sleep) -> Holder:
    """Take a key unless somebody has it. Returns who has it now. Raises StoreError."""
    if (holder := read_holder(store, key)) is not None:
        return holder
    if _honours_conditions(store, f"{key}.{mine.token}", mine.data()):
        if store.put_new(key, mine.data()):
            return mine
    else:
        store.put(key, mine.data())
        sleep(SETTLE_S)
    return read_holder(store, key) or Holder()


def _honours_conditions(store: ObjectStore, mark: str, data: bytes) -> bool:
    """Found out with an object of our own: a store that ignores the condition would replace that of somebody else."""
    try:
        store.put_new(mark, data)
    except NoConditionalPut:
        return False
    finally:
        with suppress(StoreError):
            store.delete(mark)
    return True


def read_holder(store: ObjectStore, key: str) -> Holder | None:
    """None when nobody has taken the key. An object of an earlier version names nobody."""
    try:
        return Holder.model_validate_json(read_small_object(store, key))
    except NotFound:
        return None
    except (ValidationError, IntegrityError):
        return Holder()


def newest_attempt(store: ObjectStore) -> int:
    """The highest attempt in the store; 0 when there is none."""
    return max(_newest_written(read_latest(store), store), newest_begun(store))


def stored_attempt(store: ObjectStore) -> int:
    """The attempt that wrote state.json; 0 when there is none."""
    attempt = read_json(store, STATE).get("attempt")
    return attempt if is_attempt(attempt) else 0


def _newest_written(latest: Latest | None, store: ObjectStore) -> int:
    """The highest attempt that has written LATEST or state.json."""
    return max(latest.attempt if latest else 0, stored_attempt(store))


def newest_begun(store: ObjectStore) -> int:
    """The highest attempt that a node 0 has begun."""
    return _newest(store, ATTEMPTS)


def newest_claim(store: ObjectStore) -> int:
    """The highest attempt that a command has asked a platform for, or was about to."""
    return _newest(store, CLAIMS)


def _newest(store: ObjectStore, folder: str) -> int:
    marks = (info.key.removeprefix(folder) for info in store.list(folder))
    return max(
        (int(mark) for mark in marks if mark.isascii() and mark.isdecimal() and len(mark) < 10), default=0
    )


class Fence:
    """Whether this node program may still write for its attempt. Safe to use from several threads.

    With `takes`, it takes the attempt at the first check, as soon as the store answers. That is for machine 0. The others only
    see whether a later one has begun, which may be one that they are about to enter.
    """

    def __init__(self, store: ObjectStore, attempt: int, *, takes: bool) -> None:
        self.attempt = attempt
        self.winner: Holder | None = None
        """Who has the attempt instead; None while it is ours."""
        self._store, self._takes, self._mine = store, takes, this_process()
        self._untaken = [attempt]
        self._lock = threading.Lock()

    def enter(self, attempt: int) -> None:
        """The next attempt, which this node program begins by itself."""
        with self._lock:
            self.attempt = attempt
            self._untaken.append(attempt)

    def check(self) -> None:
        """Raises Superseded, StoreError."""
        with self._lock:
            if self.winner is not None:
                raise self._superseded(self.attempt, self.winner)
            if self._takes:
                self._hold()
            newest = newest_begun(self._store)
            if newest > self.attempt:
                holder = read_holder(self._store, f"{ATTEMPTS}{newest}") or Holder()
                if self._takes:
                    self.winner = holder
                raise self._superseded(newest, holder)

    def check_folder(self) -> Latest | None:
        """`check`, and that no later attempt has written anything into the folder. Returns what LATEST says."""
        latest = read_latest(self._store)
        newest = _newest_written(latest, self._store)
        self.check()
        if newest > self.attempt:
            raise Superseded(f"a later attempt ({newest}) has begun", where=self._store.url)
        return latest

    def _hold(self) -> None:
        """Take what is not taken yet, else see whether it is still ours."""
        if not self._untaken:
            self._compare(self.attempt, read_holder(self._store, f"{ATTEMPTS}{self.attempt}"))
        while self._untaken:
            self._compare(self._untaken[0], take(self._store, f"{ATTEMPTS}{self._untaken[0]}", self._mine))
            del self._untaken[0]

    def _compare(self, attempt: int, holder: Holder | None) -> None:
        if holder is not None and holder.token != self._mine.token:
            self.winner = holder
            raise self._superseded(attempt, holder)

    def _superseded(self, attempt: int, holder: Holder) -> Superseded:
        return Superseded(f"attempt {attempt} of this run is that of {holder.words}", where=self._store.url)
