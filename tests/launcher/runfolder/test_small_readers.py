"""Nobody reads a small file of a run but through `smallfiles`: whatever lies in its place, gigabytes are not read."""

import ast
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import launcher
from launcher.errors import IntegrityError, NotFound, StoreRefused
from launcher.portable import NoPlainFile
from launcher.runfolder import paths, smallfiles
from launcher.runfolder.attempts import Holder, read_holder
from launcher.runfolder.manifest import local_sets
from launcher.runfolder.sets import read_json, read_latest
from launcher.runfolder.snapshotindex import SnapshotIndex
from launcher.runs.folder import RunFolder
from launcher.storage import ObjectStore, open_store
from tests.servers.faults import Faults
from tests.servers.s3 import S3Server

ROOMS = ("runfolder", "runs", "submission", "results", "node", "notify", "backends")
SOURCE = Path(launcher.__file__).parent
OTHERS = {
    "submission/retry.py": "snapshot.tar.gz, which may be large",
    "results/restore.py": "files of a checkpoint set, whose sizes the manifest says",
    "backends/kubernetes/boot.py": "plan and code, before any code of ours is there",
    "backends/slurm/boot.py": "plan and code, before any code of ours is there",
    "backends/modelarts/code.py": "the code folder, whose size was compared before",
    "backends/modelarts/container_access.py": "what it has just written",
    "node/snapshot.py": "snapshot.tar.gz, which may be large",
}


def stores_read(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls like `store.read(key)`: an object as a whole, whatever its size. With an offset and a length it is a part."""
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "read":
            owner = ast.unparse(call.func.value)
            is_store = owner.endswith("store") or ".open(" in owner
            if is_store and len(call.args) == 1 and not call.keywords:
                yield call


@pytest.mark.parametrize("room", ROOMS)
def test_objects_of_a_run_are_read_with_a_limit(room: str) -> None:
    found = []
    for path in sorted((SOURCE / room).rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        calls = [
            f"{name}:{call.lineno} {ast.unparse(call)}" for call in stores_read(ast.parse(path.read_bytes()))
        ]
        found += [] if name in OTHERS else calls
    assert found == [], "read_small_object(store, key) is the way; or say in OTHERS what is read"


def files_read(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls like `run_dir.state.read_bytes()`."""
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            owner = ast.unparse(call.func.value)
            if call.func.attr in ("read_bytes", "read_text") and ("run_dir" in owner or "best" in owner):
                yield call


@pytest.mark.parametrize("room", ROOMS)
def test_files_of_a_run_directory_are_read_with_a_limit(room: str) -> None:
    found = []
    for path in sorted((SOURCE / room).rglob("*.py")):
        for call in files_read(ast.parse(path.read_bytes())):
            found.append(f"{path.relative_to(SOURCE).as_posix()}:{call.lineno} {ast.unparse(call)}")
    assert found == [], "read_small(path) is the way"


def test_the_search_finds_what_it_is_meant_for() -> None:
    text = (
        "a = self._store.read(key)\nb = plan.store.open(1.0).read(paths.STATE)\nc = store.read(key, 0, 5)\n"
    )
    assert [call.lineno for call in stores_read(ast.parse(text))] == [1, 2]
    assert len(list(files_read(ast.parse("plan.run_dir.state.read_text()")))) == 1


READERS: list[tuple[Callable[[ObjectStore, Path], object], str, object]] = [
    (lambda store, root: read_holder(store, "claims/1"), "claims/1", Holder()),
    (lambda store, root: read_json(store, paths.STATE), paths.STATE, {}),
    (lambda store, root: read_latest(store), paths.LATEST, None),
    (lambda store, root: SnapshotIndex.of_run(root), paths.SNAPSHOT_INDEX, SnapshotIndex()),
    (lambda store, root: local_sets(root / "checkpoints"), "checkpoints/step-1/manifest.json", {}),
]


@pytest.mark.parametrize(("read", "name", "answer"), READERS, ids=[name for _, name, _ in READERS])
def test_what_is_far_too_large_counts_as_damaged(
    read: Callable[[ObjectStore, Path], object],
    name: str,
    answer: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(smallfiles, "MOST_BYTES", 1000)
    store = open_store(str(tmp_path))
    store.put(name, b" " * 1001)
    with pytest.raises(IntegrityError, match="larger than"):
        smallfiles.read_small(tmp_path / name)
    assert read(store, tmp_path) == answer


@pytest.mark.parametrize("size", [None, 0, 1, 3000, 1_500_000], ids=lambda size: f"{size} bytes")
def test_an_object_costs_one_request_whatever_is_there(
    faulty: ObjectStore, faults: Faults, size: int | None
) -> None:
    """Absent, empty, and below or above the length from which parts go through the fast path."""
    if size is not None:
        faulty.put(paths.STATE, bytes(size))
    faults.clear()
    if size is None:
        with pytest.raises(NotFound):
            smallfiles.read_small_object(faulty, paths.STATE)
    else:
        assert smallfiles.read_small_object(faulty, paths.STATE) == bytes(size)
    assert [method for method, _ in faults.seen] == ["GET"]


def test_a_bucket_that_is_not_there_is_no_absent_object(radosgw: S3Server) -> None:
    store = open_store("s3://no-such-bucket-here/run", endpoint=radosgw.endpoint, env=radosgw.env)
    with pytest.raises(StoreRefused, match="no such bucket"):
        smallfiles.read_small_object(store, paths.STATE)


@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_what_is_no_file_is_never_waited_for(kind: str, tmp_path: Path) -> None:
    """Opening a pipe waits for who writes to it, and a device may have no end."""
    path, store = tmp_path / paths.STATE, open_store(str(tmp_path))
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mknod(path, stat.S_IFSOCK | 0o600)
    with pytest.raises(NoPlainFile):
        smallfiles.read_small(path)
    with pytest.raises(IntegrityError, match="no file"):
        smallfiles.read_small_object(store, paths.STATE)
    with pytest.raises(IntegrityError, match="no file"):
        store.get_file(paths.STATE, tmp_path / "copy")
    with pytest.raises(NotFound):
        RunFolder(tmp_path).read(paths.STATE)
    assert read_json(store, paths.STATE) == {}
