"""Large objects go up in parts, or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.errors import IntegrityError, NotFound, StoreRefused, StoreUnreachable
from launcher.storage.s3 import upload as s3_upload
from tests.servers.faults import Answer, Faults, cut, reset, status
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET, open_on

DATA = os.urandom(13 << 20)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_upload, "MULTIPART_BYTES", 6 << 20)
    monkeypatch.setattr(s3_upload, "PART_BYTES", 5 << 20)


def uploads_left(server: S3Server) -> list[tuple[str, str]]:
    """Keys and ids, in order."""
    uploads = server.client().list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    return sorted((each["Key"], each["UploadId"]) for each in uploads)


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
@pytest.mark.parametrize("form", ["W/{}", '""'])
def test_parts_whose_etags_a_proxy_changed(
    radosgw: S3Server, faults: Faults, tmp_path: Path, form: str
) -> None:
    """The store wants its own ones at the end of the upload."""

    def change(answer: Answer) -> None:
        answer.headers = [(k, form.format(v) if k.lower() == "etag" else v) for k, v in answer.headers]

    store = open_on(radosgw, endpoint=faults.endpoint)
    data = os.urandom(13 << 20)
    (tmp_path / "up").write_bytes(data)
    faults.add(change, method="PUT", path="partNumber=2", times=1)
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


@pytest.mark.usefixtures("small_parts")
def test_a_file_whose_sha256_is_known_is_read_once(
    radosgw: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> str:
        raise AssertionError("read for its sha256 alone")

    monkeypatch.setattr(s3_upload, "sha256_of", forbidden)
    store, path = open_on(radosgw), tmp_path / "up"
    path.write_bytes(DATA)
    sha256 = hashlib.sha256(DATA).hexdigest()
    info = store.put_file("big", path, sha256=sha256)
    assert info.sha256 == sha256
    path.write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
    with pytest.raises(IntegrityError, match="sha256 differs"):
        store.put_file("big", path, sha256=sha256)
    assert store.read("big") == DATA
    assert uploads_left(radosgw) == []


def empty(answer: Answer) -> None:
    answer.body = b""


@pytest.mark.parametrize("fault", [reset, cut, empty], ids=["reset", "cut", "empty"])
@pytest.mark.usefixtures("small_parts")
def test_a_lost_answer_leaves_no_upload_behind(
    radosgw: S3Server, faults: Faults, tmp_path: Path, fault: Callable[[Answer], None]
) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint)
    (tmp_path / "up").write_bytes(DATA)
    faults.add(fault, method="POST", path="uploads", times=2)
    store.put_file("big", tmp_path / "up")
    assert faults.count("POST", "uploads") == 3
    assert uploads_left(radosgw) == []
    assert store.read("big") == DATA


@pytest.mark.usefixtures("small_parts")
def test_no_upload_is_left_when_every_answer_is_lost(
    radosgw: S3Server, faults: Faults, tmp_path: Path
) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=1.0)
    (tmp_path / "up").write_bytes(DATA)
    faults.add(reset, method="POST", path="uploads")
    with pytest.raises(StoreUnreachable):
        store.put_file("big", tmp_path / "up")
    assert faults.count("POST", "uploads") >= 1
    assert uploads_left(radosgw) == []


@pytest.mark.usefixtures("small_parts")
def test_uploads_of_others_are_left_alone(
    radosgw: S3Server, faults: Faults, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Those of other keys, those with a part, and all when there are more than answers were lost."""
    store = open_on(radosgw, endpoint=faults.endpoint)
    (tmp_path / "up").write_bytes(DATA)
    client, key = radosgw.client(), f"{store.url.removeprefix(f's3://{BUCKET}/')}/big"
    theirs: list[tuple[str, str]] = []

    def begin(key: str) -> str:
        upload: str = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
        theirs.append((key, upload))
        return upload

    def begin_and_send(answer: Answer) -> None:
        reset(answer)
        begin(f"{key}2")
        client.upload_part(Bucket=BUCKET, Key=key, UploadId=begin(key), PartNumber=1, Body=b"theirs")

    def begin_another(answer: Answer) -> None:
        reset(answer)
        begin(key)

    faults.add(begin_and_send, method="POST", path="uploads", times=1)
    store.put_file("big", tmp_path / "up")
    assert uploads_left(radosgw) == sorted(theirs)
    assert not caplog.records
    faults.add(begin_another, method="POST", path="uploads", times=1)
    store.put_file("big", tmp_path / "up")
    left = uploads_left(radosgw)
    assert set(theirs) < set(left)
    assert len(left) == len(theirs) + 1
    assert "some of 2 uploads without parts are another writer's" in caplog.text
    assert store.read("big") == DATA
    for key, upload in left:
        client.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload)


@pytest.mark.usefixtures("small_parts")
def test_an_upload_that_another_program_aborts_is_begun_again(
    radosgw: S3Server, faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_upload, "PART_THREADS", 1)  # no part arrives after the abort
    store = open_on(radosgw, endpoint=faults.endpoint)
    (tmp_path / "up").write_bytes(DATA)
    counts: list[int] = []

    def abort(answer: Answer) -> None:
        for key, upload in uploads_left(radosgw):
            radosgw.client().abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload)

    faults.add(abort, method="PUT", path="partNumber=1", times=1)
    store.put_file("big", tmp_path / "up", on_bytes=counts.append)
    assert store.read("big") == DATA
    assert sum(counts) == len(DATA)
    assert uploads_left(radosgw) == []
    faults.add(abort, method="PUT", path="partNumber=1")
    with pytest.raises(NotFound, match="removed while it was running"):
        store.put_file("big", tmp_path / "up")


@pytest.mark.parametrize("hidden", ["listing", "time"])
@pytest.mark.usefixtures("small_parts")
def test_a_store_that_does_not_show_its_uploads(
    radosgw: S3Server, faults: Faults, tmp_path: Path, caplog: pytest.LogCaptureFixture, hidden: str
) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint)
    (tmp_path / "up").write_bytes(DATA)

    def hide_time(answer: Answer) -> None:
        answer.headers = [(name, value) for name, value in answer.headers if name.lower() != "date"]

    faults.add(reset, method="POST", path="uploads", times=1)
    faults.add(status(403, "AccessDenied") if hidden == "listing" else hide_time, path="uploads")
    store.put_file("big", tmp_path / "up")
    assert store.read("big") == DATA
    assert "an upload without parts may be left" in caplog.text
    [(key, upload)] = uploads_left(radosgw)
    radosgw.client().abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload)


@pytest.mark.usefixtures("small_parts")
def test_an_upload_that_can_not_be_aborted_is_named(
    radosgw: S3Server, faults: Faults, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=0.5)
    (tmp_path / "up").write_bytes(DATA)
    faults.add(status(403, "AccessDenied"), method="PUT", path="partNumber=2", passes=False)
    faults.add(status(403, "AccessDenied"), method="DELETE", path="uploadId", passes=False)
    with pytest.raises(StoreRefused):
        store.put_file("big", tmp_path / "up")
    assert "can't be aborted" in caplog.text
    [(key, upload)] = uploads_left(radosgw)
    radosgw.client().abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload)


def test_another_writer_is_noticed(radosgw: S3Server, faults: Faults) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint)
    key = f"{store.url.removeprefix(f's3://{BUCKET}/')}/x"

    def overwrite(answer: Answer) -> None:
        radosgw.client().put_object(Bucket=BUCKET, Key=key, Body=b"evil")

    faults.add(overwrite, method="PUT", times=1)
    with pytest.raises(IntegrityError, match="ETag"):
        store.put("x", b"good")
