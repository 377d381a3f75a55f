"""Repeating a request after a failure: random growing pauses, Retry-After honoured, and an end.

The client libraries here repeat nothing themselves; this is the only loop, around the request and its body together.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from launcher.errors import IntegrityError, StoreUnreachable
from launcher.storage.base import Pace

T = TypeVar("T")


class StoreBusy(StoreUnreachable):
    """The store answered 429 or 503: too many requests. `retry_after_s` is from its answer, or 0."""

    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """At most `tries` requests, and none that would start after `patience_s` seconds."""

    tries: int = 10
    base_s: float = 0.5
    cap_s: float = 30.0
    patience_s: float = 60.0


class Backoff:
    """The failures of one operation so far. Call `wait` after each; it raises when it is time to give up."""

    def __init__(self, policy: BackoffPolicy, pace: Pace | None = None) -> None:
        self._policy = policy
        self._pace = pace or Pace()
        self._failures = 0
        self._mismatches = 0
        self._deadline = time.monotonic() + policy.patience_s

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
            delay = max(delay, min(error.retry_after_s, self._policy.cap_s))
        if self._failures >= self._policy.tries or time.monotonic() + delay > self._deadline:
            raise error
        if self._pace.stop.wait(delay):
            raise error


def with_backoff(policy: BackoffPolicy, request: Callable[[], T], pace: Pace | None = None) -> T:
    """Run `request` until it succeeds, fails for good, or patience ends."""
    backoff = Backoff(policy, pace)
    while True:
        try:
            return request()
        except (StoreUnreachable, IntegrityError) as error:
            backoff.wait(error)
