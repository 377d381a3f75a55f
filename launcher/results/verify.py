"""Reads every file of a run's results, or of a staged data set, and compares it with the manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.dataset.cache import DIGESTS, read_digests, read_marker
from launcher.disk import digest_file, is_temporary
from launcher.errors import IntegrityError, NotFound
from launcher.findings import Finding
from launcher.results.expected import ExpectedFile, expected_files
from launcher.runfolder.paths import is_result
from launcher.storage.base import ObjectInfo, ObjectStore
from launcher.storage.contents import read_listing
from launcher.storage.copy import sha256_of
from launcher.threads import Workers

WORKERS = 8
OnVerified = Callable[[int, int], None]
"""Called with the number of files checked so far, and of all files."""


MISSING, WRONG_SIZE, WRONG_CONTENT, ONLY_HERE = "VF001", "VF002", "VF003", "VF004"
"""Rules of the findings of this module."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """`findings` has one error per damaged file, with its key as the place.

    `unproven` files have no digest to compare with: only their presence and size were checked. `stray` are results
    that no manifest names; they are no error.
    """

    files: int
    bytes: int
    findings: tuple[Finding, ...]
    unproven: int
    stray: tuple[str, ...]
    committed: bool

    @property
    def good(self) -> bool:
        """True when every file is there and has the right content."""
        return not self.findings


def verify_run(store: ObjectStore, on_verified: OnVerified | None = None) -> VerifyReport:
    """Read every result of a run. Raises NotFound when there is none, IntegrityError for a broken manifest."""
    expected = expected_files(store)
    files = expected.files
    if not files:
        raise NotFound("there are no results", where=store.url, hint="is this the folder of a run?")
    named = {file.key for file in files}
    held = {info.key: info for info in store.list()}
    stray = [key for key in held if expected.committed and is_result(key) and key not in named]
    findings = [
        Finding(WRONG_CONTENT, "error", "can't be used, so this set is not complete", key)
        for key in expected.damaged
    ]
    unproven = 0
    with Workers(WORKERS, thread_name_prefix="verify") as pool:
        checks = pool.map(lambda file: _check(store, file, held.get(file.key)), files)
        for number, (finding, is_proven) in enumerate(checks, 1):
            unproven += not is_proven
            if finding is not None:
                findings.append(finding)
            if on_verified:
                on_verified(number, len(files))
    return VerifyReport(
        files=len(files),
        bytes=sum(file.size for file in files),
        findings=tuple(findings),
        unproven=unproven,
        stray=tuple(sorted(stray)),
        committed=expected.committed,
    )


def _check(store: ObjectStore, file: ExpectedFile, info: ObjectInfo | None) -> tuple[Finding | None, bool]:
    """What is wrong, and whether a digest was there to compare with: the manifest's, else the one stored with the object.

    A log may have grown after the commit; it is then not read.
    """
    if info is None:
        return Finding(MISSING, "error", "is missing", file.key), file.sha256 is not None
    has_grown = file.key.startswith("logs/") and info.size > file.size
    if info.size != file.size and not has_grown:
        words = f"has {info.size} bytes instead of {file.size}"
        return Finding(WRONG_SIZE, "error", words, file.key), file.sha256 is not None
    if has_grown:
        return None, file.sha256 is not None
    expected = file.sha256 or _stored_sha256(store, file.key)
    try:
        if not expected or sha256_of(store, info) == expected:
            return None, bool(expected)
    except IntegrityError:  # a store compares what it reads with its own digests
        pass
    except NotFound:  # removed since the listing
        return Finding(MISSING, "error", "is missing", file.key), True
    return Finding(WRONG_CONTENT, "error", "does not match its sha256", file.key), True


def _stored_sha256(store: ObjectStore, key: str) -> str:
    """The sha256 that was stored with an object, or ''."""
    facts = store.head(key)
    return facts.sha256 if facts else ""


def is_staged(folder: Path) -> bool:
    """Whether staging has finished a data set here."""
    return read_marker(folder / "COMPLETE.json") is not None


def verify_staged(folder: Path, on_verified: OnVerified | None = None) -> VerifyReport:
    """Read a staged data set, the folder with COMPLETE.json. sha256 or MD5 where one is known, else the size."""
    marker, root = read_marker(folder / "COMPLETE.json"), folder / "files"
    if marker is None:
        raise NotFound("not a complete data set", where=str(folder))
    findings, size, unproven, files = [], 0, 0, 0
    named, digests = set(), read_digests(folder / DIGESTS)
    for info in read_listing(folder / "listing.tsv"):
        files, size = files + 1, size + info.size
        named.add(info.key)
        path = root / info.key
        try:
            actual = path.lstat().st_size
        except OSError:
            findings.append(Finding(MISSING, "error", "is missing", info.key))
            continue
        if actual != info.size:
            words = f"has {actual} bytes instead of {info.size}"
            findings.append(Finding(WRONG_SIZE, "error", words, info.key))
        elif sha256 := digests.get(info.key):
            if digest_file(path).sha256 != sha256:
                findings.append(Finding(WRONG_CONTENT, "error", "does not match its sha256", info.key))
        elif info.md5 is None:
            unproven += 1
        elif digest_file(path).md5 != info.md5:
            findings.append(Finding(WRONG_CONTENT, "error", "does not match its MD5", info.key))
        if on_verified and files % 100 == 0:
            on_verified(files, marker.files)
    stray = tuple(key for key in _files(root) if key not in named)
    return VerifyReport(files, size, tuple(findings), unproven, stray, committed=True)


def _files(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*")):
        if not path.is_dir() and not is_temporary(path.name):
            yield path.relative_to(root).as_posix()
