"""Records of what this machine has uploaded, kept over restarts of its node program.

The ledger saves work and shows what is safe. Without it everything is uploaded again; no result is lost. On the disk it
is a journal, a JSON array per change: a save writes what has changed, and not what a hundred thousand files already wrote.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from launcher.disk import mapped, write_all, write_atomic
from launcher.errors import StoreError
from launcher.jsontext import parse_json
from launcher.runfolder.manifest import ManifestFile
from launcher.storage.base import ObjectInfo, ObjectStore

log = logging.getLogger("launcher.node")

FORMAT = 2
SLACK_LINES = 1000
"""The journal is written anew when it has this many lines more than twice what it says."""


def ledger_name(node: int) -> str:
    """The file of a machine's ledger in its run directory."""
    return "upload.json" if node == 0 else f"upload-node-{node}.json"


@dataclass(frozen=True, slots=True)
class Record:
    """One uploaded object: size and time of the file, sha256 of its content, ETag of the object."""

    size: int
    mtime_ns: int
    sha256: str
    etag: str


def is_uploaded(store: ObjectStore, listed: ObjectInfo, record: Record) -> bool:
    """Whether a listed object is the one that was uploaded. Raises StoreError.

    Some stores list another ETag than they show for the object itself, so one that differs is looked at.
    """
    if listed.size != record.size:
        return False
    if not (record.etag and listed.etag) or listed.etag == record.etag:
        return True
    facts = store.head(listed.key)
    return facts is not None and (facts.size, facts.etag) == (record.size, record.etag)


class Ledger:
    """The records by key, and the state of each checkpoint set: "uploading" or "safe"."""

    def __init__(self, path: Path, url: str) -> None:
        self._path = path
        self._url = url
        self._failing = False
        self._changes: list[str] = []
        self._objects: dict[str, Record] = {}
        self._sets: dict[int, str] = {}
        self._lines = 0
        self._appends = self._read()

    @property
    def objects(self) -> Mapping[str, Record]:
        """What has been uploaded, by key."""
        return MappingProxyType(self._objects)

    @property
    def sets(self) -> Mapping[int, str]:
        """State of each checkpoint set, by step."""
        return MappingProxyType(self._sets)

    def entries(self) -> Iterator[ManifestFile]:
        """What has been uploaded, as lines of a manifest."""
        return (ManifestFile(key, each.size, each.sha256) for key, each in self._objects.items())

    def add(self, key: str, record: Record) -> None:
        """The object has been uploaded."""
        self._objects[key] = record
        self._changes.append(_object_line(key, record))

    def remove(self, key: str) -> None:
        """The object is not in the store, or no longer."""
        if self._objects.pop(key, None) is not None:
            self._changes.append(json.dumps(["gone", key]))

    def set_state(self, step: int, state: str) -> None:
        """How far the upload of a set is."""
        self._sets[step] = state
        self._changes.append(json.dumps(["set", step, state]))

    def forget_set(self, step: int) -> None:
        """Remove a set and its objects from the ledger."""
        prefix = f"checkpoints/step-{step}/"
        for key in [key for key in self._objects if key.startswith(prefix)]:
            self.remove(key)
        if self._sets.pop(step, None) is not None:
            self._changes.append(json.dumps(["no set", step]))

    def save(self) -> None:
        """Write what has changed, durably. An error of the disk is only logged: the uploads themselves are done."""
        if not self._changes:
            return
        lines = self._lines + len(self._changes)
        try:
            if self._appends and lines <= 2 * (len(self._objects) + len(self._sets)) + SLACK_LINES:
                self._append()
            else:
                self._rewrite()
        except StoreError as error:
            if not self._failing:
                log.error("the list of uploads can't be written: %s", error)
            self._failing, self._appends = True, False  # half a line may be there now
            return
        self._failing, self._appends = False, True
        self._changes.clear()

    def _append(self) -> None:
        with mapped(self._path):
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            try:
                write_all(handle, "".join(f"{line}\n" for line in self._changes).encode())
                os.fsync(handle)
            finally:
                os.close(handle)
        self._lines += len(self._changes)

    def _rewrite(self) -> None:
        lines = [json.dumps({"format": FORMAT, "store": self._url})]
        lines += [json.dumps(["set", step, state]) for step, state in self._sets.items()]
        lines += [_object_line(key, record) for key, record in self._objects.items()]
        write_atomic(self._path, "".join(f"{line}\n" for line in lines).encode())
        self._lines = len(lines)

    def _read(self) -> bool:
        """Whether the journal is there, of this store, and whole, so that lines can be appended to it."""
        try:
            data = self._path.read_bytes()
            head, *changes = data.splitlines()
            value = parse_json(head)
            if value["format"] != FORMAT or value["store"] != self._url:
                return False
        except (OSError, ValueError, KeyError, TypeError):
            return False
        try:
            for change in _values(changes):
                self._apply(change)
        except (ValueError, TypeError, LookupError):  # the end of a write that was interrupted
            return False
        return data.endswith(b"\n")

    def _apply(self, change: list[Any]) -> None:
        kind, name, *values = change
        if kind == "object":
            self._objects[name] = Record(*values)
        elif kind == "gone":
            self._objects.pop(name, None)
        elif kind == "set":
            self._sets[int(name)] = str(values[0])
        elif kind == "no set":
            self._sets.pop(int(name), None)
        self._lines += 1


def _values(lines: list[bytes]) -> Iterator[list[Any]]:
    for line in lines:
        value = parse_json(line)
        if not isinstance(value, list):
            raise TypeError(value)
        yield value


def _object_line(key: str, record: Record) -> str:
    return json.dumps(["object", key, record.size, record.mtime_ns, record.sha256, record.etag])
