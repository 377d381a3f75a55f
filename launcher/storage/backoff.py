"""Repeating a request after a failure: random growing pauses, Retry-After honoured, and an end.

The client libraries here repeat nothing themselves; this is the only loop, around the request and its body together.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from launcher.errors import IntegrityError, StoreUnreachable
from launcher.storage.base import Pace

T = TypeVar("T")

FIRST_PAUSE_S, LEAST_PAUSE_S = 0.25, 0.05
LONGER, SHORTER = 3.0, 0.8
"""What a refusal and an answer make of a pause: where all are in balance one request of six is refused."""
PAUSES = 6
"""The longest pause fits so often into the patience of a client."""


class StoreBusy(StoreUnreachable):
    """The store answered 429 or 503: too many requests. `retry_after_s` is from its answer, or 0."""

    retry_after_s: float = 0.0


class Restraint:
    """The pause before each request of a client whose store is too busy: longer after a refusal, shorter after an answer.

    So each of many machines finds its share of what the store takes. A client that forgets at once how busy the store was is
    refused again and again. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self.pause_s = 0.0

    def refused(self, longest_s: float) -> None:
        """The store has asked for fewer requests."""
        self.pause_s = min(longest_s, max(FIRST_PAUSE_S, self.pause_s * LONGER))

    def answered(self) -> None:
        """The store has taken a request."""
        shorter_s = self.pause_s * SHORTER
        self.pause_s = shorter_s if shorter_s > LEAST_PAUSE_S else 0.0


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """At most `tries` requests, and none that would start after `patience_s` seconds. One client has one `restraint`."""

    tries: int = 10
    base_s: float = 0.5
    cap_s: float = 30.0
    patience_s: float = 60.0
    restraint: Restraint = field(default_factory=Restraint, compare=False)


class Backoff:
    """The failures of one operation so far. Call `wait` after each; it raises when it is time to give up.

    A caller with a pace of its own slows down by itself; the others share the client's restraint.
    """

    def __init__(self, policy: BackoffPolicy, pace: Pace | None = None) -> None:
        self._policy = policy
        self._restraint = policy.restraint if pace is None else Restraint()
        self._pace = pace or Pace()
        self._failures = 0
        self._mismatches = 0
        self._deadline = time.monotonic() + policy.patience_s

    def begin(self) -> None:
        """Wait before the first request, as long as the store was too busy a moment ago."""
        if pause_s := self._restrained_s():
            self._pace.stop.wait(pause_s)
            self._deadline = time.monotonic() + self._policy.patience_s

    def end(self) -> None:
        """The store has answered."""
        self._restraint.answered()

    def _restrained_s(self) -> float:
        return random.uniform(0.5, 1.5) * self._restraint.pause_s  # noqa: S311

    def progress(self) -> None:
        """Good bytes arrived: a long transfer over a poor line may fail more often than a short one."""
        self._failures = 0
        self._deadline = time.monotonic() + self._policy.patience_s

    def wait(self, error: StoreUnreachable | IntegrityError) -> None:
        """Sleep before the next try, or raise `error` when there is none."""
        if self._pace.stop.is_set():
            raise error
        if isinstance(error, IntegrityError):
            self._mismatches += 1
            if self._mismatches > 1:
                raise error
            return
        self._failures += 1
        delay = random.uniform(0, min(self._policy.cap_s, self._policy.base_s * 2 ** (self._failures - 1)))  # noqa: S311
        if isinstance(error, StoreBusy):
            self._pace.busy()
            self._restraint.refused(self._policy.patience_s / PAUSES)
            delay = max(delay, min(error.retry_after_s, self._policy.cap_s), self._restrained_s())
        if self._failures >= self._policy.tries or time.monotonic() + delay > self._deadline:
            raise error
        if self._pace.stop.wait(delay):
            raise error


def with_backoff(policy: BackoffPolicy, request: Callable[[], T], pace: Pace | None = None) -> T:
    """Run `request` until it succeeds, fails for good, or patience ends."""
    backoff = Backoff(policy, pace)
    backoff.begin()
    while True:
        try:
            answer = request()
            backoff.end()
            return answer
        except (StoreUnreachable, IntegrityError) as error:
            backoff.wait(error)
