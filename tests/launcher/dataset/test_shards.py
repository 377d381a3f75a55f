"""Packing: the same input gives the same bytes, complete or absent, and every flipped bit is found."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest

from launcher.cli import main
from launcher.dataset.layout import lay_out
from launcher.dataset.pack import pack
from launcher.dataset.shards import PACKED, Shard, divide, parse_index, read_members, read_packed
from launcher.dataset.verify import verify_packed
from launcher.errors import IntegrityError, NotFound, StoreError, UsageError
from launcher.storage import ObjectInfo, open_store
from launcher.storage.address import StoreAddress
from tests.launcher.dataset.packing import make_tree, packed_tree
from tests.servers.rundir import tree
from tests.servers.s3 import S3Server
from tests.servers.stores import open_on
from vitmodels.images.packed import open_packed

ROOT = Path(__file__).parents[3]


def test_tar_takes_the_shards_apart(source: Path, tmp_path: Path) -> None:
    packed = packed_tree(tmp_path / "packed", source)
    for shard in packed.shards:
        with tarfile.open(tmp_path / "packed" / shard.tar) as tar:
            tar.extractall(tmp_path / "out", filter="data")
    assert tree(tmp_path / "out") == tree(source)
    assert packed.files == 44
    assert packed.payload == sum(map(len, tree(source).values()))
    assert packed.classes["train"] == {"a": 12, "b": 12, "c": 10}
    assert packed.classes["val"] == {"a": 3, "b": 2, "c": 3}
    assert sum(shard.images for shard in packed.of_split("train")) == 34
    assert [shard.name for shard in packed.of_split("")] == ["data-00000"]


def test_members_are_where_the_index_says(source: Path, tmp_path: Path) -> None:
    packed = packed_tree(tmp_path / "packed", source)
    store = open_store(str(tmp_path / "packed"))
    for shard in packed.shards:
        data = (tmp_path / "packed" / shard.tar).read_bytes()
        for each in read_members(store, shard):
            content = data[each.offset : each.offset + each.size]
            assert content == (source / each.key).read_bytes()
            assert hashlib.sha256(content).hexdigest() == each.sha256


@pytest.mark.system
def test_the_same_files_give_the_same_bytes(source: Path, tmp_path: Path) -> None:
    packed_tree(tmp_path / "first", source)
    again = make_tree(tmp_path / "again")
    for path in again.rglob("*"):
        path.chmod(0o700)
        os.utime(path, (1, 1))
    packed_tree(tmp_path / "second", again, jobs=3)
    assert tree(tmp_path / "first") == tree(tmp_path / "second")
    packed_tree(tmp_path / "other", again, seed=1)
    assert tree(tmp_path / "first").keys() == tree(tmp_path / "other").keys()
    assert tree(tmp_path / "first") != tree(tmp_path / "other")


def test_from_s3_to_s3_the_same_bytes(
    rclone: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in rclone.env.items():
        monkeypatch.setenv(name, value)
    source = make_tree(tmp_path / "tree", files=8)
    store = open_on(rclone)
    for key, data in tree(source).items():
        store.put(f"tree/{key}", data)
    address = StoreAddress(url=store.url)
    scratch = tmp_path / "scratch"
    report = pack(address.child("tree"), address.child("packed"), scratch, shard_bytes=20_000, jobs=1)
    local = packed_tree(tmp_path / "packed", source, shard_bytes=20_000)
    assert report.packed == local
    assert verify_packed(store.substore("packed")) == local
    for key, data in tree(tmp_path / "packed").items():
        assert store.read(f"packed/{key}") == data
    assert list(scratch.rglob("*.tar")) == []


def test_files_without_suffix_count_by_content_as_in_the_loader(source: Path, tmp_path: Path) -> None:
    (source / "train/a/n0001").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    (source / "train/a/README").write_bytes(b"words")
    (source / "train/only").mkdir()
    (source / "train/only/n0002").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(10))
    packed = packed_tree(tmp_path / "packed", source)
    opened = open_packed(tmp_path / "packed", "train")
    counted = {name: int((opened.labels == label).sum()) for label, name in enumerate(opened.classes)}
    assert packed.classes["train"] == counted
    assert counted["only"] == 1
    assert sum(shard.images for shard in packed.of_split("train")) == len(opened)


@pytest.mark.parametrize("where", ["content", "header", "padding", "index", "manifest", "length"])
def test_a_flipped_bit_is_found_and_named(source: Path, tmp_path: Path, where: str) -> None:
    packed = packed_tree(tmp_path / "packed", source)
    store = open_store(str(tmp_path / "packed"))
    shard = packed.of_split("train")[1]
    member = read_members(store, shard)[2]
    path = tmp_path / "packed" / {"index": shard.index, "manifest": PACKED}.get(where, shard.tar)
    data = bytearray(path.read_bytes())
    at = {
        "content": member.offset + 7,
        "header": member.offset - 500,
        "padding": member.offset + member.size,
        "index": 200,
        "manifest": data.find(b'"files": ') + 10,
    }
    if where == "length":
        data += b"x"
    else:
        data[at[where]] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError) as caught:
        verify_packed(store)
    assert path.name in str(caught.value)
    if where in ("content", "header", "padding"):
        assert member.key in str(caught.value)


def test_what_the_destination_may_hold(source: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match=r"not empty: 'mine\.txt'"):
        packed_tree(tmp_path / "full", source)
    with pytest.raises(UsageError, match="lie in each other"):
        packed_tree(source / "packed", source)
    packed_tree(tmp_path / "packed", source)
    with pytest.raises(UsageError, match="not empty"):
        packed_tree(tmp_path / "packed", source, shard_bytes=80_000)
    changed = source / "train/a/003.jpg"
    changed.write_bytes(changed.read_bytes()[::-1])
    before = tree(tmp_path / "packed")
    with pytest.raises(UsageError, match="another packed data set"):
        packed_tree(tmp_path / "packed", source)
    assert tree(tmp_path / "packed") == before
    with pytest.raises(NotFound, match="nothing to pack"):
        packed_tree(tmp_path / "new", tmp_path / "nothing")


def test_shards_are_alike_and_random_samples() -> None:
    infos = [ObjectInfo(f"train/{n // 100:02d}/{n:04d}.jpg", 1000 + n % 7) for n in range(2000)]
    drafts = lay_out(infos, 100 * 1536, 0)
    assert [draft.name for draft in drafts] == [f"train-{n:05d}" for n in range(20)]
    assert {draft.images for draft in drafts} <= {99, 100, 101}
    assert sorted(entry.key for draft in drafts for entry in draft.entries) == [info.key for info in infos]
    assert min(len({entry.key[6:8] for entry in draft.entries}) for draft in drafts) > 16
    huge = lay_out([ObjectInfo(f"a/{n}", 10**6 if n == 3 else 10) for n in range(8)], 1000, 0)
    assert [draft.name for draft in huge] == [f"data-{n:05d}" for n in range(len(huge))]


def test_parts_have_about_the_same_number_of_images() -> None:
    shards = [
        Shard(
            name=f"train-{n:05d}",
            split="train",
            files=100 + n,
            images=100 + n,
            payload=0,
            bytes=0,
            sha256="0" * 64,
            index_bytes=0,
            index_sha256="0" * 64,
        )
        for n in range(16)
    ]
    parts = divide(shards, 4)
    assert sorted(shard.name for part in parts for shard in part) == [shard.name for shard in shards]
    assert [sum(shard.images for shard in part) for part in parts] == [430] * 4
    assert parts == divide(reversed(shards), 4)


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("512\t3\t0\t../up", r"\.\."),
        ("512\t3\t0\t/root", "empty segment"),
        ("512\t3\t0\ta/../../b", r"\.\."),
        ("512\t900\t0\ta", "don't fit"),
        ("512\t-1\t0\ta", "overlaps"),
        ("512\t3\t0\ta\n514\t3\t0\tb", "overlaps"),
        ("512\tx\t0\ta", "no index"),
        ("512\t3\ta", "no index"),
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(line: str, match: str) -> None:
    with pytest.raises(StoreError, match=match):
        parse_index(f"#tar\t1024\t{'0' * 64}\n{line}\n".encode(), "here")


def test_another_file_of_that_name_is_no_packed_data_set(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    assert read_packed(store) is None
    store.put(PACKED, b'{"name": "webpack"}')
    assert read_packed(store) is None
    store.put(PACKED, b'{"kind": "ascend-launcher packed data set", "format": 2}')
    with pytest.raises(IntegrityError, match="format 2"):
        read_packed(store)
    store.put(PACKED, b'{"kind": ')
    with pytest.raises(IntegrityError, match="no JSON"):
        read_packed(store)


def test_the_command(
    source: Path, tmp_path: Path, launcher_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dest = str(tmp_path / "packed")
    assert main(["pack", str(source), dest, "--shard-size", "40KB", "--jobs", "1"]) == 0
    assert "packed 44 files" in capsys.readouterr().out
    assert main(["pack", str(source), dest, "--shard-size", "40KB", "--jobs", "1", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["kept_shards"] == facts["shards"] > 3
    assert facts["images"] == {"train": 34, "val": 8}
    assert main(["pack", "--verify", dest]) == 0
    assert "every byte is right" in capsys.readouterr().out
    shard = next((tmp_path / "packed" / "shards").glob("train*.tar"))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert main(["pack", "--verify", dest]) == 4
    assert shard.name in capsys.readouterr().err
    for wrong in (
        ["pack", str(source)],
        ["pack", "--verify", dest, dest],
        ["pack", "a", "b", "--shard-size", "x"],
    ):
        assert main(wrong) == 2
        assert "hint" in capsys.readouterr().err or "--" in " ".join(wrong)
    assert main(["pack", str(source), dest, "--jobs", "0"]) == 2
