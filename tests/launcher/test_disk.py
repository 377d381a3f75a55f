"""Local files: complete or absent, and parts that two processes can't mix up."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from launcher import disk as localfs
from launcher.disk import (
    digest_file,
    open_part,
    part_path,
    replacing,
    write_all,
    write_atomic,
    write_private,
    write_text,
)
from launcher.errors import NotFound, StoreError


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "x", b"old")
    with pytest.raises(ValueError, match="stop"), replacing(tmp_path / "x") as handle:
        write_all(handle, b"half of the new")
        raise ValueError("stop")
    assert (tmp_path / "x").read_bytes() == b"old"
    write_atomic(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        write_atomic(tmp_path / "absent" / "x", b"")
    assert caught.value.where == str(tmp_path / "absent" / "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError):
        write_atomic(tmp_path / "folder", b"")


def test_part_names_fit_where_the_name_fits(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    handle, part = open_part(path)
    os.close(handle)
    assert part == part_path(path)
    assert part_path(path) != part_path(tmp_path / ("n" * 254))


def test_a_part_in_use_is_left_to_its_owner(tmp_path: Path) -> None:
    first, first_part = open_part(tmp_path / "x")
    second, second_part = open_part(tmp_path / "x")
    assert first_part != second_part
    os.close(first)
    os.close(second)


def test_a_part_that_became_the_file_meanwhile_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our open and our lock the other process finished: its part is now the final file."""
    path = tmp_path / "x"
    part_path(path).write_bytes(b"good")
    real = os.open
    calls: list[object] = []

    def open_then_lose_the_race(*arguments: object, **named: object) -> int:
        handle = real(*arguments, **named)  # type: ignore[arg-type]
        calls.append(arguments[0])
        if len(calls) == 1:
            part_path(path).rename(path)
        elif len(calls) == 2:
            part_path(path).unlink()
            part_path(path).write_bytes(b"another one's")
        return handle

    monkeypatch.setattr(localfs.os, "open", open_then_lose_the_race)
    handle, part = open_part(path)
    os.ftruncate(handle, 0)
    os.close(handle)
    assert len(calls) == 3
    assert path.read_bytes() == b"good"
    assert part.read_bytes() == b""


def test_digests_of_a_beginning(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"hello world")
    assert digest_file(tmp_path / "x", 5).md5 == "5d41402abc4b2a76b9719d911017c592"
    assert digest_file(tmp_path / "x", 5).size == 5
    assert digest_file(tmp_path / "x").size == 11


def test_a_link_at_the_part_name_is_not_followed(tmp_path: Path) -> None:
    part_path(tmp_path / "x").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic"):
        open_part(tmp_path / "x")
    assert not (tmp_path / "victim").exists()


def test_what_is_no_file_is_written_to_and_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError):
        write_atomic(tmp_path / "pipe", b"nobody reads")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_atomic(tmp_path / "pipe", b"through the pipe")
    assert os.read(reader, 100) == b"through the pipe"
    reading, writing = os.pipe()
    write_atomic(Path(f"/dev/fd/{writing}"), b"by its number")
    assert os.read(reading, 100) == b"by its number"
    for handle in (reader, reading, writing):
        os.close(handle)
    assert (tmp_path / "pipe").is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        write_text(device, "nothing")
    except (PermissionError, StoreError):
        pytest.skip("NOT TESTED: making a device needs root")
    assert device.is_char_device()
    write_text(Path("/dev/null"), "nothing")
    assert Path("/dev/null").is_char_device()


def test_a_link_is_replaced_and_its_target_kept(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "target").read_text() == "kept"
    assert (tmp_path / "link").read_text() == "new"


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="NOT TESTED: no /dev/shm here")
def test_a_folder_in_memory_is_a_folder_like_others() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        test_a_link_is_replaced_and_its_target_kept(Path(folder))


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_private_files_are_for_their_owner_alone(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_private(tmp_path / "home" / "runs" / "a.json", "{}")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(each.stat().st_mode) for each in sorted((tmp_path / "home").rglob("*"))]
    assert modes == [0o700, 0o600]
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
    with pytest.raises(StoreError):
        write_private(tmp_path / "home" / "runs" / "a.json" / "b.json", "{}")
