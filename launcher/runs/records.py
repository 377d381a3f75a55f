"""What a run itself has written: its state and the heartbeats of its machines, from this machine or from the store."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from launcher.errors import IntegrityError, NotFound, StoreError
from launcher.runfolder import paths
from launcher.runfolder.board import Board, believed, parse_board
from launcher.runfolder.smallfiles import read_small, read_small_object
from launcher.runfolder.states import NodeStatus, RunState, State
from launcher.runs.index import RunEntry
from launcher.storage import ObjectStore, open_store

DAMAGED_STATE = "state.json is damaged; logs, fetch-results and retry still work"
GLANCE_S = 2.0
"""Patience with a store when the answer is most likely known."""


@dataclass(frozen=True, slots=True)
class Records:
    """The files of one run at one moment."""

    state: RunState
    nodes: tuple[NodeStatus, ...] = ()
    source: ObjectStore | None = None
    """Where they were read; None for those that are remembered."""

    @property
    def heard_at(self) -> float:
        """What the newest of these files says of its time, by the clock of the machine that wrote it: to be shown, not judged by."""
        return max([self.state.updated_at, *(node.updated_at for node in self.nodes)])

    def silent_s(self) -> float | None:
        """How long ago the newest of these files was written, by the clock of what holds them: the store or the file system.

        None when that can't be told. Whatever time it is on this machine or on the run's, the answer is the same.
        """
        if self.source is None:
            return None
        try:
            state = self.source.head(paths.STATE)
            found = [*self.source.list(paths.STATUS), *([state] if state else [])]
            now = self.source.now()
        except StoreError:
            return None
        return min((abs(now - info.mtime) for info in found if info.mtime), default=None)


def read_records(entry: RunEntry, patience_s: float, *, here: bool = True) -> Records:
    """From this machine when the run lives on it and `here` is true, else from the store.

    A run without a state that can be read is UNKNOWN. Raises StoreError.
    """
    path = entry.run_dir.state
    if here and entry.is_here and os.path.lexists(path):
        state = parse_state(bytes_here(path)) or stored_state(entry)  # a damaged file: the store has a copy
        here_now = open_store(str(entry.run_dir.root))
        return Records(state or without_state(entry, DAMAGED_STATE), local_nodes(entry), here_now)
    store = entry.store.open(patience_s)
    try:
        state = parse_state(_stored(store, paths.STATE))
    except NotFound:
        return Records(without_state(entry))
    return Records(state or without_state(entry, DAMAGED_STATE), _stored_nodes(store, state), store)


def _stored_nodes(store: ObjectStore, state: RunState | None) -> tuple[NodeStatus, ...]:
    """Heartbeats in the store: of a large run those that its board has, and each of the others by itself. Raises StoreError."""
    heartbeats = {info.key: info for info in store.list(paths.STATUS)}
    listed = heartbeats.pop(paths.BOARD, None)
    known: dict[str, NodeStatus] = {}
    if listed is not None and state is not None and (board := _stored_board(store)):
        known = believed(board, listed.mtime, heartbeats, state)
    read = _parse_nodes(_stored(store, key) for key in heartbeats if key not in known)
    return tuple(sorted([*known.values(), *read], key=lambda node: node.node))


def _stored_board(store: ObjectStore) -> Board | None:
    """None for one that is damaged, or was removed since it was listed. Raises StoreError."""
    try:
        return parse_board(_stored(store, paths.BOARD))
    except NotFound:
        return None


def stored_state(entry: RunEntry) -> RunState | None:
    """The state in the store; None when there is none, or no quick answer."""
    try:
        return parse_state(_stored(entry.store.open(GLANCE_S), paths.STATE))
    except StoreError:
        return None


def local_nodes(entry: RunEntry) -> tuple[NodeStatus, ...]:
    """Heartbeats in the run's directory on this machine."""
    files = sorted((entry.run_dir.root / "status").glob("node-*.json"))
    return _parse_nodes(map(bytes_here, files))


def bytes_here(path: Path) -> bytes:
    """Empty for a file that can't be read, such as a folder or a link in its place, and for one that is far too large."""
    try:
        return read_small(path)
    except (OSError, IntegrityError):
        return b""


def _stored(store: ObjectStore, key: str) -> bytes:
    """Empty for an object that is damaged or far too large. Raises StoreError."""
    try:
        return read_small_object(store, key)
    except IntegrityError:
        return b""


def cancel_requested(entry: RunEntry) -> bool:
    """Whether somebody asked for the end of the run, from any machine. False when the store does not answer."""
    if not entry.named_by_url and entry.run_dir.cancel.exists():
        return True
    try:
        return entry.store.open(GLANCE_S).head(paths.CANCEL) is not None
    except StoreError:
        return False


def without_state(entry: RunEntry, reason: str = "no state.json in the run's folder") -> RunState:
    """The state of a run of which nothing can be read."""
    return RunState(
        run_id=entry.run_id,
        name=entry.name,
        backend=entry.backend,
        state=State.UNKNOWN,
        reason=reason,
        submitted_at=entry.submitted_at,
        updated_at=entry.submitted_at,
        url=entry.store.url,
    )


def parse_state(data: bytes) -> RunState | None:
    """None for a damaged state.json."""
    try:
        return RunState.model_validate_json(data)
    except ValidationError:
        return None


def _parse_nodes(texts: Iterable[bytes]) -> tuple[NodeStatus, ...]:
    nodes = []
    for text in texts:
        try:
            nodes.append(NodeStatus.model_validate_json(text))
        except ValidationError:
            continue
    return tuple(sorted(nodes, key=lambda node: node.node))
