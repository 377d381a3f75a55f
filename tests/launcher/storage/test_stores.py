"""The same operations over every store: folder, memory, rclone and radosgw must agree."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from launcher.errors import IntegrityError, NotFound, StoreError
from launcher.storage import ObjectInfo, ObjectStore, open_store


def test_put_read_head_delete(store: ObjectStore) -> None:
    assert store.head("a/b.txt") is None
    put = store.put("a/b.txt", b"0123456789")
    assert store.read("a/b.txt") == b"0123456789"
    head = store.head("a/b.txt")
    assert head is not None
    assert (head.key, head.size, head.etag) == ("a/b.txt", 10, put.etag)
    assert head.mtime > 1.6e9
    store.put("a/b.txt", b"new")
    assert store.read("a/b.txt") == b"new"
    store.delete("a/b.txt")
    store.delete("a/b.txt")
    assert store.head("a/b.txt") is None
    with pytest.raises(NotFound) as caught:
        store.read("a/b.txt")
    assert "a/b.txt" in caught.value.where
    assert list(store.list()) == []


def test_the_time_is_that_of_the_objects(store: ObjectStore) -> None:
    before = store.now()
    store.put("a/b.txt", b"0123456789")
    head = store.head("a/b.txt")
    assert head is not None
    assert before - 1 <= head.mtime <= store.now() + 1, "whole seconds"
    assert [info.key for info in store.list()] == ["a/b.txt"]


def test_a_file_of_another_sha256_never_becomes_the_object(store: ObjectStore, tmp_path: Path) -> None:
    path, wanted = tmp_path / "up", hashlib.sha256(b"01234567").hexdigest()
    path.write_bytes(b"0123456789")
    store.put("x", b"as it was")
    for length in (None, 9):
        with pytest.raises(IntegrityError, match="sha256 differs"):
            store.put_file("x", path, length=length, sha256=wanted)
    assert store.read("x") == b"as it was"
    store.put_file("x", path, length=8, sha256=wanted)
    assert store.read("x") == b"01234567"
    path.write_bytes(b"01234567")
    store.put_file("x", path, sha256=wanted)


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (0, 4, b"0123"),
        (3, 4, b"3456"),
        (8, 10, b"89"),
        (9, 1, b"9"),
        (10, None, b""),
        (10, 5, b""),
        (99, 1, b""),
        (3, 0, b""),
    ],
)
def test_ranges(store: ObjectStore, start: int, length: int | None, expected: bytes) -> None:
    store.put("x", b"0123456789")
    assert store.read("x", start, length) == expected


def test_an_empty_object(store: ObjectStore, tmp_path: Path) -> None:
    store.put("empty", b"")
    assert store.read("empty") == b""
    assert store.read("empty", 0, 5) == b""
    assert [(info.key, info.size) for info in store.list()] == [("empty", 0)]
    assert store.get_file("empty", tmp_path / "empty").size == 0
    assert (tmp_path / "empty").read_bytes() == b""


def test_listing_is_in_byte_order_and_by_text_prefix(store: ObjectStore) -> None:
    keys = ["a/b/c", "a-b", "a.txt", "a/b", "a0", "b", "a/z", "A", "é", "z", "日本/x", "a b"]
    keys.remove("a/b")  # a folder here
    for key in keys:
        store.put(key, key.encode())
    listed = list(store.list())
    assert [info.key for info in listed] == sorted(keys, key=str.encode)
    assert {info.key: info.size for info in listed} == {key: len(key.encode()) for key in keys}
    assert [info.key for info in store.list("a/")] == ["a/b/c", "a/z"]
    assert [info.key for info in store.list("a")] == ["a b", "a-b", "a.txt", "a/b/c", "a/z", "a0"]
    assert list(store.list("nothing/here")) == []
    for info in listed:
        head = store.head(info.key)
        assert head is not None
        assert head.etag == info.etag


def test_substores_and_addresses(store: ObjectStore) -> None:
    inner = store.substore("runs/r-1")
    inner.put("eval/last.json", b"{}")
    assert store.read("runs/r-1/eval/last.json") == b"{}"
    assert [info.key for info in inner.list()] == ["eval/last.json"]
    assert inner.url == store.join("runs/r-1")
    assert inner.join("eval/last.json") == store.join("runs/r-1/eval/last.json")
    store.put("runs/r-10/x", b"")
    assert [info.key for info in inner.list()] == ["eval/last.json"]
    with pytest.raises(StoreError):
        store.substore("../out")


@pytest.mark.parametrize(
    "key", ["../x", "a/../b", "/a", "a//b", "a/", "", ".", "a/./b", "x\ny", "a\x00", "n" * 256]
)
def test_bad_keys_are_refused_by_name(store: ObjectStore, key: str) -> None:
    with pytest.raises(StoreError) as caught:
        store.put(key, b"x")
    assert "key" in str(caught.value)
    assert list(store.list()) == []


@pytest.mark.parametrize(
    "key",
    [
        "with space",
        "plus+",
        "percent%20",
        "ümlaut/日本.jpg",
        "q?a=b&c",
        "#hash",
        "quote'\"",
        "~t",
        ".dot",
        "[x]*{y}",
        "a:b|c",
        "back\\slash",
    ],
)
def test_odd_but_good_keys_survive(store: ObjectStore, key: str, tmp_path: Path) -> None:
    data = key.encode() * 3
    store.put(key, data)
    assert store.read(key) == data
    assert [info.key for info in store.list()] == [key]
    store.get_file(key, tmp_path / "file", store.head(key))
    assert (tmp_path / "file").read_bytes() == data
    store.delete(key)
    assert list(store.list()) == []


def test_files_up_and_down(store: ObjectStore, tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    (tmp_path / "up").write_bytes(data)
    counts: list[int] = []
    info = store.put_file("big/file", tmp_path / "up", on_bytes=counts.append)
    assert info.size == len(data)
    assert sum(counts) == len(data)
    counts.clear()
    digest = hashlib.sha256(data).hexdigest()
    got = store.get_file("big/file", tmp_path / "down", info, sha256=digest, on_bytes=counts.append)
    assert got.size == len(data)
    assert sum(counts) == len(data)
    assert (tmp_path / "down").read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["down", "up"]


def test_the_beginning_of_a_growing_file(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\ntwo\nthr")
    store.put_file("log", tmp_path / "log", length=8)
    assert store.read("log") == b"one\ntwo\n"
    with pytest.raises(IntegrityError):
        store.put_file("log", tmp_path / "log", length=99)
    assert store.read("log") == b"one\ntwo\n"


def test_a_missing_local_file_is_named(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        store.put_file("x", tmp_path / "absent")
    assert str(tmp_path / "absent") in str(caught.value)
    with pytest.raises(NotFound):
        store.get_file("absent", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_changed_object_is_not_taken_for_the_listed_one(store: ObjectStore, tmp_path: Path) -> None:
    store.put("x", b"old!")
    listed = next(iter(store.list()))
    store.put("x", b"new!")
    (tmp_path / "x").write_bytes(b"mine")
    with pytest.raises(IntegrityError) as caught:
        store.get_file("x", tmp_path / "x", listed)
    assert "changed" in caught.value.what
    assert (tmp_path / "x").read_bytes() == b"mine"


def test_wrong_sha256_leaves_the_target_alone(store: ObjectStore, tmp_path: Path) -> None:
    store.put("x", b"content")
    (tmp_path / "x").write_bytes(b"mine")
    with pytest.raises(IntegrityError):
        store.get_file("x", tmp_path / "x", sha256="0" * 64)
    assert (tmp_path / "x").read_bytes() == b"mine"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["x"]


def test_wrong_size_expectation(store: ObjectStore, tmp_path: Path) -> None:
    store.put("x", b"content")
    with pytest.raises(IntegrityError):
        store.get_file("x", tmp_path / "x", ObjectInfo("x", 99))


def test_unknown_schemes_and_bad_addresses() -> None:
    for url, words in [
        ("gs://bucket/x", "known are"),
        ("", "empty"),
        ("s3:///x", "no bucket"),
        ("file://host/x", "three slashes"),
        ("s3://AKIA:topsecret@bucket/x", "credentials"),
        ("s3://bucket/a/../b", ".."),
    ]:
        with pytest.raises((StoreError, Exception)) as caught:
            open_store(url)
        assert words in str(caught.value)
        assert "topsecret" not in str(caught.value)


def test_a_put_without_a_look_is_there(store: ObjectStore) -> None:
    put = store.put("a/b.txt", b"0123456789", confirm=False)
    assert (put.key, put.size) == ("a/b.txt", 10)
    assert store.read("a/b.txt") == b"0123456789"
    store.put("a/b.txt", b"new", confirm=False)
    assert store.read("a/b.txt") == b"new"


def test_what_is_removed_during_a_listing_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a folder: others remove objects, and with the last one the folder, at any moment of a listing."""
    store = open_store(str(tmp_path / "store"))
    for key in ("a/1", "a/2", "b/1", "c/1"):
        store.put(key, b"x")
    listing = store.list()
    assert next(listing).key == "a/1"
    store.delete("a/2")
    store.delete("b/1")
    assert [info.key for info in listing] == ["c/1"]
    is_dir = Path.is_dir

    def removed_at_once(path: Path) -> bool:
        monkeypatch.setattr(Path, "is_dir", is_dir)
        found = path.is_dir()
        store.delete("c/1")
        return found

    monkeypatch.setattr(Path, "is_dir", removed_at_once)
    assert list(store.list("c/")) == []
    assert not (tmp_path / "store" / "c").exists()
