"""Downloads and uploads while something between client and server breaks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.disk import os_error, part_path
from launcher.errors import IntegrityError, NoSpace, StoreError, StoreRefused, StoreUnreachable
from launcher.storage import ObjectStore, open_store
from launcher.storage.backoff import Backoff, BackoffPolicy, StoreBusy
from launcher.storage.base import Pace
from launcher.storage.s3 import client as s3_client
from launcher.storage.s3 import upload as s3_upload
from tests.servers.faults import Answer, Faults, cut, delay, flip_bit, reset, status
from tests.servers.s3 import S3Server
from tests.servers.stores import open_on

DATA = os.urandom(300_000)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("fault", "times"),
    [(cut, 2), (reset, 2), (flip_bit, 1), (status(503, "SlowDown"), 3), (status(500, "InternalError"), 2)],
    ids=["cut", "reset", "flipped", "503", "500"],
)
def test_passing_faults_cost_only_time(
    faulty: ObjectStore, faults: Faults, tmp_path: Path, fault: Callable[[Answer], None], times: int
) -> None:
    faulty.put("x", DATA)
    faults.add(fault, times=times)
    faulty.get_file("x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA
    assert names(tmp_path) == ["x"]
    faults.add(fault, times=times)
    assert faulty.read("x") == DATA


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (cut, StoreUnreachable),
        (reset, StoreUnreachable),
        (flip_bit, IntegrityError),
        (status(503, "SlowDown"), StoreUnreachable),
    ],
    ids=["cut", "reset", "flipped", "503"],
)
def test_lasting_faults_end_in_an_error_and_no_file(
    radosgw: S3Server, faults: Faults, tmp_path: Path, fault: Callable[[Answer], None], kind: type[StoreError]
) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=1.0)
    store.put("x", DATA)
    faults.add(fault)
    with pytest.raises(kind) as caught:
        store.get_file("x", tmp_path / "x")
    assert names(tmp_path) == []
    assert caught.value.where.endswith("/x")
    with pytest.raises(kind):
        store.read("x")


@pytest.mark.parametrize("code", [301, 307])
def test_a_bucket_of_another_region_is_an_error_and_no_redirect_is_followed(
    radosgw: S3Server, faults: Faults, code: int
) -> None:
    """botocore would look for the bucket's region, and never end where that is answered with a redirect, too."""
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=1.0)
    for method in ("GET", "HEAD", "PUT"):
        faults.add(status(code, "PermanentRedirect"), method=method)
    for request in (lambda: store.head("x"), lambda: list(store.list()), lambda: store.put("x", b"1")):
        with pytest.raises(StoreRefused, match="lives in another region"):
            request()
    assert faults.count("PUT") == 1


def test_a_flipped_bit_in_an_upload_never_becomes_an_object(
    radosgw: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import botocore.endpoint

    real = botocore.endpoint.Endpoint._send

    def send(self: object, request: object) -> object:
        if request.method == "PUT":
            assert request.headers["Content-MD5"]
            request.body = b"evil" + request.body[4:]
        return real(self, request)

    monkeypatch.setattr(botocore.endpoint.Endpoint, "_send", send)
    for address in ({}, {"endpoint": radosgw.tls_endpoint, "ca_bundle": radosgw.ca_bundle}):
        store = open_on(radosgw, patience_s=0.5, **address)
        with pytest.raises(StoreError):
            store.put("x", b"good bytes")
        assert store.head("x") is None


def test_a_stalled_connection_times_out(
    radosgw: S3Server, faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_client, "READ_TIMEOUT_S", 0.5)
    store = open_on(radosgw, endpoint=faults.endpoint)
    store.put("x", DATA)
    faults.add(delay(2.0), times=1)
    store.get_file("x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA


def test_a_put_without_a_look_is_one_request(faulty: ObjectStore, faults: Faults) -> None:
    faulty.put("x", DATA, confirm=False)
    assert [method for method, _ in faults.seen] == ["PUT"]
    faults.add(status(503, "SlowDown"), method="PUT", times=2)
    faulty.put("x", b"new", confirm=False)
    assert faulty.read("x") == b"new"


def test_retry_after_is_honoured(faulty: ObjectStore, faults: Faults) -> None:
    faulty.put("x", DATA)
    faults.add(status(503, "SlowDown", Retry_After="1"), times=1)
    started = time.monotonic()
    assert faulty.read("x") == DATA
    assert time.monotonic() - started >= 1.0


def test_a_cut_body_continues_where_it_broke(faulty: ObjectStore, faults: Faults, tmp_path: Path) -> None:
    data = os.urandom(6 << 20)
    faulty.put("x", data)
    faults.add(cut, times=1)
    counts: list[int] = []
    faulty.get_file("x", tmp_path / "x", on_bytes=counts.append)
    assert (tmp_path / "x").read_bytes() == data
    assert sum(counts) == len(data)
    assert min(counts) > 0, "nothing was fetched twice"


@pytest.mark.parametrize("multipart", [False, True], ids=["with MD5", "without MD5"])
def test_the_object_changes_between_two_halves(
    radosgw: S3Server, faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, multipart: bool
) -> None:
    if multipart:
        monkeypatch.setattr(s3_upload, "MULTIPART_BYTES", 6 << 20)
        monkeypatch.setattr(s3_upload, "PART_BYTES", 5 << 20)
    store = open_on(radosgw, endpoint=faults.endpoint)
    direct = open_store(store.url, endpoint=radosgw.endpoint, env=radosgw.env)
    for letter in "ab":
        (tmp_path / letter).write_bytes(letter.encode() * (7 << 20))
    direct.put_file("x", tmp_path / "a")

    def cut_and_replace(answer: Answer) -> None:
        cut(answer)
        direct.put_file("x", tmp_path / "b")

    faults.add(cut_and_replace, times=1)
    store.get_file("x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == (tmp_path / "b").read_bytes(), "a mixture of two versions"


def test_a_download_that_was_killed_continues(radosgw: S3Server, faults: Faults, tmp_path: Path) -> None:
    data = os.urandom(12 << 20)
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=0.2)
    info = store.put("x", data)

    def two_thirds(answer: Answer) -> None:
        answer.cut_at = min(len(answer.body), 8 << 20)

    faults.add(two_thirds, times=1)
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom launcher.storage import open_store, backoff\n"
        "backoff.Backoff.wait = lambda self, error: os.kill(os.getpid(), 9)\n"
        f"store = open_store({store.url!r}, endpoint={faults.endpoint!r})\n"
        f"store.get_file('x', Path({str(tmp_path / 'x')!r}))\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], env={**os.environ, **radosgw.env}, check=False)
    assert killed.returncode == -9
    assert not (tmp_path / "x").exists()
    left = part_path(tmp_path / "x").stat().st_size
    assert 7 << 20 <= left < len(data)
    faults.clear()
    sizes: list[int] = []
    faults.add(lambda answer: sizes.append(len(answer.body)))
    store.get_file("x", tmp_path / "x", info)
    assert sizes == [len(data) - left], "only the rest is fetched"
    assert (tmp_path / "x").read_bytes() == data
    assert names(tmp_path) == ["x"]


def test_a_damaged_part_of_an_earlier_process_is_thrown_away(
    faulty: ObjectStore, faults: Faults, tmp_path: Path
) -> None:
    data = os.urandom(8 << 20)
    info = faulty.put("x", data)
    part_path(tmp_path / "x").write_bytes(os.urandom(5 << 20))
    faulty.get_file("x", tmp_path / "x", info)
    assert (tmp_path / "x").read_bytes() == data
    part_path(tmp_path / "y").write_bytes(data)  # complete, only the rename was missing
    faulty.get_file("x", tmp_path / "y", info)
    assert (tmp_path / "y").read_bytes() == data
    assert names(tmp_path) == ["x", "y"]


def test_two_processes_at_one_file(faulty: ObjectStore, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    data = os.urandom(2 << 20)
    faulty.put("x", data)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: faulty.get_file("x", tmp_path / "x"), range(12)))
    assert (tmp_path / "x").read_bytes() == data
    assert names(tmp_path) == ["x"]


def test_readers_see_the_old_or_the_new_object(store: ObjectStore) -> None:
    """Plain overwriting must be atomic for readers: LATEST and heartbeats rely on it."""
    import threading

    store.put("x", b"0" * 100_000)
    end = threading.Event()
    seen: set[bytes] = set()

    def reader() -> None:
        while not end.is_set():
            seen.add(store.read("x"))
            time.sleep(0.002)

    threads = [threading.Thread(target=reader) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(1, 9):
        store.put("x", str(number).encode() * 100_000)
    end.set()
    for thread in threads:
        thread.join()
    assert seen
    assert all(len(set(data)) == 1 and len(data) == 100_000 for data in seen)


def test_a_full_disk_is_no_space_and_leaves_nothing(faulty: ObjectStore, small_disk: Path) -> None:
    faulty.put("x", os.urandom(3 << 20))
    with pytest.raises(NoSpace) as caught:
        faulty.get_file("x", small_disk / "x")
    assert names(small_disk) == []
    assert caught.value.hint
    local = open_store(str(small_disk / "store"))
    local.put("small", b"x")
    with pytest.raises(NoSpace):
        local.put("big", os.urandom(3 << 20))
    assert [info.key for info in local.list()] == ["small"]
    assert names(small_disk / "store") == ["small"]


def test_operating_system_errors_in_words() -> None:
    for number, kind in [
        (errno.ENOSPC, "NoSpace"),
        (errno.EDQUOT, "NoSpace"),
        (errno.ENOENT, "NotFound"),
        (errno.EACCES, "StoreRefused"),
        (errno.EROFS, "StoreRefused"),
        (errno.ENAMETOOLONG, "StoreError"),
        (errno.EIO, "StoreError"),
    ]:
        error = os_error(OSError(number, os.strerror(number)), "/some/where")
        assert type(error).__name__ == kind
        assert error.where == "/some/where"


def test_retries_end(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    pace = Pace()
    monkeypatch.setattr(pace.stop, "wait", lambda seconds: bool(waits.append(seconds)))
    backoff = Backoff(BackoffPolicy(tries=6, base_s=1.0, cap_s=3.0, patience_s=1000), pace)
    error = StoreUnreachable("down")
    for _ in range(5):
        backoff.wait(error)
    with pytest.raises(StoreUnreachable):
        backoff.wait(error)
    assert len(waits) == 5
    assert all(0 <= wait <= min(3.0, 2**n) for n, wait in enumerate(waits))
    busy = StoreBusy("slow down")
    busy.retry_after_s = 2.5
    backoff.progress()
    backoff.wait(busy)
    assert waits[-1] >= 2.5


def test_a_stopped_caller_is_not_kept_waiting(radosgw: S3Server, faults: Faults, tmp_path: Path) -> None:
    import threading

    store = open_on(radosgw, endpoint=faults.endpoint)
    store.put("x", DATA)
    faults.add(status(503, "SlowDown", Retry_After="20"))
    pace = Pace()
    threading.Timer(0.3, pace.stop.set).start()
    with pytest.raises(StoreUnreachable):
        store.get_file("x", tmp_path / "x", pace=pace)
    assert faults.count("GET", "/x") <= 1
