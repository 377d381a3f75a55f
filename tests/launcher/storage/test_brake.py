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


def test_the_average_is_kept_over_threads() -> None:
    limit = Brake(1_000_000)
    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: limit.take(50_000), range(11)))
    assert 0.49 <= time.monotonic() - started < 1.5
    time.sleep(0.2)
    started = time.monotonic()
    limit.take(10_000_000)
    assert time.monotonic() - started < 5, "an idle line is not made to wait"


def test_no_limit_never_waits() -> None:
    started = time.monotonic()
    for _ in range(1000):
        Brake().take(1 << 40)
    assert time.monotonic() - started < 5


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
