"""Staging: once, resumable, verified, in bounded time, and never a wrong file under a final name."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from launcher.dataset.cache import read_marker
from launcher.dataset.plain import StageProgress, stage
from launcher.errors import NoSpace, NotFound
from launcher.storage import ObjectInfo, ObjectStore, open_store
from launcher.storage.contents import check_space, take_listing
from tests.launcher.dataset.trees import fill, read_tree
from tests.servers.faults import Answer, Faults
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET, open_on


def test_stage_and_reuse(store: ObjectStore, tmp_path: Path) -> None:
    tree = fill(store)
    seen: list[StageProgress] = []
    first = stage(store, tmp_path / "cache", progress=seen.append)
    assert read_tree(first.path) == tree
    assert (first.files, first.bytes, first.reused) == (12, sum(map(len, tree.values())), False)
    assert first.path.parent == tmp_path / "cache" / "datasets" / first.digest
    marker = read_marker(first.path.parent / "COMPLETE.json")
    assert marker is not None
    assert (marker.source, marker.digest, marker.files) == (store.url, first.digest, 12)
    assert (seen[0].files_done, seen[-1].files_done, seen[-1].bytes_done) == (0, 12, first.bytes)
    second = stage(store, tmp_path / "cache")
    assert second.reused
    assert (second.path, second.digest) == (first.path, first.digest)


def test_another_content_is_another_data_set(store: ObjectStore, tmp_path: Path) -> None:
    fill(store)
    first = stage(store, tmp_path)
    store.put("train/c0/new.jpg", b"new")
    second = stage(store, tmp_path)
    assert second.path != first.path
    assert second.files == first.files + 1
    assert len(read_tree(first.path)) == first.files, "the older data set is left alone"


def test_what_is_missing_or_short_is_repaired(store: ObjectStore, tmp_path: Path) -> None:
    tree = fill(store)
    staged = stage(store, tmp_path)
    (staged.path / "train/c0/0.jpg").unlink()
    (staged.path / "train/c1/1.jpg").write_bytes(b"short")
    (staged.path / "train/c1/mine.txt").write_bytes(b"somebody's note")
    (staged.path / "train/c1/.launcher-part-0123-77-ab").write_bytes(b"left by a process of ours")
    again = stage(store, tmp_path)
    assert not again.reused
    assert read_tree(again.path) == {**tree, "train/c1/mine.txt": b"somebody's note"}


def test_an_empty_source_is_an_error(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        stage(store, tmp_path)
    assert caught.value.where == store.url
    assert list((tmp_path / "datasets").iterdir()) == []


def test_only_folder_markers_is_an_empty_source(radosgw: S3Server, tmp_path: Path) -> None:
    store = open_on(radosgw)
    base = store.url.removeprefix(f"s3://{BUCKET}/")
    radosgw.client().put_object(Bucket=BUCKET, Key=f"{base}/train/", Body=b"")
    with pytest.raises(NotFound):
        stage(store, tmp_path)
    store.put("train/a/1.jpg", b"x")
    assert read_tree(stage(store, tmp_path).path) == {"train/a/1.jpg": b"x"}


# -- space -------------------------------------------------------------------------------------------------


def test_lack_of_bytes_is_known_before_the_first_byte(
    faulty: ObjectStore, faults: Faults, small_disk: Path
) -> None:
    for n in range(3):
        faulty.put(f"big-{n}", os.urandom(900_000))
    faults.clear()
    with pytest.raises(NoSpace) as caught:
        stage(faulty, small_disk)
    assert "lacking" in caught.value.what
    assert faults.count("GET", "/big-") == 0
    faulty.delete("big-2")
    with pytest.raises(NoSpace, match="reserve"):
        stage(faulty, small_disk, reserve_bytes=1_000_000)
    assert stage(faulty, small_disk).files == 2


def test_lack_of_inodes_is_known_before_the_first_byte(small_disk: Path, tmp_path: Path) -> None:
    store = open_store(f"memory://{tmp_path.name}")
    for n in range(120):
        store.put(f"{n}", b"")
    with pytest.raises(NoSpace, match="inodes"):
        stage(store, small_disk)


@pytest.mark.usefixtures("engine")
def test_space_that_vanishes_meanwhile(faulty: ObjectStore, faults: Faults, small_disk: Path) -> None:
    for n in range(4):
        faulty.put(f"big-{n}", os.urandom(300_000))
    for n in range(30):
        faulty.put(f"z-{n:02}", b"x")
    hog = small_disk / "hog"

    def fill_the_disk(answer: Answer) -> None:
        hog.write_bytes(b"x" * 1_200_000)

    faults.add(fill_the_disk, path="/big-2", times=1)
    with pytest.raises(NoSpace):
        stage(faulty, small_disk, workers=1)
    digest = next(path for path in (small_disk / "datasets").iterdir() if path.is_dir())
    kept = read_tree(digest / "files")
    assert {"big-0", "big-1"} <= set(kept), "what was verified stays"
    assert "big-2" not in kept
    assert faults.count("GET", "/z-") < 15, "a full disk stops everything at once"
    hog.unlink()
    faults.clear()
    assert stage(faulty, small_disk).files == 34
    assert faults.count("GET", "/big-0") == 0, "what was there is not fetched again"


def test_space_is_counted_in_blocks(tmp_path: Path) -> None:
    files, size = check_space(tmp_path, iter([ObjectInfo("a", 1), ObjectInfo("b", 2)]), 1, 0)
    assert (files, size) == (2, 3)
    with pytest.raises(NoSpace):
        check_space(tmp_path, iter([ObjectInfo("a", 1)]), 1, 1 << 60)


@pytest.mark.system
def test_memory_does_not_grow_with_the_listing(tmp_path: Path) -> None:
    """30,000 keys, listed and read back, in two MiB; a list of them would take ten."""
    import tracemalloc

    class Endless:
        url = "memory://endless"

        def list(self, prefix: str = "") -> object:
            return (
                ObjectInfo(f"train/c{n // 1300:04}/{n:08}.jpg", 110_000, f"{n:032x}") for n in range(30_000)
            )

    tracemalloc.start()
    listing = take_listing(Endless(), tmp_path, folds=False)  # type: ignore[arg-type]
    assert sum(1 for _ in listing.entries()) == listing.files == 30_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 << 20


def test_the_status_file_helps_those_who_wait(tmp_path: Path) -> None:
    store = open_store(f"memory://{tmp_path.name}")
    fill(store)
    staged = stage(store, tmp_path)
    facts = json.loads((tmp_path / "datasets" / f"{staged.digest}.status.json").read_text())
    assert facts["pid"] == os.getpid()
    assert facts["files_done"] == 12
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("get")]
