"""Which files behind links are looked at."""

import os
from pathlib import Path

import pytest

from launcher.runfolder.snapshotindex import LinkedFile, SnapshotIndex
from launcher.snapshot import linked
from launcher.snapshot.linked import linked_files


def write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, ns=(1, 1_500_000_001))


def test_files_and_folders_outside_are_and_links_inside_are_not(tmp_path: Path) -> None:
    write(tmp_path / "one.bin", 1)
    write(tmp_path / "folder" / "deep" / "two.bin", 2)
    links = {
        "a": str(tmp_path / "one.bin"),
        "b": str(tmp_path / "folder"),
        "inside": "train.py",
        "gone": str(tmp_path / "gone"),
    }
    found = linked_files(links)
    assert found == {"a": LinkedFile(1, 1_500_000_001), "b/deep/two.bin": LinkedFile(2, 1_500_000_001)}
    index = SnapshotIndex("folder", "host", {}, links, found)
    assert SnapshotIndex.read(index.text().encode()) == index


def test_a_folder_that_is_too_large_is_left_out_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linked, "MOST_WATCHED", 3)
    for name in ("large/1", "large/2", "large/3", "large/4", "small/1", "small/2"):
        write(tmp_path / name, 1)
    links = {name: str(tmp_path / name) for name in ("large", "small")}
    assert list(linked_files(links)) == ["small/1", "small/2"]


def test_an_index_of_an_older_launcher_has_none() -> None:
    index = SnapshotIndex.read(b'{"folder": "f", "host": "h", "files": {}, "links": {"a": "/a"}}')
    assert (index.links, index.linked) == ({"a": "/a"}, {})
