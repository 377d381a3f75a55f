"""Which attempt of a run is the newest."""

from __future__ import annotations

from launcher.runfolder.paths import ATTEMPTS, STATE
from launcher.runfolder.sets import read_json, read_latest
from launcher.storage.base import ObjectStore


def newest_attempt(store: ObjectStore) -> int:
    """The highest attempt in the store; 0 when there is none."""
    latest = read_latest(store)
    state = read_json(store, STATE).get("attempt")
    return max(latest.attempt if latest else 0, state if isinstance(state, int) else 0, newest_begun(store))


def newest_begun(store: ObjectStore) -> int:
    """The highest attempt that a node 0 has announced."""
    marks = (info.key.removeprefix(ATTEMPTS) for info in store.list(ATTEMPTS))
    return max((int(mark) for mark in marks if mark.isdecimal()), default=0)
