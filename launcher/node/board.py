"""Node 0 of a large run gathers the heartbeats of all machines in one object, so that `status` reads that and not a thousand of them."""

from __future__ import annotations

import logging
import threading
import time

from launcher.errors import StoreError
from launcher.node.cadence import BOARD_S, FEW_NODES
from launcher.node.rendezvous.folder import MessageFolder, follower_of
from launcher.node.upload import BackgroundUpload
from launcher.plan.model import Plan
from launcher.runfolder import paths
from launcher.runfolder.board import Board, Posted
from launcher.runfolder.states import NodeStatus
from launcher.threads import join, started

log = logging.getLogger("launcher.node")

BOARD = paths.BOARD.removeprefix(paths.STATUS)
STORE_PATIENCE_S = 10.0
LAST_S = 30.0
"""After the end of the run the heartbeats that came last are gathered for at most so long."""


class StatusBoard:
    """Does nothing on other machines than node 0, and in runs on few machines. Never raises: without a board heartbeats are read singly."""

    def __init__(self, plan: Plan, node: int, upload: BackgroundUpload) -> None:
        self._nodes, self._upload = plan.nodes, upload
        active = node == 0 and plan.nodes > FEW_NODES
        self._heartbeats = (
            MessageFolder(plan.store.open(STORE_PATIENCE_S), paths.STATUS, confirm=False) if active else None
        )
        self._posted: dict[int, Posted] = {}
        self._written: Board | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="board", daemon=True)

    def start(self) -> None:
        if self._heartbeats is not None:
            started(self._thread)

    def end(self, *, last: bool) -> None:
        """Stop; with `last`, gather once more what the machines wrote at their end. Blocks for a minute at most."""
        self._end.set()
        if self._heartbeats is None:
            return
        join(self._thread, LAST_S)
        if last and not self._thread.is_alive():
            self._refresh(self._heartbeats, time.monotonic() + LAST_S)

    def _run(self) -> None:
        assert self._heartbeats is not None
        while not self._end.wait(BOARD_S):
            self._refresh(self._heartbeats)

    def _refresh(self, heartbeats: MessageFolder, deadline: float = float("inf")) -> None:
        """Read the heartbeats that have changed, and write the board if it has, too: also when the store did not give all of them."""
        try:
            for name in heartbeats.changed():
                node = follower_of(name)
                if node is not None and node < self._nodes:
                    self._read(node, name, heartbeats)
                if time.monotonic() > deadline:
                    break
        except StoreError as error:  # the next one tries again
            log.info("the heartbeats can't all be gathered: %s", error)
        self._write(heartbeats)

    def _write(self, heartbeats: MessageFolder) -> None:
        posted = tuple(each for _, each in sorted(self._posted.items()))
        board = Board(attempt=self._upload.attempt, posted=posted)
        if board == self._written or self._upload.superseded.is_set():
            return
        try:
            heartbeats.write_text(BOARD, board.model_dump_json(exclude_defaults=True))
            self._written = board
        except StoreError as error:
            log.info("the gathered heartbeats can't be written: %s", error)

    def _read(self, node: int, name: str, heartbeats: MessageFolder) -> None:
        listed = heartbeats.listed
        status = heartbeats.read(name, NodeStatus)
        if status is not None and listed is not None and status.node == node:
            self._posted[node] = Posted(status=status, etag=listed.etag, heard_at=listed.mtime)
