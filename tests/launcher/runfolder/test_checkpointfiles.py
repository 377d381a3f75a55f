"""Checkpoint files: which are, what belongs together, which is the newest, which is whole."""

import os
import struct
import zipfile
from pathlib import Path

import pytest

from launcher.runfolder.checkpointfiles import (
    CheckpointFile,
    is_checkpoint,
    is_whole,
    local_files,
    newest_first,
    number_of,
)
from launcher.runfolder.progress import ProgressReader


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("work/rank-0/ckpt/lenet-1_20.ckpt", True),
        ("work/rank-0/model.safetensors", True),
        ("out/rank_3/x.pth", True),
        ("work/rank-0/w.npz", True),
        ("work/rank-0/last.pt", True),
        ("work/rank-0/ckpt/lenet-1_20.tmp", False),
        ("work/rank-0/.cache/x.ckpt", False),
        ("work/rank-0/ckpt/.x.ckpt", False),
        ("work/rank-0/kernel_meta/x.npz", False),
        ("checkpoints/step-3/model.safetensors", False),
        ("export/net.safetensors", False),
        ("work/rank-0/lenet-graph.meta", False),
    ],
)
def test_the_name_tells_a_checkpoint(key: str, answer: bool) -> None:
    assert is_checkpoint(key) is answer


def test_the_number_in_a_name() -> None:
    assert number_of("a/lenet-3_20.ckpt") == (3, 20)
    assert number_of("a/lenet_1-3_20.ckpt") == (3, 20)
    assert number_of("step-500.pth") == (500,)
    assert number_of("best.pth") == ()


def files(*keys: str) -> list[CheckpointFile]:
    return [CheckpointFile(key, 1, float(time)) for time, key in enumerate(keys)]


def names(*keys: str) -> list[str]:
    return [each.name for each in newest_first(files(*keys))]


def test_the_newest_by_time_comes_first() -> None:
    assert names("w/net-9.ckpt", "w/net_1-1.ckpt") == ["w/net_1-1.ckpt", "w/net-9.ckpt"]
    same = [CheckpointFile(f"w/net-{n}.ckpt", 1, 5.0) for n in (10, 9, 11)]
    assert [each.name for each in newest_first(same)] == ["w/net-11.ckpt", "w/net-10.ckpt", "w/net-9.ckpt"]


def test_a_checkpoint_that_a_rank_lacks_is_none() -> None:
    keys = ("c/rank_0/a-1.ckpt", "c/rank_1/a-1.ckpt", "c/rank_0/a-2.ckpt")
    (only,) = newest_first(files(*keys))
    assert only.name == "c/rank_*/a-1.ckpt"
    assert [only.of_rank(rank).key for rank in (0, 1)] == [keys[0], keys[1]]


def test_a_file_of_rank_0_alone_is_for_all() -> None:
    (only,) = newest_first(files("work/rank-0/ckpt/a-1.ckpt"))
    assert only.of_rank(3).key == "work/rank-0/ckpt/a-1.ckpt"


def test_folders_of_ranks_below_working_folders_of_ranks() -> None:
    keys = ("work/rank-0/ckpt/rank_0/a-1.ckpt", "work/rank-1/ckpt/rank_1/a-1.ckpt")
    (only,) = newest_first(files(*keys))
    assert only.of_rank(1).key == keys[1]


def test_links_and_earlier_files_are_no_checkpoints_of_the_run(tmp_path: Path) -> None:
    work = tmp_path / "work" / "rank-0"
    work.mkdir(parents=True)
    for name in ("old-1.ckpt", "new-2.ckpt"):
        (work / name).write_bytes(b"x")
    os.utime(work / "old-1.ckpt", (100, 100))
    os.utime(work / "new-2.ckpt", (300, 300))
    (work / "link-3.ckpt").symlink_to(work / "new-2.ckpt")
    assert [file.key for file in local_files(tmp_path, since=200)] == ["work/rank-0/new-2.ckpt"]


def safetensors(size: int) -> bytes:
    header = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    return (struct.pack("<Q", len(header)) + header + bytes(8))[:size]


def test_a_file_that_was_cut_off_is_not_whole(tmp_path: Path) -> None:
    archive = tmp_path / "a.pth"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("data", b"1" * 100)
    whole = archive.read_bytes()
    for suffix in (".pth", ".pt", ".npz", ".ckpt"):
        path = tmp_path / f"b{suffix}"
        path.write_bytes(whole)
        assert is_whole(path)
        path.write_bytes(whole[:-30])
        assert not is_whole(path)
    path = tmp_path / "c.safetensors"
    for size in range(len(safetensors(10**6)) + 1):
        path.write_bytes(safetensors(size))
        assert is_whole(path) is (size == len(safetensors(10**6)))
    empty = tmp_path / "d.ckpt"
    empty.touch()
    assert not is_whole(empty)
    assert not is_whole(tmp_path / "none.ckpt")


def test_a_pipe_is_no_checkpoint_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "net-1_1.ckpt")
    assert not is_whole(tmp_path / "net-1_1.ckpt")
    os.mkfifo(tmp_path / "rank-0.jsonl")
    assert ProgressReader(tmp_path / "rank-0.jsonl").update() == []
