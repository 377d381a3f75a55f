"""Records of what this machine has uploaded, kept over restarts of its node program.

The ledger saves work and shows what is safe. Without it everything is uploaded again; no result is lost.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from launcher.disk import write_atomic
from launcher.errors import StoreError

log = logging.getLogger("launcher.node")


@dataclass(frozen=True, slots=True)
class Record:
    """One uploaded object: size and time of the file, sha256 of its content, ETag of the object."""

    size: int
    mtime_ns: int
    sha256: str
    etag: str


class Ledger:
    """The records by key, and the state of each checkpoint set: "uploading" or "safe"."""

    def __init__(self, path: Path, url: str) -> None:
        self._path = path
        self._url = url
        self._saved = b""
        self._failing = False
        self.objects: dict[str, Record] = {}
        self.sets: dict[int, str] = {}
        try:
            value = json.loads(path.read_bytes())
            if value["format"] == 1 and value["store"] == url:
                self.objects = {key: Record(**record) for key, record in value["objects"].items()}
                self.sets = {int(step): str(state) for step, state in value["sets"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.objects, self.sets = {}, {}

    def save(self) -> None:
        """Write it durably if it has changed. An error of the disk is only logged: the uploads themselves are done."""
        value: dict[str, Any] = {
            "format": 1,
            "store": self._url,
            "sets": {str(step): state for step, state in sorted(self.sets.items())},
            "objects": {key: asdict(record) for key, record in sorted(self.objects.items())},
        }
        data = (json.dumps(value, indent=1) + "\n").encode()
        if data != self._saved:
            try:
                write_atomic(self._path, data)
            except StoreError as error:
                if not self._failing:
                    log.error("the list of uploads can't be written: %s", error)
                self._failing = True
                return
            self._failing, self._saved = False, data

    def forget_set(self, step: int) -> None:
        """Remove a set and its objects from the ledger."""
        prefix = f"checkpoints/step-{step}/"
        self.objects = {key: record for key, record in self.objects.items() if not key.startswith(prefix)}
        self.sets.pop(step, None)
