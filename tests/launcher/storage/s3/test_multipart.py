"""Large objects go up in parts, or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import IntegrityError, StoreUnreachable
from launcher.storage.s3 import upload as s3_upload
from tests.servers.faults import Answer, Faults, reset, status
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET, open_on


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_upload, "MULTIPART_BYTES", 6 << 20)
    monkeypatch.setattr(s3_upload, "PART_BYTES", 5 << 20)


def uploads_left(server: S3Server) -> list[Any]:
    return server.client().list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])


@pytest.mark.parametrize("server_name", ["radosgw", "rclone"])
@pytest.mark.usefixtures("small_parts")
def test_multipart(request: pytest.FixtureRequest, server_name: str, tmp_path: Path) -> None:
    server: S3Server = request.getfixturevalue(server_name)
    store = open_on(server)
    data = os.urandom(13 << 20)
    (tmp_path / "up").write_bytes(data)
    counts: list[int] = []
    info = store.put_file("big", tmp_path / "up", on_bytes=counts.append)
    assert info.size == sum(counts) == len(data)
    if server_name == "radosgw":
        assert info.etag.endswith("-3")
        assert info.md5 is None
    store.get_file("big", tmp_path / "down", info)
    assert (tmp_path / "down").read_bytes() == data


@pytest.mark.usefixtures("small_parts")
def test_a_failed_multipart_upload_leaves_nothing(radosgw: S3Server, faults: Faults, tmp_path: Path) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=0.5)
    (tmp_path / "up").write_bytes(os.urandom(13 << 20))
    faults.add(status(500, "InternalError"), method="PUT", path="partNumber=2")
    with pytest.raises(StoreUnreachable):
        store.put_file("big", tmp_path / "up")
    assert store.head("big") is None
    assert uploads_left(radosgw) == []


@pytest.mark.usefixtures("small_parts")
def test_parts_are_retried(radosgw: S3Server, faults: Faults, tmp_path: Path) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint)
    data = os.urandom(13 << 20)
    (tmp_path / "up").write_bytes(data)
    faults.add(reset, method="PUT", path="partNumber=1", times=1)
    faults.add(status(503, "SlowDown"), method="PUT", path="partNumber=3", times=2)
    store.put_file("big", tmp_path / "up")
    assert store.read("big") == data


@pytest.mark.usefixtures("small_parts")
def test_a_file_that_changes_during_the_upload(radosgw: S3Server, faults: Faults, tmp_path: Path) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint)
    path = tmp_path / "up"
    path.write_bytes(os.urandom(13 << 20))

    def rewrite(answer: Answer) -> None:
        path.write_bytes(b"shorter")

    faults.add(rewrite, method="POST", path="uploads", times=1)
    with pytest.raises(IntegrityError):
        store.put_file("big", path)
    assert store.head("big") is None
    assert uploads_left(radosgw) == []


def test_another_writer_is_noticed(radosgw: S3Server, faults: Faults) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint)
    key = f"{store.url.removeprefix(f's3://{BUCKET}/')}/x"

    def overwrite(answer: Answer) -> None:
        radosgw.client().put_object(Bucket=BUCKET, Key=key, Body=b"evil")

    faults.add(overwrite, method="PUT", times=1)
    with pytest.raises(IntegrityError, match="ETag"):
        store.put("x", b"good")
