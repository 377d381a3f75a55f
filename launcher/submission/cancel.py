"""Ask a run to stop with a checkpoint."""

from __future__ import annotations

import json
import time

from launcher.backends import get_backend
from launcher.backends.base import Ends
from launcher.disk import write_private
from launcher.errors import BackendError, NotFound, StoreError
from launcher.jsontext import parse_json
from launcher.runfolder import paths
from launcher.runfolder.smallfiles import read_small_object
from launcher.runs.adopt import adopted
from launcher.runs.index import RunEntry

AGAIN_S = 60.0
GLANCE_S = 2.0


def cancel(entry: RunEntry) -> None:
    """Ask a run to stop with a checkpoint. Works from any machine that can write to the run's folder. Does not wait."""
    first_at, now = _asked_before(entry)
    request = json.dumps({"requested_at": now, "first_at": first_at or now})
    stored: StoreError | None = None
    try:
        entry.store.open().put(paths.CANCEL, request.encode())
    except StoreError as error:
        stored = error
    local: StoreError | None = None
    has_folder = not entry.named_by_url and entry.run_dir.root.is_dir()
    if has_folder:
        try:
            write_private(entry.run_dir.cancel, request)
        except StoreError as error:  # a full disk must not prevent the signal
            local = error
    entry, _ = adopted(entry)
    if entry.handle:
        backend = get_backend(entry.backend)
        try:
            if isinstance(backend, Ends) and first_at and now - first_at >= AGAIN_S:
                backend.terminate(entry.handle)
            else:
                backend.cancel(entry.handle)
        except BackendError:
            if stored:
                raise  # else the run finds the request in its folder
    if stored and (local or not has_folder):
        raise stored


def _asked_before(entry: RunEntry) -> tuple[float, float]:
    """Time of the first request to stop, 0 when there is none, and the time now: both by the store's clock.

    This machine's clock, and no first request, when the store does not answer quickly.
    """
    try:
        store = entry.store.open(GLANCE_S)
        now = store.now()
        value = parse_json(read_small_object(store, paths.CANCEL))
    except NotFound:
        return 0.0, now
    except (StoreError, ValueError):
        return 0.0, time.time()
    try:
        return float(value.get("first_at") or value["requested_at"]), now
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return 0.0, now
