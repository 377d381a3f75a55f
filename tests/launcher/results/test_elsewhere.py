"""Results outside of the run directory: found by name and time, without those of other runs."""

import os
from pathlib import Path

import pytest

from launcher.results import elsewhere
from launcher.results.elsewhere import Elsewhere
from launcher.runfolder.snapshotindex import SnapshotIndex
from launcher.snapshot.linked import linked_files


def save(path: Path, text: str = "x", at: float = 200.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (at, at))
    return path


def found(places: Elsewhere) -> list[str]:
    return [each.name for each in places.search().left_out]


def test_new_checkpoints_of_a_folder_a_file_and_a_name_that_is_filled_in(tmp_path: Path) -> None:
    expected = [
        save(tmp_path / "a/deep/net.ckpt"),
        save(tmp_path / "b/last.pth"),
        save(tmp_path / "c/net-1.ckpt"),
        save(tmp_path / "c/net-2/x.npz"),
    ]
    for path in ("a/notes.txt", "b/other.pth", "c/old.ckpt"):
        save(tmp_path / path)
    save(tmp_path / "a/before.ckpt", at=50.0)
    places = (tmp_path / "a", tmp_path / "b/last.pth", tmp_path / "c/net-", tmp_path / "no/such")
    assert found(Elsewhere(places, since=100.0)) == [str(path) for path in expected]


def test_a_place_with_too_many_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsewhere, "MOST", 3)
    for name in ("a", "b", "c"):
        save(tmp_path / "three" / name)
        save(tmp_path / "four" / name)
    save(tmp_path / "four/d")
    places = (tmp_path / "three", tmp_path / "four", tmp_path / "no/such")
    assert Elsewhere(places, since=100.0).search().partly_searched == (str(tmp_path / "four"),)


def test_folders_of_runs_are_left_out_wherever_they_lie(tmp_path: Path) -> None:
    mine = save(tmp_path / "disk/ckpt/net.ckpt")
    save(tmp_path / "disk/work/run-1/work/rank-0/net.ckpt")
    ours = frozenset({tmp_path / "disk/work/run-1"})
    places = (tmp_path / "disk", tmp_path / "disk/work/run-1/work")
    assert found(Elsewhere(places, ours, since=100.0)) == [str(mine)]


def test_linked_files_that_changed_and_checkpoints_behind_links(tmp_path: Path) -> None:
    """Those beside a script that was submitted from another folder may be anything: there only checkpoints count."""
    links = {"last.bin": "", "data": "", ".program/0/other": ""}
    for name in links:
        links[name] = str(tmp_path / name.replace("/", "-"))
    changed = save(tmp_path / "last.bin", at=50.0)
    save(tmp_path / "data/read.bin", at=50.0)
    removed = save(tmp_path / "data/removed.bin", at=50.0)
    beside = save(tmp_path / ".program-0-other/notes.txt", at=50.0)
    index = SnapshotIndex(links=links, linked=linked_files(links))
    removed.unlink()
    for path in (changed, beside):
        save(path, "longer")
    expected = [
        save(tmp_path / ".program-0-other/net.ckpt"),
        save(tmp_path / "data/new.txt"),
        changed,
    ]
    assert found(Elsewhere(since=100.0, snapshot=index)) == [str(path) for path in expected]
