"""`status/board.json`: the heartbeats of all machines of a large run in one object, gathered by node 0.

It is a copy. A reader compares it with the listing of the heartbeats themselves, and reads those that it can't have from the board.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, ValidationError

from launcher.runfolder.paths import node_status_key
from launcher.runfolder.states import Moment, NodeStatus, RunState
from launcher.storage.base import ObjectInfo

OLD_S = 180.0
"""Node 0 writes the board every half minute; one that is older than the newest heartbeat by so much is no longer kept up."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer launcher may have written more


class Posted(_Value):
    """One heartbeat, and the version of its object: `heard_at` is when it was written, by the clock of the store."""

    status: NodeStatus
    etag: str = ""
    heard_at: Moment = 0.0


class Board(_Value):
    """`attempt` is that of node 0."""

    attempt: int
    posted: tuple[Posted, ...] = ()


def parse_board(data: bytes) -> Board | None:
    """None for a damaged board."""
    try:
        return Board.model_validate_json(data)
    except ValidationError:
        return None


def believed(
    board: Board, written_at: float, heartbeats: Mapping[str, ObjectInfo], state: RunState
) -> dict[str, NodeStatus]:
    """The heartbeats that need not be read, by key. `written_at`: when the board was, by the clock of the store.

    Of a run that lives a board may be a little behind its heartbeats; after the end each must be the last word of its machine.
    The board of another attempt than that of `state` is not believed at all.
    """
    if board.attempt != state.attempt:
        return {}
    newest = max((info.mtime for info in heartbeats.values()), default=0.0)
    exact = state.state.terminal or newest - written_at > OLD_S
    found = {}
    for posted in board.posted:
        key = node_status_key(posted.status.node)
        listed = heartbeats.get(key)
        if listed is None or (exact and (listed.etag, listed.mtime) != (posted.etag, posted.heard_at)):
            continue
        found[key] = posted.status
    return found
