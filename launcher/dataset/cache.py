"""A data set on the local disk while it is being filled: its listing, what is missing, its space, its marker.

<cache_dir>/datasets/<digest>.lock          held by the process that fills it
<cache_dir>/datasets/<digest>.status.json   how far that process is, for those who wait
<cache_dir>/datasets/<digest>/listing.tsv   key, size, ETag of every object
<cache_dir>/datasets/<digest>/digests.tsv   key, sha256 of files that were verified by it: their ETags may prove nothing
<cache_dir>/datasets/<digest>/files/...     the objects, each under its final name only when verified
<cache_dir>/datasets/<digest>/COMPLETE.json written last
"""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from launcher.disk import digest_file, is_temporary, mapped, write_atomic
from launcher.jsontext import parse_json
from launcher.storage.base import ObjectInfo
from launcher.storage.contents import Listing

DIGESTS = "digests.tsv"


@dataclass(frozen=True, slots=True)
class Marker:
    """The content of COMPLETE.json."""

    source: str
    digest: str
    files: int
    bytes: int
    format: int = 1

    def write(self, path: Path) -> None:
        """Write the marker, synced to disk; the last file of a data set."""
        write_atomic(path, (json.dumps(asdict(self), indent=1) + "\n").encode())


def read_marker(path: Path) -> Marker | None:
    """The marker, or None when there is none that can be understood."""
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
        return Marker(**value) if value.get("format") == 1 else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


class DigestLog:
    """Appends the sha256 of files that were fetched and verified by it. Any thread may call `add`; close it afterwards."""

    def __init__(self, file: Path) -> None:
        with mapped(file):
            self._output = file.open("a", buffering=1, encoding="utf-8", newline="\n")
        self._lock = threading.Lock()

    def add(self, fetched: ObjectInfo) -> None:
        """Note one file, if its sha256 is known."""
        if fetched.sha256:
            with self._lock:
                self._output.write(f"{fetched.key}\t{fetched.sha256}\n")

    def close(self) -> None:
        """Write what is left."""
        self._output.close()


def read_digests(file: Path) -> dict[str, str]:
    """The sha256 by key; the later line counts. A line that a crash cut short counts as none."""
    digests: dict[str, str] = {}
    try:
        with file.open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                key, _, digest = line.partition("\t")
                if len(digest) == 65 and digest.endswith("\n"):
                    digests[key] = digest[:-1]
    except FileNotFoundError:
        pass
    return digests


def missing(root: Path, listing: Listing, *, trust: bool) -> Iterator[ObjectInfo]:
    """Entries without a good file. With `trust` the size decides, since names are given only after verification;
    without it (the machine crashed meanwhile) the content is read where a digest is known, else fetched again."""
    digests = {} if trust else read_digests(root.with_name(DIGESTS))
    for info in listing.entries():
        path = f"{root}/{info.key}"
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            yield info
            continue
        good = stat.S_ISREG(status.st_mode) and status.st_size == info.size
        if good and not trust:
            good = _content_is(Path(path), info, digests.get(info.key))
        if not good:
            yield info


def _content_is(path: Path, info: ObjectInfo, sha256: str | None) -> bool:
    """Read a file against the sha256 noted when it was fetched, or that an entry of a packed data set ends with, or its MD5."""
    packed = info.etag.rpartition(":")[2]
    sha256 = sha256 or (packed if len(packed) == 64 else None)
    if sha256:
        return digest_file(path).sha256 == sha256
    return info.md5 is not None and digest_file(path).md5 == info.md5


def remove_parts(root: Path) -> None:
    """Remove what an earlier process left half-fetched under our own temporary names; nothing else."""
    for folder, _, names in os.walk(root):
        for name in names:
            if is_temporary(name):
                with suppress(OSError):
                    (Path(folder) / name).unlink()
