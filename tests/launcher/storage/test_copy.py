"""Copies between this machine and a store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.errors import NotFound, StoreError, UsageError
from launcher.storage import ObjectStore, open_store
from launcher.storage.copy import fetch_one, fetch_tree, send_one, send_tree, sha256_of
from tests.servers.faults import Faults, cut, flip_bit
from tests.servers.s3 import S3Server
from tests.servers.stores import open_on


def make_tree(folder: Path) -> dict[str, bytes]:
    tree = {f"a b/{n % 3}/é{n}.jpg": os.urandom(1000 + n) for n in range(12)} | {"top": b"", "conf-x": b"1"}
    for key, data in tree.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(data)
    return tree


def read_tree(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_a_tree_there_and_back(store: ObjectStore, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "mine")
    source = open_store(str(tmp_path / "mine"))
    counts: list[tuple[int, int]] = []
    sent = send_tree(source, tmp_path / "mine", store, on_copied=lambda *now: counts.append(now))
    size = sum(map(len, tree.values()))
    assert (sent.files, sent.bytes, sent.reused) == (14, size, 0)
    assert counts[-1] == (14, size)
    assert send_tree(source, tmp_path / "mine", store).reused == 14
    got = fetch_tree(store, tmp_path / "back")
    assert (got.files, got.bytes, got.reused) == (14, size, 0)
    assert read_tree(tmp_path / "back") == tree
    (tmp_path / "back/top").unlink()
    (tmp_path / "back/mine.txt").write_bytes(b"not of the store")
    assert fetch_tree(store, tmp_path / "back").reused == 13
    assert read_tree(tmp_path / "back") == tree | {"mine.txt": b"not of the store"}


def test_nothing_of_others_is_overwritten(store: ObjectStore, tmp_path: Path) -> None:
    make_tree(tmp_path / "mine")
    source = open_store(str(tmp_path / "mine"))
    store.put("top", b"somebody's")
    with pytest.raises(UsageError, match="another object"):
        send_tree(source, tmp_path / "mine", store)
    assert store.read("top") == b"somebody's"
    send_tree(source, tmp_path / "mine", store, force=True)
    assert store.read("top") == b""
    fetch_tree(store, tmp_path / "back")
    (tmp_path / "back/conf-x").write_bytes(b"2")
    (tmp_path / "back/top").unlink()
    with pytest.raises(UsageError, match="something else"):
        fetch_tree(store, tmp_path / "back")
    assert not (tmp_path / "back/top").exists(), "checked before the first byte is written"
    assert (tmp_path / "back/conf-x").read_bytes() == b"2"
    fetch_tree(store, tmp_path / "back", force=True)
    assert (tmp_path / "back/conf-x").read_bytes() == b"1"


def test_one_file(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"one")
    assert send_one(tmp_path / "x", store, "deep/x").reused == 0
    assert str(send_one(tmp_path / "x", store, "deep/x").reused) == "1", "a number, as it is printed"
    assert fetch_one(store, "deep/x", tmp_path / "new/y").bytes == 3
    assert fetch_one(store, "deep/x", tmp_path / "new/y").reused == 1
    (tmp_path / "new/y").write_bytes(b"two")
    with pytest.raises(UsageError):
        fetch_one(store, "deep/x", tmp_path / "new/y")
    fetch_one(store, "deep/x", tmp_path / "new/y", force=True)
    assert (tmp_path / "new/y").read_bytes() == b"one"
    with pytest.raises(NotFound):
        fetch_one(store, "absent", tmp_path / "z")
    info = store.head("deep/x")
    assert info is not None
    assert sha256_of(store, info).startswith("7692c3ad")


def test_nothing_to_copy(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound):
        send_tree(open_store(str(tmp_path / "empty")), tmp_path / "empty", open_store("memory://nothing"))
    with pytest.raises(NotFound):
        fetch_tree(open_store("memory://nothing"), tmp_path / "to")


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/link").symlink_to("/etc")
    with pytest.raises(StoreError, match="symbolic link"):
        send_tree(open_store(str(tmp_path / "mine")), tmp_path / "mine", open_store("memory://links"))
    (tmp_path / "to").mkdir()
    (tmp_path / "to/a").symlink_to("/etc/hostname")
    store = open_store("memory://links-down")
    store.put("a", b"x")
    with pytest.raises(UsageError):
        fetch_tree(store, tmp_path / "to", force=True)


@pytest.mark.usefixtures("engine")
def test_faults_on_the_way(radosgw: S3Server, faults: Faults, tmp_path: Path) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint)
    tree = make_tree(tmp_path / "mine")
    send_tree(open_store(str(tmp_path / "mine")), tmp_path / "mine", store)
    faults.add(cut, path=".jpg", times=3)
    faults.add(flip_bit, path="conf-x")
    with pytest.raises(StoreError, match="does not match its sha256"):
        fetch_tree(store, tmp_path / "back")
    assert read_tree(tmp_path / "back") == {key: data for key, data in tree.items() if key != "conf-x"}
    faults.clear()
    assert fetch_tree(store, tmp_path / "back").reused == 13
    assert read_tree(tmp_path / "back") == tree
