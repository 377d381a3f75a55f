"""Parts of an object on a store without ETags, and objects that change between parts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.disk import part_path
from launcher.errors import NoSpace
from launcher.storage import ObjectStore, open_store
from launcher.storage.s3 import reads as s3_reads
from launcher.storage.s3.store import S3Store
from tests.servers.faults import Answer, Faults, fault_proxy
from tests.servers.process import wait_until
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, rclone_server
from tests.servers.stores import BUCKET


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("size", [9 << 20, 2 << 20], ids=["large", "small"])
def test_what_nothing_would_prove_is_not_resumed(
    faulty: ObjectStore, faults: Faults, tmp_path: Path, size: int
) -> None:
    """With a KMS key the ETag looks like an MD5 and is none; a killed process may have left a part with holes."""

    def encrypted(answer: Answer) -> None:
        answer.headers.append(("x-amz-server-side-encryption", "aws:kms"))

    data = os.urandom(size)
    info = faulty.put("x", data)
    part_path(tmp_path / "x").write_bytes(bytes(min(6 << 20, size)))
    faults.add(encrypted)
    counts: list[int] = []
    faulty.get_file("x", tmp_path / "x", info, on_bytes=counts.append)
    assert (tmp_path / "x").read_bytes() == data
    assert sum(counts) == size


@pytest.mark.usefixtures("small")
def test_a_disk_that_fills_up(plain: tuple[Path, Faults], small_disk: Path) -> None:
    folder, proxy = plain
    store = store_of(proxy)
    (folder / "x").write_bytes(os.urandom(9 << 20))
    os.utime(folder / "x", (1, 1_700_000_000))
    with pytest.raises(NoSpace):
        store.get_file("x", small_disk / "x", store.head("x"))
    assert list(small_disk.iterdir()) == []


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[tuple[Path, Faults]]:
    """A folder that a server without ETags shows as a bucket, and a proxy before that server."""
    (tmp_path / "served" / BUCKET).mkdir(parents=True)

    def partial(answer: Answer) -> None:
        if any(name.lower() == "content-range" for name, _ in answer.headers):
            answer.status = 206  # rclone says 200

    with (
        rclone_server(tmp_path / "served", etag_hash="") as server,
        fault_proxy(server.endpoint) as proxy,
    ):
        proxy.add(partial)
        yield tmp_path / "served" / BUCKET, proxy


def store_of(proxy: Faults) -> S3Store:
    env = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    store = open_store(f"s3://{BUCKET}", endpoint=proxy.endpoint, env=env, patience_s=0.5)
    assert isinstance(store, S3Store)
    return store


@pytest.mark.system
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


@pytest.mark.system
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("after", [2, 8], ids=["among the ranges", "after the last"])
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


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("extra", [-700_000, 1 << 20], ids=["less", "more"])
def test_a_first_part_that_is_not_the_one_asked_for(
    plain: tuple[Path, Faults], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: int
) -> None:
    folder, proxy = plain
    data = os.urandom(9 << 20)
    (folder / "x").write_bytes(data)
    os.utime(folder / "x", (1, 1_700_000_000))
    store = store_of(proxy)
    info = store.head("x")
    monkeypatch.setenv("LAUNCHER_S3_ENGINE", "boto3")
    store = store_of(proxy)
    end = s3_reads.FIRST_BYTES + extra

    def another(answer: Answer) -> None:
        answer.body = data[:end]
        answer.headers = [pair for pair in answer.headers if pair[0].lower() != "content-range"]
        answer.headers.append(("Content-Range", f"bytes 0-{end - 1}/{len(data)}"))

    proxy.add(another, path="/x", times=1)
    store.get_file("x", tmp_path / "x", info)
    assert (tmp_path / "x").read_bytes() == data
