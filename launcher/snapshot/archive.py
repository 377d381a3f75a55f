"""snapshot.tar.gz: written once at the submission, checked and unpacked into the working folder of every process."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from launcher.disk import replacing, write_all
from launcher.errors import IntegrityError, PlanError
from launcher.runfolder.snapshotindex import SnapshotFile, SnapshotIndex
from launcher.snapshot.select import Selection


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A packed snapshot. The same files with the same times give the same bytes."""

    data: bytes
    digest: str


def pack(selection: Selection) -> Snapshot:
    """Raises PlanError for a file that can't be read. One that was removed meanwhile is left out."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, found in sorted(selection.files.items()):
            if found.target:
                _add_link(archive, name, found.target)
                continue
            try:
                data = found.path.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise PlanError(
                    f"{found.path} can't be read: {error.strerror or error}",
                    where="program",
                    hint="make it readable, or name it in .launcherignore",
                ) from error
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), found.mtime_s, found.mode | 0o600
            archive.addfile(info, io.BytesIO(data))
        for name, target in sorted(selection.links.items()):
            _add_link(archive, name, target)
    packed = buffer.getvalue()
    return Snapshot(packed, hashlib.sha256(packed).hexdigest())


def _add_link(archive: tarfile.TarFile, name: str, target: str) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    archive.addfile(info)


def index_of(data: bytes, folder: str = "", host: str = "") -> SnapshotIndex:
    """What a packed snapshot holds. Raises IntegrityError."""
    files: dict[str, SnapshotFile] = {}
    links: dict[str, str] = {}
    for info, content in _members(data):
        if info.issym():
            links[info.name] = info.linkname
        else:
            sha256 = hashlib.sha256(content).hexdigest()
            files[info.name] = SnapshotFile(len(content), int(info.mtime), sha256)
    return SnapshotIndex(folder, host, files, links)


def unpack(data: bytes, folder: Path) -> None:
    """Bring what is missing into a working folder; what is there already stays, since the program may have changed it.

    Files are whole or absent, and keep their times. One with its old time and other bytes is what a machine that lost
    its power left, and is written again. Raises IntegrityError, OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    inside = folder.resolve()
    links = []
    for info, content in _members(data):
        path = inside / info.name
        if os.path.lexists(path) and not _is_damaged(path, info, content):
            continue
        if info.issym():
            links.append((path, info.linkname))
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.parent.resolve().is_relative_to(inside):
            continue  # the program has put a link in place of the folder
        with replacing(path, fsync=False) as handle:
            write_all(handle, content)
            os.fchmod(handle, info.mode & 0o700)
            os.utime(handle, (info.mtime, info.mtime))
    for path, target in links:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent.resolve().is_relative_to(inside):
            path.symlink_to(target)


def _is_damaged(path: Path, info: tarfile.TarInfo, content: bytes) -> bool:
    """Whether nobody has written to a file since it was unpacked, and it holds something else all the same."""
    if not info.isreg() or path.is_symlink() or not path.is_file():
        return False
    found = path.stat()
    if found.st_mtime_ns != int(info.mtime) * 10**9:  # a write has parts of a second
        return False
    return found.st_size != len(content) or path.read_bytes() != content


def _members(data: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Raises IntegrityError for an archive that would write outside of its folder, or is damaged."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            found = []
            for info in archive:
                name = PurePosixPath(info.name)
                if name.is_absolute() or ".." in name.parts or not (info.issym() or info.isreg()):
                    raise IntegrityError(f"the snapshot holds {info.name!r}, which no snapshot has")
                file = archive.extractfile(info) if info.isreg() else None
                found.append((info, file.read() if file else b""))
            return found
    except (tarfile.TarError, OSError, EOFError) as error:
        raise IntegrityError(f"the snapshot can't be unpacked: {error}") from error
