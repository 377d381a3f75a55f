"""Which keys may become files, and where.

Tools disagree on odd keys, and several write outside their target or drop objects without a word. Here a key
either maps to exactly one file below the root, or it is refused by name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from launcher.disk import is_temporary, mapped, temporary_path
from launcher.errors import StoreError

MAX_KEY_BYTES = 1024
MAX_SEGMENT_BYTES = 255
_USUAL = re.compile(r"(?:[0-9A-Za-z_][0-9A-Za-z_.-]{0,99}/){0,8}[0-9A-Za-z_][0-9A-Za-z_.-]{0,99}")
"""Keys that need no closer look, which takes three times as long: nearly all of a million."""


def key_problem(key: str) -> str | None:
    """Why this key can't be a file below a root, or None. The reason completes "key … " ."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if not 0 < size <= MAX_KEY_BYTES:
        return f"is longer than {MAX_KEY_BYTES} bytes" if size else "is empty"
    if not key.isprintable() and any(unicodedata.category(char) == "Cc" for char in key):
        return "contains a control character"
    for segment in key.split("/"):
        if not segment:
            return "has an empty segment: a leading, trailing or doubled '/'"
        if segment in (".", ".."):
            return f"has the segment {segment!r}, which leads elsewhere"
        if is_temporary(segment):
            return (
                f"has the segment {segment!r}, a name that the launcher gives to files that are not complete"
            )
        if len(segment.encode()) > MAX_SEGMENT_BYTES:
            return f"has a segment longer than {MAX_SEGMENT_BYTES} bytes"
    return None


def check_key(key: str, where: str) -> str:
    """The key itself when it may become a file. Raises StoreError naming it."""
    problem = None if _USUAL.fullmatch(key) else key_problem(key)
    if problem:
        shown = key if len(key) <= 120 else key[:117] + "..."
        raise StoreError(
            f"key {shown!r} {problem}", where=where, hint="rename the object; it is never skipped"
        )
    return key


def is_folder_marker(key: str, size: int) -> bool:
    """True for the empty objects ending in '/' that consoles create to show a folder."""
    return key.endswith("/") and size == 0


class PrefixGuard:
    """Finds, in an ordered stream, a key that is also the folder of another one.

    Keys sharing a prefix are neighbours in a sorted listing, so the candidates form one short chain.
    """

    def __init__(self) -> None:
        self._chain: list[str] = []

    def clash(self, key: str) -> str | None:
        """The earlier key that would have to be a file and a folder at once, or None."""
        while self._chain and not key.startswith(self._chain[-1]):
            self._chain.pop()
        for earlier in self._chain:
            if key.startswith(earlier + "/"):
                return earlier
        self._chain.append(key)
        return None


def folds_names(folder: Path) -> bool:
    """True when this file system takes 'A' and 'a' for the same name."""
    probe = temporary_path(folder)
    with mapped(folder):
        probe.touch(0o600, exist_ok=False)
        try:
            return probe.with_name(probe.name.upper()).exists()
        finally:
            probe.unlink()


def folded(key: str) -> str:
    """The form under which a case- or normalisation-folding file system would see the key."""
    return unicodedata.normalize("NFC", key).casefold()


def parents(keys: Iterable[str]) -> set[str]:
    """Every folder these keys need, as keys without a trailing slash; the root itself is not among them."""
    folders: set[str] = set()
    for key in keys:
        folder = key
        while "/" in folder:
            folder = folder.rpartition("/")[0]
            if folder in folders:
                break
            folders.add(folder)
    return folders


def local_path(root: Path, key: str) -> Path:
    """Where a checked key lies below a root."""
    return root.joinpath(*check_key(key, str(root)).split("/"))
