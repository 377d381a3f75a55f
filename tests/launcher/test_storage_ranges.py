"""One large object over several connections."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.errors import NotFound, StoreUnreachable
from launcher.storage import ObjectStore, open_store, ranges, s3
from launcher.storage.ranges import Lanes, ahead
from launcher.storage.s3 import S3Store
from tests.servers.faults import Answer, Faults, cut, fault_proxy, flip_bit, reset
from tests.servers.process import wait_until
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, S3Server, rclone_server
from tests.servers.stores import BUCKET, open_on


def test_stretches_arrive_in_order_and_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "STRETCH_BYTES", 10)
    data = os.urandom(95)
    running, most, lock = 0, 0, threading.Lock()

    def fetch(start: int, target: memoryview, stop: threading.Event) -> None:
        nonlocal running, most
        with lock:
            running, most = running + 1, max(most, running + 1)
        stop.wait(0.01)
        with lock:
            running -= 1
        target[:] = data[start : start + len(target)]

    assert b"".join(bytes(piece) for piece in ahead(fetch, 5, 95, 3)) == data[5:]
    assert 2 <= most <= 3
    with pytest.raises(StoreUnreachable):
        list(ahead(lambda start, target, stop: _fail_at(start, 25), 5, 95, 3))


def _fail_at(start: int, bad: int) -> None:
    if start == bad:
        raise StoreUnreachable("gone")


def test_lanes_are_limited_for_the_whole_store() -> None:
    lanes = Lanes(7)
    assert [lanes.take(), lanes.take(), lanes.take()] == [4, 3, 0]
    lanes.give(3)
    assert lanes.take() == 3


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "LARGE_BYTES", 3 << 20)
    monkeypatch.setattr(ranges, "STRETCH_BYTES", 1 << 20)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kind", ["rclone", "radosgw"])
def test_a_large_object(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    store = open_on(request.getfixturevalue(kind))
    data = os.urandom((7 << 20) + 12345)
    info = store.put("x", data)
    store.get_file("x", tmp_path / "x", info)
    assert (tmp_path / "x").read_bytes() == data


@pytest.mark.usefixtures("small")
def test_faults_on_the_way(faulty: ObjectStore, faults: Faults, tmp_path: Path) -> None:
    data = os.urandom(9 << 20)
    info = faulty.put("x", data)
    faults.clear()
    faults.add(reset, path="/x", times=1)
    faults.add(cut, path="/x", times=3)
    counts: list[int] = []
    faulty.get_file("x", tmp_path / "x", info, on_bytes=counts.append)
    assert (tmp_path / "x").read_bytes() == data
    assert sum(counts) == len(data)
    assert faults.count("GET", "/x") > 9


@pytest.mark.usefixtures("small")
def test_the_object_changes_between_stretches(radosgw: S3Server, faults: Faults, tmp_path: Path) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint)
    direct = open_store(store.url, endpoint=radosgw.endpoint, env=radosgw.env)
    old, new = os.urandom(8 << 20), os.urandom(8 << 20)
    info = direct.put("x", old)

    def replace(answer: Answer) -> None:
        direct.put("x", new)

    faults.add(replace, path="/x", times=1)
    with pytest.raises(Exception, match="changed"):
        store.get_file("x", tmp_path / "x", info)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["rclone", "radosgw"])
def test_long_reads(request: pytest.FixtureRequest, kind: str) -> None:
    store = open_on(request.getfixturevalue(kind))
    assert isinstance(store, S3Store)
    assert store._fast is not None
    data = os.urandom((3 << 20) + 5)
    store.put("x", data)
    assert store.read("x", 7, 2 << 20) == data[7 : 7 + (2 << 20)]
    assert store.read("x", 2 << 20, 2 << 20) == data[2 << 20 :]
    assert store.read("x", 0, 9 << 20) == data
    assert store._fast.fetched == 3
    assert store.read("x", len(data), 2 << 20) == b""
    with pytest.raises(NotFound):
        store.read("y", 0, 2 << 20)


def test_long_reads_with_faults(faulty: ObjectStore, faults: Faults) -> None:
    data = os.urandom(3 << 20)
    faulty.put("x", data)
    for fault, args in ((cut, (1, 2 << 20)), (reset, (1, 2 << 20)), (flip_bit, (0, 4 << 20))):
        faults.add(fault, path="/x", times=1)
        assert faulty.read("x", *args) == data[args[0] : sum(args)]
    assert fast_count(faulty) == 0


def fast_count(store: ObjectStore) -> int:
    assert isinstance(store, S3Store)
    assert store._fast is not None
    return store._fast.fetched


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[tuple[Path, Faults]]:
    """A folder that a server without ETags shows as a bucket, and a proxy before that server."""
    (tmp_path / "served" / BUCKET).mkdir(parents=True)
    with (
        rclone_server(tmp_path / "served", etag_hash="") as server,
        fault_proxy(server.endpoint) as proxy,
    ):
        yield tmp_path / "served" / BUCKET, proxy


def store_of(proxy: Faults) -> S3Store:
    env = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    store = open_store(f"s3://{BUCKET}", endpoint=proxy.endpoint, env=env, patience_s=0.5)
    assert isinstance(store, S3Store)
    return store


@pytest.mark.usefixtures("small")
def test_without_etags_size_and_time_tell_the_version(plain: tuple[Path, Faults], tmp_path: Path) -> None:
    folder, proxy = plain
    store = store_of(proxy)
    data = os.urandom((7 << 20) + 12345)
    (folder / "x").write_bytes(data)
    info = store.head("x")
    assert info is not None
    assert not info.etag
    store.get_file("x", tmp_path / "new", info)
    assert (tmp_path / "new").read_bytes() == data
    assert store._fast is not None
    assert store._fast.fetched == 0, "written this second: a change would not show"
    assert proxy.count("GET", "/x") == 2
    os.utime(folder / "x", (1, 1_700_000_000))
    wait_until(lambda: getattr(store.head("x"), "mtime", 0) == 1_700_000_000, "the server's cache", tmp_path)
    store.get_file("x", tmp_path / "old", store.head("x"))
    assert (tmp_path / "old").read_bytes() == data
    assert store._fast.fetched == 7


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("after", [2, 8], ids=["among the stretches", "after the last"])
def test_without_etags_a_change_shows(plain: tuple[Path, Faults], tmp_path: Path, after: int) -> None:
    folder, proxy = plain
    store = store_of(proxy)
    (folder / "x").write_bytes(bytes(8 << 20))
    os.utime(folder / "x", (1, 1_700_000_000))
    info = store.head("x")
    assert info is not None
    left = after

    def replace(answer: Answer) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.utime(folder / "x", (1, 1_700_000_009))
            wait_until(
                lambda: getattr(store.head("x"), "mtime", 0) == 1_700_000_009, "the server's cache", tmp_path
            )

    proxy.add(replace, path="/x", times=after)
    store.get_file("x", tmp_path / "x", info)
    assert proxy.count("GET", "/x") > 8, "fetched anew"
