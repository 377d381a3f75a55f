"""Which files a run's folder should hold: from its manifest, or before the commit from what is complete so far."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass

from launcher.errors import IntegrityError, NotFound
from launcher.runfolder.checkpointfiles import is_checkpoint
from launcher.runfolder.manifest import Manifest, best_step, parse_manifest, parse_set_manifest
from launcher.runfolder.paths import BEST, LATEST, PROFILE, RUN_MANIFEST, SET_MANIFEST, is_result
from launcher.runfolder.sets import remote_sets
from launcher.runfolder.smallfiles import read_small_object
from launcher.storage.base import ObjectStore

_FOLDERS = ("checkpoints", "eval", "export", "logs", PROFILE)
PREFIXES = {folder: f"{folder}/" for folder in _FOLDERS}
_SETS = ("checkpoints/step-", LATEST)
PARTS = ("best", *PREFIXES)
"""Parts of the results that can be asked for alone."""


@dataclass(frozen=True, slots=True)
class ExpectedFile:
    """One file of the results. Without `sha256` only size and ETag can be checked."""

    key: str
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class ExpectedFiles:
    """The files that a run's folder should hold. `committed`: the run has written its manifest.

    `damaged` are manifests of checkpoint sets that can't be used: these sets are not among the files.
    """

    files: tuple[ExpectedFile, ...]
    committed: bool
    damaged: tuple[str, ...] = ()


def expected_files(store: ObjectStore, only: str | None = None) -> ExpectedFiles:
    """All results of a run, or the part `only`, one of PARTS. Raises IntegrityError for a broken manifest."""
    try:
        raw = read_small_object(store, RUN_MANIFEST)
    except NotFound:
        files, damaged = _complete_so_far(store)
        committed = False
    else:
        manifest, damaged = _committed(raw, store), ()
        files, committed = [ExpectedFile(each.key, each.size, each.sha256) for each in manifest.files], True
        files.append(_manifest_file(RUN_MANIFEST, raw))  # users check what they fetched with sha256sum
    if only == "best":
        files = _of_best_step(store, files)
    elif only is not None:
        files = [file for file in files if _is_of(only, file.key)]
    return ExpectedFiles(tuple(files), committed, damaged)


def _is_of(part: str, key: str) -> bool:
    """Whether a key belongs to a part of the results. A program of one's own has its checkpoints anywhere."""
    return key.startswith(PREFIXES[part]) or (part == "checkpoints" and is_checkpoint(key))


def _committed(raw: bytes, store: ObjectStore) -> Manifest:
    try:
        return parse_manifest(raw, store.join(RUN_MANIFEST))
    except IntegrityError as error:
        copy = f"launcher cp {shlex.quote(store.url)} FOLDER"
        raise IntegrityError(
            error.what, where=error.where, hint=f"`{copy}` copies what is there, unverified"
        ) from error


def _complete_so_far(store: ObjectStore) -> tuple[list[ExpectedFile], tuple[str, ...]]:
    """Complete checkpoint sets by their manifests, and other results as they are now; and manifests that are damaged."""
    files: list[ExpectedFile] = []
    damaged = []
    for step, names in sorted(remote_sets(store).items()):
        if SET_MANIFEST in names:
            prefix = f"checkpoints/step-{step}/"
            try:
                raw = read_small_object(store, prefix + SET_MANIFEST)
                manifest = parse_set_manifest(raw, store.join(prefix + SET_MANIFEST))
            except IntegrityError:
                damaged.append(prefix + SET_MANIFEST)
                continue
            files += [ExpectedFile(prefix + each.key, each.size, each.sha256) for each in manifest.files]
            files.append(_manifest_file(prefix + SET_MANIFEST, raw))
    for info in store.list():
        if is_result(info.key) and (info.key == BEST or not info.key.startswith(_SETS)):
            files.append(ExpectedFile(info.key, info.size, None))
    return files, tuple(damaged)


def _manifest_file(key: str, raw: bytes) -> ExpectedFile:
    return ExpectedFile(key, len(raw), hashlib.sha256(raw).hexdigest())


def _of_best_step(store: ObjectStore, files: list[ExpectedFile]) -> list[ExpectedFile]:
    try:
        step = best_step(read_small_object(store, BEST))
    except (NotFound, IntegrityError):
        step = None
    if step is None:
        return []
    prefix = f"checkpoints/step-{step}/"
    return [file for file in files if file.key == BEST or file.key.startswith(prefix)]
