"""Staging from shards: the same tree as from files, or the shards as they are; resumed, verified, never a wrong file."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launcher.dataset.cache import read_marker
from launcher.dataset.packed import PART, Part
from launcher.dataset.plain import StageProgress, stage
from launcher.dataset.shards import PACKED, Packed, read_members
from launcher.dataset.stage import stage_data
from launcher.dataset.stream import PIECE_BYTES, pieces
from launcher.errors import IntegrityError, NoSpace, PlanError, StoreUnreachable
from launcher.jobfile.spec_places import DataSpec
from launcher.storage import ObjectStore, open_store
from launcher.storage.address import StoreAddress
from launcher.submission.preflight import _check_data
from launcher.submission.prepare import prepare
from tests.launcher.dataset.packing import make_tree, packed_tree
from tests.seeds import examples
from tests.servers.faults import fault_proxy, flip_bit
from tests.servers.rundir import tree
from tests.servers.s3 import S3Server
from tests.servers.stores import open_on

ROOT = Path(__file__).parents[3]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree")


@pytest.fixture
def packed(source: Path, tmp_path: Path) -> Packed:
    return packed_tree(tmp_path / "packed", source)


@pytest.fixture
def shards(packed: Packed, tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path / "packed"))


def test_unpacked_it_is_the_tree_that_was_packed(shards: ObjectStore, source: Path, tmp_path: Path) -> None:
    seen: list[StageProgress] = []
    first = stage_data(shards, tmp_path / "cache", progress=seen.append)
    assert tree(first.path) == tree(source)
    assert (first.files, first.reused) == (44, False)
    assert first.bytes == sum(map(len, tree(source).values()))
    assert (seen[0].files_done, seen[-1].files_done, seen[-1].bytes_done) == (0, 44, first.bytes)
    home = first.path.parent
    marker = read_marker(home / "COMPLETE.json")
    assert marker is not None
    assert (marker.digest, marker.files, marker.source) == (first.digest, 44, shards.url)
    assert {path.name for path in home.iterdir()} == {"COMPLETE.json", "boot_id", "files", "listing.tsv"}
    second = stage_data(shards, tmp_path / "cache")
    assert second.reused
    assert second.path == first.path


def test_left_packed_the_shards_are_there_and_verified(
    shards: ObjectStore, packed: Packed, tmp_path: Path
) -> None:
    staged = stage_data(shards, tmp_path / "cache", unpacked=False)
    assert tree(staged.path) == tree(tmp_path / "packed")
    assert stage_data(shards, tmp_path / "cache", unpacked=False).reused
    tar = tmp_path / "packed" / packed.shards[0].tar
    data = bytearray(tar.read_bytes())
    data[1000] ^= 4
    tar.write_bytes(data)
    with pytest.raises(IntegrityError, match="sha256") as caught:
        stage_data(shards, tmp_path / "other", unpacked=False)
    assert tar.name in str(caught.value)


def test_each_machine_gets_its_part(shards: ObjectStore, packed: Packed, tmp_path: Path) -> None:
    staged = [stage_data(shards, tmp_path / "cache", part=Part(k, 2)).path for k in range(2)]
    found = [sorted(path.stem for path in (each / "shards").glob("train-*.tar")) for each in staged]
    assert sorted(found[0] + found[1]) == [shard.name for shard in packed.of_split("train")]
    facts = [json.loads((each / PART).read_text()) for each in staged]
    assert [each["part"] for each in facts] == [0, 1]
    assert facts[0]["train_images"] == facts[1]["train_images"]
    assert sum(facts[0]["train_images"]) == 34
    for each, fact in zip(staged, facts, strict=True):
        names = {path.stem for path in (each / "shards").iterdir()}
        assert names == set(fact["shards"])
        assert {shard.name for shard in packed.shards if shard.split != "train"} <= names
    with pytest.raises(PlanError, match="can't be divided among 100"):
        stage_data(shards, tmp_path / "cache", part=Part(0, 100))


def test_class_folders_have_no_parts(source: Path, tmp_path: Path) -> None:
    store = open_store(str(source))
    assert tree(stage_data(store, tmp_path / "cache", unpacked=False).path) == tree(source)
    with pytest.raises(PlanError, match="needs a packed data set"):
        stage_data(store, tmp_path / "cache", part=Part(0, 2))


def test_the_job_file_says_how_it_is_placed(packed: Packed, source: Path, tmp_path: Path) -> None:
    assert DataSpec(url="x").placement == "full"
    with pytest.raises(ValueError, match="stays packed"):
        DataSpec(url="x", placement="shard", unpack=True)
    job = ROOT / "jobs" / "digits_vit_1p.yaml"
    for more, unpack in (((), True), (("data.unpack=false",), False), (("data.placement=shard",), False)):
        overrides = [f"data.url={tmp_path / 'packed'}", *more]
        plan = prepare(job, overrides=overrides, env={"HOME": str(tmp_path)}).plan
        assert plan.unpack is unpack
        assert plan.data is not None
        assert _check_data(plan.data, any_layout=False) == []
    packed_tree(tmp_path / "flat", source / "train")
    flat = StoreAddress(url=(tmp_path / "flat").as_uri())
    assert [each.rule for each in _check_data(flat, any_layout=False)] == ["PF031"]


def test_what_is_missing_or_short_comes_again(shards: ObjectStore, source: Path, tmp_path: Path) -> None:
    staged = stage_data(shards, tmp_path / "cache")
    (staged.path / "train/a/003.jpg").unlink()
    (staged.path / "train/b/001.jpg").write_bytes(b"short")
    (staged.path / "mine.txt").write_bytes(b"somebody's note")
    again = stage_data(shards, tmp_path / "cache")
    assert not again.reused
    assert tree(again.path) == {**tree(source), "mine.txt": b"somebody's note"}


def test_after_a_crash_of_the_machine_contents_are_read_again(
    shards: ObjectStore, source: Path, tmp_path: Path
) -> None:
    staged = stage_data(shards, tmp_path / "cache")
    (staged.path.parent / "COMPLETE.json").unlink()
    (staged.path.parent / "boot_id").write_text("another start of the machine")
    torn = staged.path / "train/a/003.jpg"
    torn.write_bytes(bytes(torn.stat().st_size))
    untouched = (staged.path / "train/a/006.jpg").stat().st_ino
    again = stage_data(shards, tmp_path / "cache")
    assert tree(again.path) == tree(source)
    assert (again.path / "train/a/006.jpg").stat().st_ino == untouched


@pytest.mark.parametrize("where", ["content", "header", "index", "manifest"])
def test_a_flipped_bit_never_gets_a_final_name(
    shards: ObjectStore, packed: Packed, source: Path, tmp_path: Path, where: str
) -> None:
    shard = packed.of_split("train")[0]
    member = read_members(shards, shard)[1]
    path = tmp_path / "packed" / {"index": shard.index, "manifest": PACKED}.get(where, shard.tar)
    data = bytearray(path.read_bytes())
    data[
        {"content": member.offset + 3, "header": member.offset - 500, "index": 150, "manifest": 60}[where]
    ] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError) as caught:
        stage_data(shards, tmp_path / "cache")
    assert path.name in str(caught.value)
    there = {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for folder in tmp_path.glob("cache/datasets/*/files")
        for file in folder.rglob("*")
        if file.is_file()
    }
    assert there.items() <= tree(source).items()
    if where == "content":
        assert len(there) == 44 - shard.files, "the other shards are kept"
        assert list(tmp_path.glob("cache/datasets/*/unpacking")) == []


def test_a_damaged_download_is_tried_again(rclone: S3Server, source: Path, tmp_path: Path) -> None:
    plain = open_on(rclone)
    for key, data in tree(tmp_path / "packed").items() if packed_tree(tmp_path / "packed", source) else ():
        plain.put(key, data)
    with fault_proxy(rclone.endpoint) as faults:
        faulty = open_store(plain.url, endpoint=faults.endpoint, env=rclone.env)
        faults.add(flip_bit, path="train-00001.tar", times=2)
        assert tree(stage_data(faulty, tmp_path / "cache").path) == tree(source)


def test_a_link_in_the_target_leads_nowhere(shards: ObjectStore, source: Path, tmp_path: Path) -> None:
    staged = stage_data(shards, tmp_path / "cache")
    outside = tmp_path / "outside"
    outside.mkdir()
    (staged.path / "val/a/000.jpg").unlink()
    (staged.path / "val/a/000.jpg").symlink_to(outside / "new.jpg")
    stage_data(shards, tmp_path / "cache")
    assert tree(staged.path) == tree(source)
    assert not (staged.path / "val/a/000.jpg").is_symlink()
    for file in (staged.path / "val/a").iterdir():
        file.unlink()
    (staged.path / "val/a").rmdir()
    (staged.path / "val/a").symlink_to(outside)
    with pytest.raises(IntegrityError, match="not a folder"):
        stage_data(shards, tmp_path / "cache")
    assert list(outside.iterdir()) == []


def test_a_disk_that_is_too_small_says_so_first(shards: ObjectStore, small_disk: Path) -> None:
    with pytest.raises(NoSpace, match="lacking"):
        stage_data(shards, small_disk, reserve_bytes=3 << 20)
    assert list(small_disk.rglob("files/*")) == []


def test_out_of_time_keeps_what_is_unpacked(shards: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable, match="out of time"):
        stage_data(shards, tmp_path / "cache", timeout_s=0.0)


def test_a_caller_can_end_it(shards: ObjectStore, source: Path, tmp_path: Path) -> None:
    def stop(_progress: StageProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage_data(shards, tmp_path / "cache", progress=stop)
    assert tree(stage_data(shards, tmp_path / "cache").path) == tree(source)


@pytest.mark.system
def test_killed_at_any_moment_it_goes_on(tmp_path: Path, rng: random.Random) -> None:
    source = make_tree(tmp_path / "tree", files=300, size=30_000)
    packed_tree(tmp_path / "packed", source, shard_bytes=500_000)
    wanted = tree(source)
    code = (
        "import sys; from pathlib import Path; from launcher.storage import open_store;"
        "from launcher.dataset.stage import stage_data; print(flush=True);"
        "stage_data(open_store(sys.argv[1]), Path(sys.argv[2]))"
    )
    interrupted = 0
    for number in range(examples(6, 60)):
        cache = tmp_path / f"cache-{number % 2}"
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "packed"), str(cache)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        with process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.uniform(0.005, 0.06))
            process.send_signal(signal.SIGKILL)
        complete = list(cache.glob("datasets/*/COMPLETE.json"))
        found = {key: data for each in cache.glob("datasets/*/files") for key, data in tree(each).items()}
        assert found.items() <= wanted.items()
        assert not complete or found == wanted
        interrupted += not complete
    assert interrupted
    store = open_store(str(tmp_path / "packed"))
    for number in range(2):
        staged = stage_data(store, tmp_path / f"cache-{number}")
        assert tree(staged.path) == wanted
        assert not (staged.path.parent / "unpacking").exists()


def test_a_run_killed_after_its_last_shard_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    source = make_tree(tmp_path / "tree", files=4, size=100)
    packed_tree(tmp_path / "packed", source, shard_bytes=500_000)
    store = open_store(str(tmp_path / "packed"))
    home = stage_data(store, tmp_path / "cache").path.parent
    (home / "COMPLETE.json").unlink()
    (home / "unpacking").mkdir()
    assert tree(stage_data(store, tmp_path / "cache").path) == tree(source)
    assert not (home / "unpacking").exists()


def test_pieces_join_to_the_object_and_nothing_else(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for size in (0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES):
        data = os.urandom(size)
        store.put("x", data)
        assert b"".join(pieces(store, "x", size)) == data
        for wrong in (size + 1, size - 1):
            if wrong >= 0:
                with pytest.raises(IntegrityError, match="is not the object"):
                    list(pieces(store, "x", wrong))


def test_a_packed_and_an_unpacked_copy_live_side_by_side(
    shards: ObjectStore, source: Path, tmp_path: Path
) -> None:
    paths = {
        stage_data(shards, tmp_path / "cache").path,
        stage_data(shards, tmp_path / "cache", unpacked=False).path,
        stage_data(shards, tmp_path / "cache", part=Part(0, 2)).path,
        stage(open_store(str(source)), tmp_path / "cache").path,
    }
    assert len(paths) == 4
