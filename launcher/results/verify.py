"""Read what a store or a disk holds and compare it with what its manifest says: a run's results, or a staged data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from launcher.dataset.cache import read_marker
from launcher.disk import digest_file, is_temporary
from launcher.errors import NotFound
from launcher.results.fetch import Want, wants_of
from launcher.runfolder.paths import is_result
from launcher.storage.base import ObjectStore
from launcher.storage.contents import read_listing
from launcher.storage.copy import sha256_of

WORKERS = 8
OnVerified = Callable[[int, int], None]
"""Called with files looked at and their number."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """One file that is not what it should be, and how."""

    key: str
    why: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """`unproven` files have no digest to compare with: their size and presence is all that is known.

    `stray` are results that no manifest names. They are reported, and make nothing wrong.
    """

    files: int
    bytes: int
    flaws: tuple[Flaw, ...]
    unproven: int
    stray: tuple[str, ...]
    committed: bool

    @property
    def good(self) -> bool:
        """True when every file is there and right."""
        return not self.flaws


def verify_run(store: ObjectStore, on_verified: OnVerified | None = None) -> VerifyReport:
    """Read every result of a run. Raises NotFound when there is none, IntegrityError for a broken manifest."""
    wants, committed = wants_of(store)
    if not wants:
        raise NotFound("there are no results", where=store.url, hint="is this the folder of a run?")
    named = {want.key for want in wants}
    held = {info.key: info for info in store.list()}
    stray = tuple(sorted(key for key in held if committed and is_result(key) and key not in named))

    def look(want: Want) -> Flaw | None:
        info = held.get(want.key)
        if info is None:
            return Flaw(want.key, "is missing")
        grown = want.key.startswith("logs/") and info.size > want.size
        if info.size != want.size and not grown:
            return Flaw(want.key, f"has {info.size} bytes instead of {want.size}")
        if want.sha256 is None or grown:
            return None
        return None if sha256_of(store, info) == want.sha256 else Flaw(want.key, "does not match its sha256")

    flaws = []
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="verify") as pool:
        for number, flaw in enumerate(pool.map(look, wants), 1):
            if flaw is not None:
                flaws.append(flaw)
            if on_verified:
                on_verified(number, len(wants))
    unproven = sum(want.sha256 is None for want in wants)
    return VerifyReport(
        len(wants), sum(want.size for want in wants), tuple(flaws), unproven, stray, committed
    )


def is_staged(folder: Path) -> bool:
    """Whether staging has finished a data set here."""
    return read_marker(folder / "COMPLETE.json") is not None


def verify_staged(folder: Path, on_verified: OnVerified | None = None) -> VerifyReport:
    """Read a staged data set, the folder with COMPLETE.json. MD5 where the store's ETag was one, else the size."""
    marker, root = read_marker(folder / "COMPLETE.json"), folder / "files"
    if marker is None:
        raise NotFound("not a complete data set", where=str(folder))
    flaws, size, unproven, files = [], 0, 0, 0
    named = set()
    for info in read_listing(folder / "listing.tsv"):
        files, size = files + 1, size + info.size
        named.add(info.key)
        path = root / info.key
        try:
            found = path.lstat().st_size
        except OSError:
            flaws.append(Flaw(info.key, "is missing"))
            continue
        if found != info.size:
            flaws.append(Flaw(info.key, f"has {found} bytes instead of {info.size}"))
        elif info.md5 is None:
            unproven += 1
        elif digest_file(path).md5 != info.md5:
            flaws.append(Flaw(info.key, "does not match its MD5"))
        if on_verified and files % 100 == 0:
            on_verified(files, marker.files)
    stray = tuple(key for key in _files(root) if key not in named)
    return VerifyReport(files, size, tuple(flaws), unproven, stray, committed=True)


def _files(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*")):
        if not path.is_dir() and not is_temporary(path.name):
            yield path.relative_to(root).as_posix()
