"""The limit for uploads."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launcher.storage import brake, open_store
from launcher.storage.brake import Brake
from tests.servers.faults import Faults
from tests.servers.s3 import S3Server
from tests.servers.stores import open_on


class Clock:
    """Time that stands still; what somebody slept is noted."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(brake, "time", clock)
    return clock


def test_the_average_is_kept_over_threads(clock: Clock) -> None:
    limit = Brake(1_000_000)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: limit.take(50_000), range(11)))
    assert sorted(clock.slept) == pytest.approx([0.05 * k for k in range(11)])
    clock.now += 0.56
    limit.take(10_000_000)
    assert clock.slept[-1] == 0, "an idle line is not made to wait"


def test_no_limit_never_waits(clock: Clock) -> None:
    for _ in range(1000):
        Brake().take(1 << 40)
    assert clock.slept == []


def test_uploads_to_a_store_and_its_folders(
    radosgw: S3Server, faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brake, "PART_BYTES", 5 << 20)
    (tmp_path / "big").write_bytes(os.urandom(11 << 20))
    store = open_on(radosgw, endpoint=faults.endpoint, upload_bytes_per_s=10 << 20)
    started = time.monotonic()
    store.put_file("big", tmp_path / "big")
    store.substore("deep").put("last", b"x")
    assert time.monotonic() - started >= 1.1, "11 MiB before the last byte"
    assert store.read("big") == (tmp_path / "big").read_bytes()
    assert faults.count("PUT", "partNumber=3") == 1, "in small parts, so that no burst is long"


def test_uploads_to_a_folder(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(4 << 20))
    store = open_store(str(tmp_path / "store"), upload_bytes_per_s=6 << 20)
    started = time.monotonic()
    store.put_file("big", tmp_path / "big")
    assert time.monotonic() - started >= 0.5
