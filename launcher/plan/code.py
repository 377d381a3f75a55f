"""code.zip: launcher, vitmodels and the user's own folders as they were submitted. The same files give the same bytes."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import launcher
from launcher.errors import PlanError
from vitmodels.digest import file_sha256

CODE = "code.zip"
"""Its name in a folder of a store."""
OWN_FOLDERS = "code"
"""Folder of the archive that holds the user's own folders."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LEFT_OUT = {"__pycache__", "node_modules", "venv"}
_LAUNCHER = Path(launcher.__file__).parent


@dataclass(frozen=True, slots=True)
class Archive:
    """A code.zip on this machine."""

    path: Path
    digest: str
    bytes: int
    files: int


@functools.cache
def code_zip() -> bytes:
    """The archive of launcher and vitmodels, about 1 MB. The packages don't change while a command runs."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in _packages():
            _add_file(archive, name, path)
    return buffer.getvalue()


def code_digest() -> str:
    """SHA-256 of `code_zip`."""
    return hashlib.sha256(code_zip()).hexdigest()


def write_archive(path: Path, folders: Sequence[str], texts: Mapping[str, str]) -> Archive:
    """Write code.zip with the user's `folders`, and with `texts` as files of these names. Raises PlanError, OSError."""
    with path.open("w+b") as file:
        count = _write(file, folders, texts)
    return Archive(path, file_sha256(path), path.stat().st_size, count)


def rewrite_archive(path: Path, earlier: Path, texts: Mapping[str, str]) -> Archive:
    """Write code.zip with launcher and vitmodels of today, and the user's folders of an `earlier` one. Raises PlanError, OSError."""
    with path.open("w+b") as file, zipfile.ZipFile(earlier) as old:
        count = _write(file, (), texts, old)
    return Archive(path, file_sha256(path), path.stat().st_size, count)


def code_files(folders: Sequence[str] = ()) -> Iterator[tuple[str, Path]]:
    """Names in the archive and the files behind them. Names with a dot in front are left out: they may hold secrets.

    Raises PlanError for a folder that is not there, or two of one name.
    """
    yield from _packages()
    yield from _own_files(folders)


def _packages() -> Iterator[tuple[str, Path]]:
    for package in (_LAUNCHER, _vitmodels()):
        yield from _tree(package, package.name)


def _own_files(folders: Sequence[str]) -> Iterator[tuple[str, Path]]:
    names: set[str] = set()
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise PlanError(f"{folder} is no folder", hint="name folders with your own code")
        if folder.name in names:
            raise PlanError(f"two folders of your code have the name '{folder.name}'", hint="rename one")
        names.add(folder.name)
        yield from _tree(folder, f"{OWN_FOLDERS}/{folder.name}")


def file_digest(path: Path) -> str:
    """SHA-256 of a file; empty when it can't be read."""
    try:
        return file_sha256(path)
    except OSError:
        return ""


def _vitmodels() -> Path:
    folder = _LAUNCHER.parent / "vitmodels"
    if not folder.is_dir():
        raise PlanError(f"no package vitmodels beside {_LAUNCHER}", hint="install ascend-launcher as a whole")
    return folder


def _tree(root: Path, name: str) -> Iterator[tuple[str, Path]]:
    for where, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in _LEFT_OUT)
        for file in sorted(files):
            path = Path(where) / file
            if not file.startswith(".") and not file.endswith(".pyc") and path.is_file():
                yield f"{name}/{path.relative_to(root).as_posix()}", path


def _write(
    target: BinaryIO,
    folders: Sequence[str],
    texts: Mapping[str, str],
    earlier: zipfile.ZipFile | None = None,
) -> int:
    """Write the archive, with the user's folders of an `earlier` one; returns the number of files, `texts` apart.

    What is the same for all archives of a process is compressed once: the others begin with its bytes.
    """
    target.write(code_zip())
    with zipfile.ZipFile(target, "a", zipfile.ZIP_DEFLATED) as archive:
        count = len(archive.namelist())
        for name, path in _own_files(folders):
            _add_file(archive, name, path)
            count += 1
        if earlier is not None:
            count += _copy_own_folders(archive, earlier)
        for name, text in texts.items():
            archive.writestr(_info(name), text.encode())
    return count


def _add_file(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    """Add a file in blocks, with its executable bit. Raises OSError that names the file."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            info = _info(name, 0o755 if status.st_mode & 0o100 else 0o644)
            info.file_size = status.st_size
            with archive.open(info, "w") as copy:
                shutil.copyfileobj(file, copy, 1 << 20)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _copy_own_folders(archive: zipfile.ZipFile, earlier: zipfile.ZipFile) -> int:
    """Copy the files of the user's folders in blocks; returns their number."""
    members = [each for each in earlier.infolist() if each.filename.startswith(f"{OWN_FOLDERS}/")]
    for member in members:
        info = _info(member.filename, member.external_attr >> 16)
        info.file_size = member.file_size
        with earlier.open(member) as file, archive.open(info, "w") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
    return len(members)


def _info(name: str, mode: int = 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, mode << 16
    return info
