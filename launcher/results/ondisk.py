"""Compares a run directory on this disk with the run's folder in the store: what would be lost if the directory went?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from launcher.disk import digest_file
from launcher.errors import NotFound
from launcher.jobfile.spec_outputs import OutputsSpec
from launcher.results.ledger import Ledger, Record, is_uploaded, ledger_name
from launcher.results.outputfiles import LeftOut, OutputFile, Selection, find_outputs
from launcher.results.tree import LocalFile, LocalSet, Tree, scan
from launcher.runfolder.manifest import ManifestFile, local_sets, parse_manifest
from launcher.runfolder.paths import RUN_MANIFEST
from launcher.runfolder.smallfiles import read_small_object
from launcher.storage.base import ObjectStore

_NODE = re.compile(r"(?:upload-)?node-(\d+)(?:\.json)?")


def not_in_store(run_dir: Path, store: ObjectStore, outputs: OutputsSpec | None) -> list[LeftOut]:
    """Results that the store lacks, or has otherwise than its manifest or this disk. Empty: the directory may go.

    `outputs`: for a run of a program of one's own. A file that has not changed since its upload is not read; others are,
    so this may take a while. Raises StoreError.
    """
    try:
        manifest = parse_manifest(read_small_object(store, RUN_MANIFEST), store.join(RUN_MANIFEST))
    except NotFound:
        return [LeftOut(RUN_MANIFEST, "the store has none: the run did not commit its results")]
    return _Comparison(run_dir, store, {each.key: each for each in manifest.files}).run(outputs)


class _Comparison:
    def __init__(self, run_dir: Path, store: ObjectStore, named: Mapping[str, ManifestFile]) -> None:
        self._run_dir, self._store, self._named = run_dir, store, named
        self._held = {info.key: info for info in store.list()}
        self._nodes = _nodes_of(run_dir)
        self._records: dict[str, Record] = {}
        for node in self._nodes:
            self._records |= Ledger(run_dir / ledger_name(node), store.url).objects

    def run(self, outputs: OutputsSpec | None) -> list[LeftOut]:
        in_store = [
            LeftOut(key, why) for key, each in self._named.items() if (why := self._store_flaw(key, each))
        ]
        told = {each.name for each in in_store}
        return in_store + [each for each in self._on_disk(outputs) if each.name not in told]

    def _on_disk(self, outputs: OutputsSpec | None) -> list[LeftOut]:
        found: list[LeftOut] = []
        for node in self._nodes:
            found += self._of_tree(scan(self._run_dir, node))
        if outputs is not None:
            sets = local_sets(self._run_dir / "checkpoints")
            program = find_outputs(self._run_dir, Selection(outputs), sets, None, others=True)
            found += program.left_out
            found += [LeftOut(file.name, why) for file in program.files if (why := self._flaw_of(file))]
        return found

    def _store_flaw(self, key: str, named: ManifestFile) -> str:
        """What is wrong with an object of the manifest, which somebody may have changed behind our back."""
        info, record = self._held.get(key), self._records.get(key)
        if info is None:
            return "was removed from the store"
        has_grown = key.startswith("logs/") and info.size > named.size
        if info.size != named.size and not has_grown:
            return f"has {info.size} bytes in the store instead of {named.size}"
        same_upload = record is not None and record.sha256 == named.sha256
        if record and same_upload and not is_uploaded(self._store, info, record):
            return "was replaced in the store"
        return ""

    def _of_tree(self, tree: Tree) -> Iterator[LeftOut]:
        newest = max((step for each in self._held if (step := _step_of(each)) is not None), default=-1)
        for local in tree.sets:
            if local.step >= newest and (why := self._set_flaw(local)):
                yield LeftOut(local.prefix, why)
        for file in (*tree.files, *((tree.best,) if tree.best else ())):
            if why := self._growing_flaw(file) if file.growing else self._file_flaw(file.key, file):
                yield LeftOut(file.key, why)

    def _set_flaw(self, local: LocalSet) -> str:
        for entry in local.manifest.files:
            named = self._named.get(f"{local.prefix}/{entry.key}")
            if named is None or named.sha256 != entry.sha256:
                return "is not in the store" if named is None else "differs from the store's"
        return ""

    def _growing_flaw(self, file: LocalFile) -> str:
        """Lines may follow the commit. A shorter file is that of an earlier attempt, which went on elsewhere."""
        named = self._named.get(file.key)
        if named is None:
            return "is not in the store"
        if file.size < named.size or self._is_as_uploaded(file.key, file, named):
            return ""
        same = digest_file(file.path, named.size).sha256 == named.sha256
        return "" if same else "differs from the store's"

    def _flaw_of(self, file: OutputFile) -> str:
        """A machine that has a directory of its own uploads under another key what is no rank's."""
        keys = (file.name, *(f"nodes/node-{node}/{file.name}" for node in self._nodes if node))
        flaws = [self._file_flaw(key, file) for key in keys if key in self._named]
        if not flaws:
            return "is not in the store"
        return "" if "" in flaws else flaws[0]

    def _file_flaw(self, key: str, file: LocalFile | OutputFile) -> str:
        named = self._named.get(key)
        if named is None:
            return "is not in the store"
        if self._is_as_uploaded(key, file, named):
            return ""
        same = file.size == named.size and digest_file(file.path).sha256 == named.sha256
        return "" if same else "differs from the store's"

    def _is_as_uploaded(self, key: str, file: LocalFile | OutputFile, named: ManifestFile) -> bool:
        record = self._records.get(key)
        is_unchanged = record is not None and (record.size, record.mtime_ns) == (file.size, file.mtime_ns)
        return record is not None and is_unchanged and record.sha256 == named.sha256


def _nodes_of(run_dir: Path) -> list[int]:
    """Node 0, and the others of which this disk has logs or a list of uploads."""
    names = [path.name for path in (*run_dir.glob("upload-node-*.json"), *run_dir.glob("logs/*/node-*"))]
    return sorted({0, *(int(match[1]) for name in names if (match := _NODE.fullmatch(name)))})


def _step_of(key: str) -> int | None:
    """The step of a set that an object makes complete."""
    match = re.fullmatch(r"checkpoints/step-(\d+)/manifest\.json", key)
    return int(match[1]) if match else None
