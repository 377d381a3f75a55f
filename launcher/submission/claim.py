"""One command takes the number of the attempt that it is about to start; every other one is told who has it."""

from __future__ import annotations

from contextlib import suppress

from launcher.errors import PlanError, StoreError
from launcher.runfolder.attempts import (
    Holder,
    newest_begun,
    newest_claim,
    read_holder,
    take,
    this_process,
)
from launcher.runfolder.paths import ATTEMPTS, CLAIMS
from launcher.storage import ObjectStore


class AttemptTaken(PlanError):
    """Another command has the attempt that this one was about to start."""


class Claim:
    """The right of this command to start one attempt. `token` proves it later."""

    def __init__(self, store: ObjectStore, attempt: int, mine: Holder) -> None:
        self.attempt, self._store, self._mine = attempt, store, mine

    @property
    def token(self) -> str:
        return self._mine.token

    def give_up(self) -> None:
        """The attempt was not started: the next command may go on without force."""
        with suppress(StoreError):
            void = self._mine.model_copy(update={"void": True})
            self._store.put(f"{CLAIMS}{self.attempt}", void.data())


def claim_first(store: ObjectStore, run_id: str) -> Claim:
    """The first attempt of a new run. Raises AttemptTaken when another run has its id, StoreError."""
    return _claim(store, 1, f"another run has the id {run_id}", "submit again: it gets another id")


def claim_next(store: ObjectStore, seen: int, own_token: str, *, force: bool) -> Claim:
    """The attempt after `seen`, which has ended. Raises AttemptTaken when somebody has begun a later one meanwhile.

    `own_token` and `force` as for `refuse_taken`.
    """
    attempt = max(refuse_taken(store, seen, own_token, force=force), seen) + 1
    return _claim(store, attempt, f"attempt {attempt} is being started by another command", "")


def refuse_taken(store: ObjectStore, seen: int, own_token: str, *, force: bool) -> int:
    """The newest attempt that was taken or begun. Raises AttemptTaken when that is a later one than `seen`.

    `own_token`: that of the newest attempt which this machine started, and which has ended, by its platform. With `force`
    an attempt that was taken before this command began does not count.
    """
    claimed, begun = newest_claim(store), newest_begun(store)
    newest = max(claimed, begun)
    if newest > seen:
        holder = read_holder(store, f"{CLAIMS}{claimed}") or Holder()
        ours = own_token != "" and holder.token == own_token
        unused = holder.void and begun <= seen
        if not (force or ours or unused):
            if begun > claimed:
                holder = read_holder(store, f"{ATTEMPTS}{begun}") or Holder()
            raise _taken(f"attempt {newest} was started by {holder.words}", force_helps=True)
    return newest


def starter_words(store: ObjectStore) -> str:
    """`, attempt 2 was started by anna@login1 (…)`; empty when the store does not know."""
    with suppress(StoreError):
        claimed = newest_claim(store)
        if claimed and (holder := read_holder(store, f"{CLAIMS}{claimed}")) is not None:
            return f", attempt {claimed} was started by {holder.words}"
    return ""


def _claim(store: ObjectStore, attempt: int, otherwise: str, hint: str) -> Claim:
    mine = this_process()
    holder = take(store, f"{CLAIMS}{attempt}", mine)
    if holder.token != mine.token:
        raise AttemptTaken(f"{otherwise}: {holder.words}", where=store.url, hint=hint)
    return Claim(store, attempt, mine)


def _taken(what: str, *, force_helps: bool) -> AttemptTaken:
    hint = "launcher resume --force, when that command was interrupted before it started anything"
    return AttemptTaken(f"{what}, and has not reported yet", hint=hint if force_helps else "")
