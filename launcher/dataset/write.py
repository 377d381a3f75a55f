"""One shard: its files are read ahead by several threads, written to a local tar file, and uploaded with an index.

The index is put last, so a shard whose index is there is complete.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.dataset.layout import Draft, ShardFile
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
from launcher.dataset.stream import PIECE_BYTES, pieces
from launcher.disk import mapped, write_all
from launcher.errors import IntegrityError, StoreError
from launcher.portable import PLAIN_FILE
from launcher.storage.address import StoreAddress
from launcher.storage.base import ObjectStore

READERS = 8
AHEAD_BYTES = 64 << 20


@dataclass(frozen=True)
class Task:
    """All that a process needs to make one shard. `scratch` is a local folder."""

    source: StoreAddress
    dest: StoreAddress
    draft: Draft
    scratch: Path


def make_shard(task: Task) -> tuple[Shard, bool]:
    """The shard, now in the store; the flag says that an earlier run had made it. Safe to repeat."""
    dest = task.dest.open()
    if done := find_shard(dest, task.draft):
        return done, True
    source = task.source.open()
    file = task.scratch / f"{task.draft.name}.tar"
    try:
        tar_bytes, tar_sha256, members = _write_tar(source, task.draft, file)
        index = dump_index(tar_bytes, tar_sha256, members)
        dest.delete(index_key(task.draft.name))  # left by an earlier packing with other content
        dest.put_file(tar_key(task.draft.name), file)
        dest.put(index_key(task.draft.name), index)
    finally:
        with suppress(OSError):
            file.unlink()
    return _shard(task.draft, tar_bytes, tar_sha256, members, index), False


def find_shard(dest: ObjectStore, draft: Draft) -> Shard | None:
    """The shard that an earlier, unfinished run left, if it holds just these files and none of them changed since."""
    info = dest.head(index_key(draft.name))
    if info is None or (info.mtime and any(entry.mtime >= info.mtime for entry in draft.entries)):
        return None
    data = dest.read(index_key(draft.name))
    try:
        tar_bytes, tar_sha256, members = parse_index(data, dest.join(index_key(draft.name)))
    except StoreError:
        return None
    same = [(each.key, each.size) for each in members] == [(each.key, each.size) for each in draft.entries]
    tar = dest.head(tar_key(draft.name)) if same else None
    if tar is None or tar.size != tar_bytes:
        return None
    return _shard(draft, tar_bytes, tar_sha256, members, data)


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
        for entry, content in _read_ahead(source, draft.entries):
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


def _read_ahead(source: ObjectStore, entries: list[ShardFile]) -> Iterator[tuple[ShardFile, Iterator[bytes]]]:
    """Files in order, small ones read by several threads within bounded memory, large ones piece by piece."""
    waiting: deque[tuple[ShardFile, Future[bytes] | None]] = deque()
    ahead, following = 0, iter(entries)
    with ThreadPoolExecutor(READERS, thread_name_prefix="read") as pool:
        try:
            while True:
                while ahead < AHEAD_BYTES and len(waiting) < 4 * READERS:
                    entry = next(following, None)
                    if entry is None:
                        break
                    small = entry.size <= PIECE_BYTES
                    waiting.append((entry, pool.submit(_read_small, source, entry) if small else None))
                    ahead += entry.size if small else 0
                if not waiting:
                    return
                entry, future = waiting.popleft()
                if future is None:
                    yield entry, pieces(source, entry.key, entry.size)
                else:
                    ahead -= entry.size
                    yield entry, iter((future.result(),))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _read_small(source: ObjectStore, entry: ShardFile) -> bytes:
    data = source.read(entry.key)
    if len(data) != entry.size:
        raise IntegrityError(
            f"the object changed: listed with {entry.size} bytes, now {len(data)} bytes",
            where=source.join(entry.key),
            hint="something is still writing there; wait for it to end, then run again",
        )
    return data
