"""Every file and object name of a run. Nothing here reads or writes a disk."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

JOB = "job.yaml"
PLAN = "plan.json"
RECORD = "record.json"
SIGNATURE = "plan.sig"
STATE = "state.json"
RUN_MANIFEST = "MANIFEST.json"
LATEST = "checkpoints/LATEST"
BEST = "checkpoints/best.json"
SET_MANIFEST = "manifest.json"
SET_NAME = re.compile(r"step-(0|[1-9][0-9]{0,17})")
ATTEMPTS = "attempts/"
"""One object per attempt that has begun, with the token of its node program. Unlike state.json nobody overwrites it by being late."""
CLAIMS = "claims/"
"""One object per attempt that a command submits, with that command's token."""
PLOG = "plog"
"""Below the logs of a node in one attempt: what CANN logged, a folder for each rank."""
PROFILE = "profile"
"""A folder for each machine: traces of its ranks, and the time of their operators."""
TENSORBOARD = "tensorboard"
"""Folder of the event files that `track:` writes; a program may have files of its own there."""
TRACKED_EVENTS = re.compile(rf"{TENSORBOARD}/events\.out\.tfevents\.[^/]*\.launcher")
"""Names of these event files."""
TRACKED_CSV = "tracked.csv"
PARTS = "manifests/"
"""One object per machine: what it uploaded, with sha256."""
STATUS = "status/"
"""Heartbeats, one object per machine."""
BOARD = f"{STATUS}board.json"
"""Of a large run: all heartbeats in one object."""
CANCEL = "cancel.json"
SNAPSHOT = "snapshot.tar.gz"
"""The files of the folder where a program of the user's own was submitted."""
SNAPSHOT_INDEX = "snapshot.json"
SNAPSHOT_ELSEWHERE = ".program"
"""Folder of the snapshot for scripts that lie outside of the submission's folder."""
NOTICES = "notices/"
"""One object per message and target: who sends it, and whether it was sent."""
CATALOGUE = ".runs/"
"""Under `output.url`: one small object per run, so that one listing finds all runs of a store."""

_NOT_RESULTS = (RUN_MANIFEST, STATE, CANCEL)
_NOT_RESULT_FOLDERS = (
    STATUS,
    "rendezvous/",
    "launches/",
    "platform-logs/",
    ATTEMPTS,
    CLAIMS,
    PARTS,
    NOTICES,
)


def node_status_key(node: int) -> str:
    return f"{STATUS}node-{node}.json"


def home(env: Mapping[str, str] = os.environ) -> Path:
    """`$LAUNCHER_HOME`, else `ascend-launcher` under the user's data folder."""
    if value := env.get("LAUNCHER_HOME"):
        return Path(value).expanduser().absolute()
    data = env.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser().absolute() / "ascend-launcher"


@dataclass(frozen=True)
class RunDir:
    """The local directory of one run on one machine: `$LAUNCHER_RUN_DIR` of its ranks."""

    root: Path

    @property
    def plan(self) -> Path:
        return self.root / PLAN

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.json"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def progress(self) -> Path:
        return self.root / "progress"

    def progress_of(self, rank: int) -> Path:
        return self.progress / f"rank-{rank}.jsonl"

    @property
    def work(self) -> Path:
        """Current directory of the ranks: libraries write files there that no user wants."""
        return self.root / "work"

    @property
    def rank_table(self) -> Path:
        return self.root / "rank_table.json"

    @property
    def state(self) -> Path:
        return self.root / STATE

    @property
    def cancel(self) -> Path:
        return self.root / CANCEL

    @property
    def stop(self) -> Path:
        """Written by a platform that is about to end its part; the text says why."""
        return self.root / "stop"

    def node_status(self, node: int) -> Path:
        return self.root / node_status_key(node)

    def logs(self, attempt: int, node: int) -> Path:
        return self.root / "logs" / f"attempt-{attempt}" / f"node-{node}"

    def rank_log(self, attempt: int, node: int, rank: int) -> Path:
        return self.logs(attempt, node) / f"rank-{rank}.log"

    def plogs(self, attempt: int, node: int) -> Path:
        """What CANN logged of the ranks of a node, one folder for each rank."""
        return self.logs(attempt, node) / PLOG

    def node_log(self, attempt: int, node: int) -> Path:
        return self.logs(attempt, node) / "node.log"


def part_key(node: int) -> str:
    """The object with the part of one machine."""
    return f"{PARTS}node-{node}.json"


def is_result(key: str) -> bool:
    """Whether MANIFEST.json should name it."""
    return key not in _NOT_RESULTS and not key.startswith(_NOT_RESULT_FOLDERS) and not key.endswith("/")
