"""Checkpoint sets as the store holds them, and which one LATEST names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeGuard

from launcher.errors import IntegrityError, NotFound
from launcher.jsontext import parse_json
from launcher.runfolder.paths import LATEST, SET_NAME
from launcher.runfolder.smallfiles import read_small_object
from launcher.storage.base import ObjectStore

MOST_ATTEMPTS = 10**9


@dataclass(frozen=True, slots=True)
class Latest:
    """What checkpoints/LATEST says."""

    step: int
    epoch: int
    path: str
    attempt: int

    def to_json(self) -> bytes:
        """The object's content."""
        value = {"step": self.step, "epoch": self.epoch, "path": self.path, "attempt": self.attempt}
        return (json.dumps(value) + "\n").encode()


def read_latest(store: ObjectStore) -> Latest | None:
    """LATEST of a run, or None when there is none that can be understood."""
    value = read_json(store, LATEST)
    try:
        latest = Latest(int(value["step"]), int(value["epoch"]), str(value["path"]), int(value["attempt"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return latest if is_attempt(latest.attempt) and latest.step >= 0 else None


def is_attempt(value: object) -> TypeGuard[int]:
    """Whether this can be an attempt: a damaged number must not end a run because of an attempt that never was."""
    return isinstance(value, int) and 0 <= value < MOST_ATTEMPTS


def read_json(store: ObjectStore, key: str) -> dict[str, Any]:
    """A small JSON object from the store; empty when it is absent or damaged."""
    try:
        value = parse_json(read_small_object(store, key))
    except (NotFound, IntegrityError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def remote_sets(store: ObjectStore) -> dict[int, set[str]]:
    """Names of the objects of each set in the store, by step; a set is complete only with its manifest."""
    names: dict[int, set[str]] = {}
    for info in store.list("checkpoints/step-"):
        folder, _, name = info.key.removeprefix("checkpoints/").partition("/")
        match = SET_NAME.fullmatch(folder)
        if match and name:
            names.setdefault(int(match[1]), set()).add(name)
    return names
