"""Compares the run's folder in the store with the ledger, and lists its results for MANIFEST.json."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

from launcher.errors import IntegrityError
from launcher.results.ledger import Ledger, is_uploaded
from launcher.results.outputfiles import LeftOut
from launcher.results.tree import LocalSet
from launcher.runfolder.manifest import (
    Manifest,
    ManifestFile,
    SetManifest,
    parse_manifest,
    parse_set_manifest,
)
from launcher.runfolder.paths import PARTS, SET_MANIFEST, SET_NAME, is_result, part_key
from launcher.runfolder.sets import remote_sets
from launcher.runfolder.smallfiles import read_small_object
from launcher.storage.base import ObjectInfo, ObjectStore

log = logging.getLogger(__name__)

_READ_BYTES = 8 << 20


def reconcile(store: ObjectStore, ledger: Ledger) -> list[str]:
    """Remove from the ledger what the store does not have as it was uploaded. Returns those keys."""
    held = {info.key: info for info in store.list()}
    wrong = []
    for key, record in ledger.objects.items():
        info = held.get(key)
        if info is None or not is_uploaded(store, info, record):
            wrong.append(key)
    for step, state in list(ledger.sets.items()):
        prefix = f"checkpoints/step-{step}/"
        damaged = prefix + SET_MANIFEST not in held or any(key.startswith(prefix) for key in wrong)
        if state == "safe" and damaged:
            ledger.set_state(step, "uploading")
            wrong.append(prefix + SET_MANIFEST)
    for key in wrong:
        ledger.remove(key)
    return wrong


def stored_manifests(store: ObjectStore) -> dict[int, SetManifest | None]:
    """The manifest of each set in the store that has one, by step; None where it is damaged. Raises StoreError."""
    return {step: _parsed(store, step) for step, names in remote_sets(store).items() if SET_MANIFEST in names}


def differing(stored: Mapping[int, SetManifest | None], local: Iterable[LocalSet]) -> list[int]:
    """Steps of sets on this disk whose manifest in the store is damaged, or another one."""
    return [each.step for each in local if each.step in stored and stored[each.step] != each.manifest]


def _parsed(store: ObjectStore, step: int) -> SetManifest | None:
    key = _manifest_key(step)
    try:
        manifest = parse_set_manifest(read_small_object(store, key), store.join(key))
    except IntegrityError:
        return None
    return manifest if manifest.step == step else None


def result_entries(
    store: ObjectStore, ledger: Ledger, node: int, manifests: Mapping[int, SetManifest | None]
) -> tuple[tuple[ManifestFile, ...], tuple[LeftOut, ...]]:
    """Every result in the run's folder, complete checkpoint sets among them, with sha256; and the files that stay on other machines.

    A file without a known sha256 (those uploaded at submission) is read once. A set whose manifest is damaged is left out.
    Raises StoreError.
    """
    held = {info.key: info for info in store.list()}
    parts = _stored_parts(store, node, held)
    known = _known(ledger, parts, manifests)
    incomplete = {
        step
        for step, names in remote_sets(store).items()
        if SET_MANIFEST not in names and not _is_loose(step, names, ledger)
    }
    for step in (step for step, manifest in manifests.items() if manifest is None):
        where = store.join(_manifest_key(step))
        log.warning("%s: the manifest is damaged; this checkpoint is left out of the results", where)
        incomplete.add(step)
    entries = []
    for key, info in sorted(held.items()):
        if not is_result(key):
            continue
        if _is_of_set(key, incomplete):
            continue
        entry = known.get(key)
        entries.append(
            entry if entry is not None and entry.size == info.size else _read_and_hash(store, info)
        )
    return tuple(entries), _left_out(parts)


def _is_loose(step: int, names: Collection[str], ledger: Ledger) -> bool:
    """Whether a program that writes no manifests has named its folder like a set: then its files stand for themselves."""
    return step not in ledger.sets and all(
        f"checkpoints/step-{step}/{name}" in ledger.objects for name in names
    )


def _is_of_set(key: str, steps: Collection[int]) -> bool:
    folder, _, rest = key.removeprefix("checkpoints/").partition("/")
    match = SET_NAME.fullmatch(folder) if rest and key.startswith("checkpoints/") else None
    return match is not None and int(match[1]) in steps


def _left_out(parts: Sequence[Manifest]) -> tuple[LeftOut, ...]:
    """Files that stay on other machines, as their parts say."""
    found = []
    for part in parts:
        host, left_out = f"node {part.run.get('node')}", part.run.get("left_out", ())
        for each in left_out if isinstance(left_out, list) else ():
            if isinstance(each, dict):
                found.append(LeftOut(f"{host}: {each.get('name')}", str(each.get("why"))))
    return tuple(found)


def _manifest_key(step: int) -> str:
    return f"checkpoints/step-{step}/{SET_MANIFEST}"


def _known(
    ledger: Ledger, parts: Sequence[Manifest], manifests: Mapping[int, SetManifest | None]
) -> dict[str, ManifestFile]:
    """Entries from the other machines' parts, the sets' manifests, and our ledger, which wins."""
    known: dict[str, ManifestFile] = {}
    for part in parts:
        known |= {each.key: each for each in part.files}
    for step, manifest in manifests.items():
        prefix = f"checkpoints/step-{step}/"
        for each in manifest.files if manifest else ():
            known[prefix + each.key] = ManifestFile(prefix + each.key, each.size, each.sha256)
    return known | {each.key: each for each in ledger.entries()}


def _stored_parts(store: ObjectStore, node: int, keys: Iterable[str]) -> tuple[Manifest, ...]:
    """The lists of uploads of the machines other than `node`. The files of a damaged one are read instead."""
    parts = []
    for key in keys:
        if key.startswith(PARTS) and key != part_key(node):
            try:
                parts.append(parse_manifest(read_small_object(store, key), store.join(key)))
            except IntegrityError as error:
                log.warning("%s", error.headline)
    return tuple(parts)


def _read_and_hash(store: ObjectStore, info: ObjectInfo) -> ManifestFile:
    digest, start = hashlib.sha256(), 0
    while start < info.size:
        data = store.read(info.key, start, _READ_BYTES)
        if not data:
            raise IntegrityError("the object shrank while it was read", where=store.join(info.key))
        digest.update(data)
        start += len(data)
    return ManifestFile(info.key, start, digest.hexdigest())
