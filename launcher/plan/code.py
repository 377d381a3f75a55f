"""The code of a run as it was submitted: one zip of both packages, the same bytes for the same files."""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

CODE = "code.zip"
"""Its name in the run's folder."""
_PACKAGES = ("launcher", "vitmodels")
_EPOCH = (1980, 1, 1, 0, 0, 0)


@functools.cache
def code_zip() -> bytes:
    """About 300 kB. What stands beside this file, without what Python made of it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in _files():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o644 << 16
            archive.writestr(info, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def code_digest() -> str:
    """SHA-256 of `code_zip`."""
    return hashlib.sha256(code_zip()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a small file; empty when it can't be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _files() -> Iterator[tuple[str, Path]]:
    root = Path(__file__).resolve().parents[2]
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*")):
            hidden = any(part.startswith((".", "__pycache__")) for part in path.relative_to(root).parts)
            if path.is_file() and not hidden:
                yield path.relative_to(root).as_posix(), path
