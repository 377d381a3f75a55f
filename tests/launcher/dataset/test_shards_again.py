"""Packing again: what is complete is kept, what changed is packed anew, and a killed packing goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from launcher.dataset.pack import PackProgress
from launcher.dataset.shards import PACKED, read_packed
from launcher.dataset.verify import verify_packed
from launcher.errors import NotFound, UsageError
from launcher.storage import open_store
from tests.launcher.dataset.packing import packed_tree
from tests.launcher.dataset.test_shards import ROOT
from tests.servers.rundir import tree
from tests.waiting import is_alive, wait_until


def test_packing_again_keeps_what_is_complete(source: Path, tmp_path: Path) -> None:
    first = packed_tree(tmp_path / "packed", source)
    (tmp_path / "packed" / PACKED).unlink()
    (tmp_path / "packed" / first.shards[1].index).unlink()
    (tmp_path / "packed" / first.shards[2].tar).write_bytes(b"short")
    seen: list[PackProgress] = []
    assert packed_tree(tmp_path / "packed", source, progress=seen.append) == first
    assert (seen[-1].kept, seen[-1].shards_done) == (len(first.shards) - 2, len(first.shards))
    assert seen[-1].bytes_done == seen[-1].bytes_total == first.payload
    assert verify_packed(open_store(str(tmp_path / "packed"))) == first


def test_a_file_changed_between_two_tries_is_packed_anew(source: Path, tmp_path: Path) -> None:
    first = packed_tree(tmp_path / "packed", source)
    (tmp_path / "packed" / PACKED).unlink()
    changed = source / "train/a/003.jpg"
    changed.write_bytes(changed.read_bytes()[::-1])
    second = packed_tree(tmp_path / "packed", source)
    assert sum(a != b for a, b in zip(first.shards, second.shards, strict=True)) == 1
    assert verify_packed(open_store(str(tmp_path / "packed"))) == second


def replace_with_old_times(path: Path) -> None:
    """Other bytes of the same size, with the times that the file had: what copying a repaired image with its times does."""
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes()[::-1])
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def rewrite_with_old_times(path: Path) -> None:
    """The same in the file itself, whose inode stays: `cp -p` over a file, or `touch -r` after a repair."""
    before = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = pytest.mark.parametrize("change", [replace_with_old_times, rewrite_with_old_times])


def make_old(source: Path) -> None:
    """Files that were written an hour ago."""
    for path in source.rglob("*"):
        if path.is_file():
            os.utime(path, (path.stat().st_atime - 3600, path.stat().st_mtime - 3600))


@CHANGES
@pytest.mark.parametrize("noted", [True, False])
def test_a_file_changed_under_its_old_time_is_packed_anew(
    source: Path, tmp_path: Path, noted: bool, change: Callable[[Path], None]
) -> None:
    make_old(source)
    first = packed_tree(tmp_path / "packed", source)
    notes = list((tmp_path / "scratch").rglob("*.files"))
    assert len(notes) == len(first.shards)
    if not noted:  # as on another machine
        for note in notes:
            note.unlink()
    (tmp_path / "packed" / PACKED).unlink()
    change(source / "train/a/003.jpg")
    seen: list[PackProgress] = []
    second = packed_tree(tmp_path / "packed", source, progress=seen.append)
    assert seen[-1].kept == len(first.shards) - 1
    assert second == packed_tree(tmp_path / "fresh", source)
    assert verify_packed(open_store(str(tmp_path / "packed"))) == second != first


@CHANGES
def test_a_complete_data_set_does_not_stand_for_a_changed_source(
    source: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    make_old(source)
    first = packed_tree(tmp_path / "packed", source)
    for path in source.rglob("*.jpg"):
        os.utime(path)  # newer times alone change nothing
    assert packed_tree(tmp_path / "packed", source) == first
    change(source / "train/a/003.jpg")
    with pytest.raises(UsageError, match=r"'train/a/003\.jpg' was changed after it was packed"):
        packed_tree(tmp_path / "packed", source)
    assert read_packed(open_store(str(tmp_path / "packed"))) == first


def test_unchanged_files_are_not_read_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_old(source)
    first = packed_tree(tmp_path / "packed", source)

    def refuse(*_args: object) -> None:
        raise AssertionError("the source is read")

    monkeypatch.setattr("launcher.dataset.unchanged.read_ahead", refuse)
    assert packed_tree(tmp_path / "packed", source) == first
    next((tmp_path / "scratch").rglob("train-*.files")).write_text("of another index\n")
    with pytest.raises(AssertionError, match="the source is read"):
        packed_tree(tmp_path / "packed", source)


def in_session(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.getsid(int(process.name)) == leader and is_alive(int(process.name)):
                found.append(int(process.name))
    return found


@pytest.mark.system
def test_a_killed_packing_goes_on(source: Path, tmp_path: Path) -> None:
    whole = packed_tree(tmp_path / "whole", source)
    for n in range(60):
        (source / "train/a" / f"large-{n}.jpg").write_bytes(bytes(1_000_000))
    command = [sys.executable, "-m", "launcher", "pack", str(source), str(tmp_path / "killed")]
    command += ["--shard-size", "4MB", "--jobs", "2", "--work-dir", str(tmp_path / "scratch")]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **quiet)
    wait_until(lambda: len(list((tmp_path / "killed").glob("shards/*.tsv"))) >= 2, poll_s=0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / PACKED).exists(), "it was too fast to be killed"
    with pytest.raises(NotFound, match=r"packed\.json"):
        verify_packed(open_store(str(tmp_path / "killed")))
    wait_until(lambda: not in_session(process.pid), "the processes of a killed packing go with it")
    resumed = packed_tree(tmp_path / "killed", source, shard_bytes=4_000_000)
    assert resumed == packed_tree(tmp_path / "fresh", source, shard_bytes=4_000_000)
    assert tree(tmp_path / "killed") == tree(tmp_path / "fresh")
    assert resumed != whole
