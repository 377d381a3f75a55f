"""The report of one upload pass: what is in the store now, and what is not yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from launcher.errors import StoreError, StoreUnreachable


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
    latest_file: str = ""
    removed_steps: tuple[int, ...] = ()
    problems: tuple[str, ...] = ()
    superseded: bool = False
    error: str = ""

    @property
    def complete(self) -> bool:
        """True when nothing waits."""
        return not self.pending and not self.error

    def failed(self, failure: StoreError | None, url: str, run_dir: Path) -> StoreError:
        """The store's error, with the names of what is not in the store yet."""
        names = ", ".join(each.key for each in self.pending[:5])
        more = f" and {len(self.pending) - 5} more" if len(self.pending) > 5 else ""
        kind = type(failure) if failure else StoreUnreachable
        cause = failure.what if failure else (self.pending[0].reason if self.pending else self.error)
        waiting = f"; not safe in the store yet: {names}{more}" if names else ""
        return kind(
            f"{cause}{waiting}",
            where=failure.where if failure else url,
            hint=(failure.hint if failure else "") or f"the files are in {run_dir}",
        )


@dataclass
class SyncProgress:
    """What one pass of `sync` has done so far. After a `failure` of the store nothing more is uploaded."""

    uploaded: list[str] = field(default_factory=list)
    bytes: int = 0
    pending: list[Pending] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    failure: StoreError | None = None

    def note_rest(self, waiting: Iterable[tuple[str, int]]) -> None:
        """After a failure: keys and sizes of what waits for the store, but for what is noted already."""
        known = {each.key for each in self.pending}
        reason = self.failure.what if self.failure else ""
        self.pending += [Pending(key, size, reason) for key, size in waiting if key not in known]
