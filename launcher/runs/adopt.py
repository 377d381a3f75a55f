"""Runs that were submitted from another machine: their platform is asked for the job that runs them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from launcher.backends import get_backend
from launcher.backends.base import Finds, Handle
from launcher.errors import LauncherError
from launcher.runs.index import RunEntry

if TYPE_CHECKING:  # a table of runs does not need it
    from launcher.runs.trust import FoundPlan

KEPT_S = 60.0
"""Seconds for which an answer is kept: a program that follows a run looks twice a second."""

_known: dict[str, tuple[float, Handle | None, str]] = {}


def adopted(entry: RunEntry) -> tuple[RunEntry, str]:
    """The entry with the handle of its job, or the reason why there is none. Never raises. Asks nobody for a run of this machine."""
    backend = get_backend(entry.backend)
    if entry.handle is not None or entry.final is not None or not isinstance(backend, Finds):
        return entry, ""
    asked_at, handle, why = _known.get(entry.store.url, (0.0, None, ""))
    if not asked_at or time.monotonic() - asked_at > KEPT_S:
        from launcher.runs.trust import find_plan  # imports the plan, which a table of runs does not need

        try:
            handle, why = _find(backend, find_plan(entry), entry)
        except LauncherError as error:  # also credentials that this machine does not have
            handle, why = None, f"the platform can't be asked: {error.what}"
        _known[entry.store.url] = (time.monotonic(), handle, why)
    return entry.model_copy(update={"handle": handle}), why


def _find(backend: Finds, found: FoundPlan, entry: RunEntry) -> tuple[Handle | None, str]:
    """Raises LauncherError."""
    plan = found.plan
    if entry.named_by_url and plan.store.url != entry.store.url:
        return None, f"this folder is a copy; the run's own is {plan.store.url}"
    handle = backend.find(plan, trusted=found.ours)
    return handle, "" if handle else "the platform knows no job of this run"
