"""Whether the files of a shard are still those that were packed.

Packing notes what the files of each shard were in its work folder: size and ETag, which on a disk holds mtime in ns and inode, and
there ctime, which a program that writes into a file and sets its time back can't set. Where there is no such note, or it can't tell,
every file is read again and compared with the sha256 in the shard's index. Times alone prove nothing: an older copy of a file has an
older time.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from launcher.dataset.layout import Draft
from launcher.dataset.readahead import read_ahead
from launcher.dataset.shards import Member
from launcher.disk import write_atomic
from launcher.storage.base import ObjectStore

RECENT_S = 2.0
"""A file changed so shortly before it was listed can change again without another time."""


def note_files(folder: Path, draft: Draft, listed_at: float, index: bytes) -> None:
    """Note in `folder` what the files were that the shard of this index was made of. A full disk is no error."""
    if identity := _identity(draft, listed_at):
        with suppress(OSError):
            write_atomic(_note(folder, draft), f"{hashlib.sha256(index).hexdigest()} {identity}\n".encode())


def changed_file(
    source: ObjectStore, draft: Draft, listed_at: float, members: list[Member], index: bytes, folder: Path
) -> str:
    """The key of the first file that is not the one packed; empty when all are. `members` have the draft's keys and sizes.

    Reads the files where the note can't tell, and then notes what they are.
    """
    known = f"{hashlib.sha256(index).hexdigest()} {_identity(draft)}\n".encode()
    with suppress(OSError):
        if _identity(draft) and _note(folder, draft).read_bytes() == known:
            return ""
    for (entry, content), member in zip(read_ahead(source, draft.entries), members, strict=True):
        digest = hashlib.sha256()
        for piece in content:
            digest.update(piece)
        if digest.hexdigest() != member.sha256:
            return entry.key
    note_files(folder, draft, listed_at, index)
    return ""


def _note(folder: Path, draft: Draft) -> Path:
    return folder / f"{draft.name}.files"


def _identity(draft: Draft, listed_at: float | None = None) -> str:
    """A digest of what is known of all files; empty when one has no ETag, or was changed just before `listed_at`."""
    digest = hashlib.sha256()
    for entry in draft.entries:
        recent = listed_at is not None and entry.mtime > listed_at - RECENT_S
        if recent or not entry.etag:
            return ""
        digest.update(f"{entry.size}\t{entry.etag}\t{entry.ctime_ns}\t{entry.key}\n".encode())
    return digest.hexdigest()
