"""The report of one upload pass: what is in the store now, and what is not yet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pending:
    """Something that is not safe in the store yet, and why."""

    key: str
    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class CollectReport:
    """One `sync`. `safe` counts objects; `error` is empty unless the store failed, `pending` then lists what waits."""

    uploaded: tuple[str, ...]
    bytes: int
    safe: int
    pending: tuple[Pending, ...]
    latest_step: int | None
    removed_steps: tuple[int, ...] = ()
    problems: tuple[str, ...] = ()
    superseded: bool = False
    error: str = ""

    @property
    def complete(self) -> bool:
        """True when nothing waits."""
        return not self.pending and not self.error
