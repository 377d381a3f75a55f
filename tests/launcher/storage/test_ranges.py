"""One large object over several connections."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.errors import NotFound, StoreUnreachable
from launcher.storage import ObjectStore, open_store, ranges
from launcher.storage.ranges import Connections, Remainder
from launcher.storage.s3.store import S3Store
from tests.servers.faults import Answer, Faults, cut, flip_bit, reset
from tests.servers.s3 import S3Server
from tests.servers.stores import open_on
from tests.waiting import PATIENCE_S


class Source:
    """Bytes in memory, fetched slowly; counts how many are asked for at a time."""

    def __init__(self, data: bytes, bad: int = -1) -> None:
        self.data, self.bad = data, bad
        self.running = self.most = self.confirmed = 0
        self.lock = threading.Lock()

    def read(self, start: int, length: int, stop: threading.Event) -> Iterator[bytes]:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        stop.wait(0.01)
        with self.lock:
            self.running -= 1
        if start == self.bad:
            raise StoreUnreachable("gone")
        for position in range(start, start + length, 4):
            yield self.data[position : min(position + 4, start + length)]

    def confirm(self) -> None:
        self.confirmed += 1

    def remainder(self) -> Remainder:
        return Remainder(self, 5, 95, 3)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "RANGE_BYTES", 10)


@pytest.mark.usefixtures("tiny")
def test_ranges_arrive_in_order_and_few_at_a_time() -> None:
    source = Source(os.urandom(95))
    assert b"".join(source.remainder().in_order()) == source.data[5:]
    assert 2 <= source.most <= 3
    assert source.confirmed == 1
    source.bad = 25
    found = bytearray()
    with pytest.raises(StoreUnreachable):
        for piece in source.remainder().in_order():
            found += piece
    assert found == source.data[5:25]
    assert source.confirmed == 1


@pytest.mark.usefixtures("tiny")
def test_ranges_go_to_their_places_in_a_file(tmp_path: Path) -> None:
    source = Source(os.urandom(95))
    arrived: list[int] = []
    with (tmp_path / "x").open("wb+") as file:
        file.write(source.data[:5])
        file.flush()
        source.remainder().into_file(file.fileno(), arrived.append)
        assert (tmp_path / "x").read_bytes() == source.data
        assert (sum(arrived), source.most, source.confirmed) == (90, 3, 1)
        arrived.clear()
        source.bad = 25
        with pytest.raises(StoreUnreachable):
            source.remainder().into_file(file.fileno(), arrived.append)
        assert (sum(arrived), source.confirmed) == (20, 1)


@pytest.mark.usefixtures("tiny")
def test_threads_that_nobody_waits_for_write_to_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C while the first one waits: the part file is closed, its number is given to another file."""
    late = threading.Event()
    threads: list[threading.Thread] = []

    class Late(Source):
        def read(self, start: int, length: int, stop: threading.Event) -> Iterator[bytes]:
            threads.append(threading.current_thread())
            if start > 5:
                late.wait(PATIENCE_S)
            yield bytes(length)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ranges.Workers, "shutdown", interrupted)
    with (tmp_path / "x").open("wb") as file:
        number = file.fileno()
        with pytest.raises(KeyboardInterrupt):
            Late(b"").remainder().into_file(number, interrupted)
    with (tmp_path / "y").open("wb") as other:
        assert other.fileno() == number
        late.set()
        for thread in list(threads):
            thread.join(PATIENCE_S)
        assert (tmp_path / "y").stat().st_size == 0


def test_connections_are_limited_for_the_whole_store() -> None:
    connections = Connections(7)
    assert [connections.take(), connections.take(), connections.take()] == [4, 3, 0]
    connections.give_back(3)
    assert connections.take() == 3


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
def test_the_object_changes_between_ranges(radosgw: S3Server, faults: Faults, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(("kind", "fast"), [("rclone", 0), ("radosgw", 3)])
def test_long_reads(request: pytest.FixtureRequest, kind: str, fast: int) -> None:
    """rclone answers ranges with status 200, which obstore refuses."""
    store = open_on(request.getfixturevalue(kind))
    assert isinstance(store, S3Store)
    assert store._fast is not None
    data = os.urandom((3 << 20) + 5)
    store.put("x", data)
    assert store.read("x", 7, 2 << 20) == data[7 : 7 + (2 << 20)]
    assert store.read("x", 2 << 20, 2 << 20) == data[2 << 20 :]
    assert store.read("x", 0, 9 << 20) == data
    assert store._fast.fetched == fast
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
