"""One shard: its files are read ahead by several threads, written to a local tar file, and uploaded with an index.

The index is put last, so a shard whose index is there is complete.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.dataset.layout import Draft
from launcher.dataset.readahead import read_ahead
from launcher.dataset.shards import (
    END,
    Member,
    Shard,
    dump_index,
    index_key,
    padding,
    parse_index,
    tar_header,
    tar_key,
)
from launcher.dataset.unchanged import changed_file, note_files
from launcher.disk import mapped, write_all
from launcher.errors import NotFound, StoreError, UsageError
from launcher.portable import PLAIN_FILE
from launcher.storage.address import StoreAddress
from launcher.storage.base import ObjectStore


@dataclass(frozen=True)
class Task:
    """All that a process needs to make one shard. `scratch` is a local folder; `listed_at` is when the source was listed, by its own time."""

    source: StoreAddress
    dest: StoreAddress
    draft: Draft
    scratch: Path
    listed_at: float


@dataclass(frozen=True)
class Made:
    """A shard that is in the store. `kept` tells that an earlier run had made it of the same files."""

    shard: Shard
    kept: bool


def make_shard(task: Task) -> Made:
    """The shard, now in the store. Safe to repeat."""
    source, dest = task.source.open(), task.dest.open()
    found = find_shard(dest, task.draft)
    if found and not changed_file(source, task.draft, task.listed_at, *found.content, task.scratch):
        return Made(found.shard, True)
    file = task.scratch / f"{task.draft.name}.tar"
    try:
        tar_bytes, tar_sha256, members = _write_tar(source, task.draft, file)
        index = dump_index(tar_bytes, tar_sha256, members)
        dest.delete(index_key(task.draft.name))  # left by an earlier packing with other content
        dest.put_file(tar_key(task.draft.name), file, sha256=tar_sha256)
        note_files(task.scratch, task.draft, task.listed_at, index)
        dest.put(index_key(task.draft.name), index)
    finally:
        with suppress(OSError):
            file.unlink()
    return Made(_shard(task.draft, tar_bytes, tar_sha256, members, index), False)


def check_shard(task: Task) -> Made:
    """The shard that the store holds. Raises UsageError unless it was made of these files as they are now."""
    dest = task.dest.open()
    found = find_shard(dest, task.draft)
    if found is None:
        raise another_set(dest, f"{index_key(task.draft.name)} lists other files")
    key = changed_file(task.source.open(), task.draft, task.listed_at, *found.content, task.scratch)
    if key:
        raise another_set(dest, f"{key!r} was changed after it was packed")
    return Made(found.shard, True)


def another_set(dest: ObjectStore, reason: str) -> UsageError:
    """For a destination that is complete, and so never changed, but was not made of this source."""
    return UsageError(
        f"{dest.url} already holds another packed data set: {reason}",
        where="DST",
        hint="name an empty folder, or remove packed.json there to bring the shards up to date",
    )


@dataclass(frozen=True)
class Found:
    """A shard that an earlier run left in the store, with its members and the bytes of its index."""

    shard: Shard
    content: tuple[list[Member], bytes]


def find_shard(dest: ObjectStore, draft: Draft) -> Found | None:
    """The complete shard of that name in the store, if it has files of these names and sizes."""
    try:
        index = dest.read(index_key(draft.name))
    except NotFound:
        return None
    try:
        tar_bytes, tar_sha256, members = parse_index(index, dest.join(index_key(draft.name)))
    except StoreError:  # not whole, or not ours
        return None
    same = [(each.key, each.size) for each in members] == [(each.key, each.size) for each in draft.entries]
    tar = dest.head(tar_key(draft.name)) if same else None
    if tar is None or tar.size != tar_bytes:
        return None
    return Found(_shard(draft, tar_bytes, tar_sha256, members, index), (members, index))


def _shard(draft: Draft, tar_bytes: int, tar_sha256: str, members: list[Member], index: bytes) -> Shard:
    return Shard(
        name=draft.name,
        split=draft.split,  # type: ignore[arg-type]  # the model checks it
        files=len(members),
        images=draft.images,
        payload=sum(each.size for each in members),
        bytes=tar_bytes,
        sha256=tar_sha256,
        index_bytes=len(index),
        index_sha256=hashlib.sha256(index).hexdigest(),
    )


def _write_tar(source: ObjectStore, draft: Draft, file: Path) -> tuple[int, str, list[Member]]:
    """Size, sha256 and members of the tar file that is at `file` afterwards."""
    members: list[Member] = []
    with mapped(file):
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | PLAIN_FILE, 0o600)
    try:
        output = _Output(handle, file)
        for entry, content in read_ahead(source, draft.entries):
            output.add(tar_header(entry.key, entry.size))
            offset, digest = output.size, hashlib.sha256()
            for piece in content:
                output.add(piece)
                digest.update(piece)
            output.add(bytes(padding(entry.size)))
            members.append(Member(entry.key, offset, entry.size, digest.hexdigest()))
        output.add(END)
    finally:
        os.close(handle)
    return output.size, output.sha256.hexdigest(), members


class _Output:
    def __init__(self, handle: int, file: Path) -> None:
        self._handle, self._file = handle, file
        self.size = 0
        self.sha256: Any = hashlib.sha256()

    def add(self, data: bytes) -> None:
        if data:
            with mapped(self._file):
                write_all(self._handle, data)
            self.sha256.update(data)
            self.size += len(data)
