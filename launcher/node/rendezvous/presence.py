"""Which machines were heard of, and when. Silence counts only while the store answers."""

from __future__ import annotations

import time
from collections.abc import Set
from dataclasses import dataclass

from launcher.node.rendezvous.timing import Timing


@dataclass(frozen=True, slots=True)
class Silence:
    """A machine that fell silent, and for how long."""

    node: int
    seconds: float


class Presence:
    """The clocks of one attempt. Not thread-safe: the caller holds its lock."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._heard_at: dict[int, float] = {}
        self._waiting_since = time.monotonic()
        self._store_is_down = False

    def reset(self) -> None:
        """A new attempt begins: nobody was heard of yet."""
        self._heard_at = {}
        self._waiting_since = time.monotonic()

    def note_heard(self, node: int) -> None:
        self._heard_at[node] = time.monotonic()

    def was_heard(self, node: int) -> bool:
        return node in self._heard_at

    def note_store_down(self) -> bool:
        """Record that the store does not answer. True when it did at the last call."""
        was_up, self._store_is_down = not self._store_is_down, True
        return was_up

    def note_store_up(self) -> bool:
        """Record that the store answers. True when it did not at the last call: then every clock starts again."""
        was_down, self._store_is_down = self._store_is_down, False
        if was_down:
            now = time.monotonic()
            self._waiting_since = self._waiting_since if self._heard_at else now
            self._heard_at = dict.fromkeys(self._heard_at, now)
        return was_down

    def silence(self, finished: Set[int] = frozenset()) -> Silence | None:
        """The first machine that is lost, if any. Machines in `finished` may be silent."""
        if self._store_is_down:
            return None
        now = time.monotonic()
        for node, heard_at in sorted(self._heard_at.items()):
            if node not in finished and now - heard_at > self._timing.lost_s:
                return Silence(node, now - heard_at)
        return None

    def overdue_s(self) -> float:
        """How long this attempt has waited for machines to arrive, once that is too long; until then 0."""
        waited = time.monotonic() - self._waiting_since
        return 0.0 if self._store_is_down or waited < self._timing.arrive_s else waited
