"""ETags of other kinds than an MD5: encrypted buckets, weak ETags, and ETags as other vendors make them.

A proxy gives the answers of a real server such ETags, everywhere in the same way.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.dataset.plain import stage
from launcher.disk import part_path
from launcher.errors import IntegrityError, UsageError
from launcher.results.verify import verify_staged
from launcher.storage import ObjectStore, open_store
from launcher.storage.copy import fetch_one, fetch_tree, send_one, send_tree
from launcher.storage.s3 import upload as s3_upload
from tests.servers.faults import Answer, Faults, reset, status
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET, open_on

CHANCE = random.Random(15)
SMALL, LARGE = CHANCE.randbytes(3000), CHANCE.randbytes(13 << 20)
DAMAGED = bytes([SMALL[0] ^ 1]) + SMALL[1:]
_LISTED = re.compile(rb"<ETag>&quot;([^&]*)&quot;</ETag>")


def kms(etag: str) -> str:
    """Of a bucket encrypted with a KMS key: the same form, other digits."""
    return hashlib.md5(etag.encode(), usedforsecurity=False).hexdigest() if "-" not in etag else etag


def aliyun(etag: str) -> str:
    """Capital letters, and no MD5 of MD5s for an upload in parts."""
    digits, dash, parts = etag.partition("-")
    return (kms(digits) + dash + parts if dash else digits).upper()


def own_form(etag: str) -> str:
    """A store that counts versions."""
    return "v" + hashlib.sha256(etag.encode()).hexdigest()[:10]


def change_etags(faults: Faults, change: Callable[[str], str], *, kind: str) -> None:
    """From now on all answers have changed ETags."""

    def rewrite(answer: Answer) -> None:
        headers, encrypted = [], kind == "kms" and not answer.body.startswith(b"<?xml")
        for name, value in answer.headers:
            changed = f'{"W/" if kind == "weak" else ""}"{change(value.strip(chr(34)))}"'
            headers.append((name, changed if name.lower() == "etag" else value))
        if encrypted:
            headers.append(("x-amz-server-side-encryption", "aws:kms"))
        answer.headers = headers
        if answer.body.startswith(b"<?xml"):
            answer.body = _LISTED.sub(
                lambda found: b"<ETag>&quot;" + change(found[1].decode()).encode() + b"&quot;</ETag>",
                answer.body,
            )

    for method in ("GET", "HEAD"):
        faults.add(rewrite, method=method)


KINDS: dict[str, Callable[[str], str]] = {
    "kms": kms,
    "aliyun": aliyun,
    "weak": lambda etag: etag,
    "own form": own_form,
}


@pytest.fixture(params=KINDS)
def odd(request: pytest.FixtureRequest, faulty: ObjectStore, faults: Faults) -> ObjectStore:
    """A store whose ETags are of an odd kind."""
    change_etags(faults, KINDS[request.param], kind=request.param)
    return faulty


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_upload, "MULTIPART_BYTES", 6 << 20)
    monkeypatch.setattr(s3_upload, "PART_BYTES", 5 << 20)


def key_in_bucket(store: ObjectStore, key: str) -> str:
    return f"{store.url.removeprefix(f's3://{BUCKET}/')}/{key}"


@pytest.mark.parametrize("engine", ["auto", "boto3"])
def test_each_upload_carries_its_sha256(
    radosgw: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setenv("LAUNCHER_S3_ENGINE", engine)
    store = open_on(radosgw)
    (tmp_path / "large").write_bytes(LARGE)
    store.put("put", SMALL)
    store.put_new("new", SMALL)
    store.put_file("file", tmp_path / "large")
    store.put_file("grows", tmp_path / "large", length=1000)
    client = radosgw.client()
    for key, data in [("put", SMALL), ("new", SMALL), ("file", LARGE), ("grows", LARGE[:1000])]:
        digest = hashlib.sha256(data).hexdigest()
        assert client.head_object(Bucket=BUCKET, Key=key_in_bucket(store, key))["Metadata"] == {
            "sha256": digest
        }
        info = store.head(key)
        assert info is not None
        assert info.sha256 == digest


def test_upload_download_and_reuse(odd: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "large").write_bytes(LARGE)
    (tmp_path / "tree" / "small").write_bytes(SMALL)
    local = open_store(str(tmp_path / "tree"))
    assert send_tree(local, tmp_path / "tree", odd).reused == 0
    assert send_tree(local, tmp_path / "tree", odd).reused == 2
    assert fetch_tree(odd, tmp_path / "down").reused == 0
    assert fetch_tree(odd, tmp_path / "down").reused == 2
    assert (tmp_path / "down" / "large").read_bytes() == LARGE
    assert fetch_one(odd, "small", tmp_path / "one").reused == 0
    assert fetch_one(odd, "small", tmp_path / "one").reused == 1
    assert odd.read("small") == SMALL
    assert odd.read("large") == LARGE
    odd.put("x", SMALL)
    assert send_one(tmp_path / "tree" / "small", odd, "x").reused == 1


def test_a_staged_data_set_is_verified_and_reused(odd: ObjectStore, faults: Faults, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(LARGE)
    odd.put("train/a/1.jpg", SMALL)
    odd.put_file("train/a/2.jpg", tmp_path / "large")
    staged = stage(odd, tmp_path / "cache", reserve_bytes=0)
    report = verify_staged(staged.path.parent)
    assert (report.findings, report.unproven) == ((), 0)
    (staged.path.parent / "COMPLETE.json").unlink()
    (staged.path.parent / "boot_id").write_text("another boot")  # a crash of the machine: contents are read
    before = faults.count("GET", "/train/")
    stage(odd, tmp_path / "cache", reserve_bytes=0)
    assert faults.count("GET", "/train/") == before, "nothing is fetched again"
    with (staged.path / "train/a/1.jpg").open("r+b") as file:
        file.write(DAMAGED[:1])
    assert [finding.rule for finding in verify_staged(staged.path.parent).findings] == ["VF003"]


def test_a_download_is_resumed(odd: ObjectStore, faults: Faults, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(LARGE)
    odd.put_file("x", tmp_path / "large")
    (info,) = odd.list()
    part_path(tmp_path / "down").write_bytes(LARGE[: 8 << 20])
    sizes: list[int] = []
    faults.add(lambda answer: sizes.append(len(answer.body)))
    odd.get_file("x", tmp_path / "down", info)
    assert (tmp_path / "down").read_bytes() == LARGE
    assert sum(sizes) == len(LARGE) - (8 << 20), "only the rest is fetched"


@pytest.mark.parametrize("size", [3000, 13 << 20])
@pytest.mark.parametrize("engine", ["auto", "boto3"])
def test_damage_shows_whatever_the_etag_is(
    radosgw: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, engine: str
) -> None:
    """The store holds other bytes than were sent, under an ETag that fits them."""
    monkeypatch.setenv("LAUNCHER_S3_ENGINE", engine)
    store = open_on(radosgw)
    digest = hashlib.sha256(LARGE[:size]).hexdigest()
    key = key_in_bucket(store, "x")
    wrong = b"?" + LARGE[1:size]
    radosgw.client().put_object(Bucket=BUCKET, Key=key, Body=wrong, Metadata={"sha256": digest})
    for expect in (None, next(iter(store.list())), store.head("x")):
        with pytest.raises(IntegrityError, match="sha256"):
            store.get_file("x", tmp_path / "x", expect)
    with pytest.raises(IntegrityError, match="sha256"):
        store.read("x")
    assert not (tmp_path / "x").exists()


def test_metadata_of_others_are_no_digest(radosgw: S3Server, tmp_path: Path) -> None:
    store = open_on(radosgw)
    key = key_in_bucket(store, "x")
    radosgw.client().put_object(Bucket=BUCKET, Key=key, Body=SMALL, Metadata={"sha256": "of the source"})
    store.get_file("x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == store.read("x") == SMALL


def test_metadata_that_outlived_their_bytes_are_no_proof(
    radosgw: S3Server, engine: str, tmp_path: Path
) -> None:
    """As of a file system on a bucket, which writes an object anew with the metadata that it had."""
    store, other = open_on(radosgw), SMALL[::-1]
    for name in ("mine", "large"):
        (tmp_path / name).write_bytes(SMALL if name == "mine" else LARGE)
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        radosgw.client().put_object(
            Bucket=BUCKET,
            Key=key_in_bucket(store, name),
            Body=other if name == "mine" else LARGE[::-1],
            Metadata={"sha256": digest},
        )
        with pytest.raises(UsageError, match="another object is there"):
            send_one(tmp_path / name, store, name)
        with pytest.raises(UsageError, match="something else is there"):
            fetch_one(store, name, tmp_path / name)
        assert send_one(tmp_path / name, store, name, force=True).reused == 0
        assert send_one(tmp_path / name, store, name).reused == 1
    assert store.read("mine") == SMALL


def test_a_store_without_etags_and_metadata_is_read_back(
    faulty: ObjectStore, faults: Faults, radosgw: S3Server
) -> None:
    def strip(answer: Answer) -> None:
        answer.headers = [(k, v) for k, v in answer.headers if k.lower() not in ("etag", "x-amz-meta-sha256")]

    faults.add(strip)
    faults.add(strip, method="HEAD")
    faulty.put("x", SMALL)
    assert faults.count("GET", "/x") == 1

    def overwrite(answer: Answer) -> None:
        radosgw.client().put_object(Bucket=BUCKET, Key=key_in_bucket(faulty, "x"), Body=DAMAGED)

    faults.add(overwrite, method="PUT", times=1)
    with pytest.raises(IntegrityError, match="read back"):
        faulty.put("x", SMALL)


NO_MD5 = [
    {"x-amz-server-side-encryption": "aws:kms"},
    {"x-amz-server-side-encryption": "aws:kms:dsse"},
    {"x-amz-server-side-encryption-customer-algorithm": "AES256"},
    {"x-amz-server-side-encryption": "AES256", "Server": "OBS"},
    {"x-obs-server-side-encryption": "AES256", "Server": "OBS"},
    {"x-cos-server-side-encryption": "AES256", "Server": "tencent-cos"},
    {"x-oss-server-side-encryption": "SM4", "Server": "AliyunOSS"},
    {"x-goog-encryption-algorithm": "AES256", "Server": "UploadServer"},
    {"x-goog-encryption-kms-key-name": "projects/p/keys/k"},
    {"x-obs-object-type": "Appendable", "x-obs-next-append-position": "3000"},
    {"x-oss-object-type": "Appendable"},
    {"x-rgw-object-type": "Appendable"},
]
KEEPS_MD5 = [
    {"x-amz-server-side-encryption": "AES256", "Server": "AmazonS3"},
    {"x-amz-server-side-encryption": "AES256", "Server": "MinIO"},
    {"x-oss-object-type": "Normal"},
    {"x-amz-meta-server-side-encryption": "of the source"},
]


def add_headers(faults: Faults, more: dict[str, str]) -> None:
    def rewrite(answer: Answer) -> None:
        answer.headers = [each for each in answer.headers if each[0] not in more]
        answer.headers += more.items()

    for method in ("GET", "HEAD"):
        faults.add(rewrite, method=method, path="/x")


@pytest.mark.parametrize("engine", ["auto", "boto3"])
def test_what_vendors_say_about_objects_whose_etag_is_no_md5(
    radosgw: S3Server, faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """Objects of others, without our metadata, whose ETag has the form of an MD5."""
    monkeypatch.setenv("LAUNCHER_S3_ENGINE", engine)
    folder = open_on(radosgw).url
    store = open_store(folder, endpoint=faults.endpoint, env=radosgw.env)
    radosgw.client().put_object(Bucket=BUCKET, Key=key_in_bucket(store, "x"), Body=SMALL)
    for headers in NO_MD5:
        faults.clear()
        change_etags(faults, kms, kind="own form")
        add_headers(faults, headers)
        for expect in (None, next(iter(store.list()))):
            store.get_file("x", tmp_path / "x", expect)
            assert (tmp_path / "x").read_bytes() == SMALL, headers
        assert store.read("x") == SMALL
    for headers in KEEPS_MD5:
        faults.clear()
        change_etags(faults, kms, kind="own form")
        add_headers(faults, headers)
        for expect in (None, next(iter(store.list()))):
            with pytest.raises(IntegrityError, match="ETag"):
                store.get_file("x", tmp_path / "x", expect)
        with pytest.raises(IntegrityError, match="ETag"):
            store.read("x")


# -- lost answers ------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(radosgw: S3Server, faults: Faults) -> ObjectStore:
    return open_on(radosgw, endpoint=faults.endpoint, patience_s=0.4)


@pytest.mark.parametrize("fault", [reset, status(500, "InternalError"), status(504, "GatewayTimeout")])
def test_a_request_whose_answers_are_all_lost_has_had_its_effect(
    impatient: ObjectStore, faults: Faults, tmp_path: Path, fault: Callable[[Answer], None]
) -> None:
    (tmp_path / "large").write_bytes(LARGE)
    faults.add(fault, method="PUT", path="/x")
    faults.add(fault, method="DELETE")
    assert impatient.put("x", SMALL).size == len(SMALL)
    impatient.delete("x")
    assert impatient.head("x") is None
    impatient.put("y", b"before")
    faults.add(fault, method="POST", path="uploadId")
    impatient.put_file("y", tmp_path / "large")
    faults.clear()
    assert impatient.read("y") == LARGE


def test_a_lost_conditional_put(impatient: ObjectStore, faults: Faults) -> None:
    assert impatient.put_new("first", b"1"), "the store honours conditions"
    faults.add(reset, method="PUT")
    assert impatient.put_new("x", b"mine")
    assert not impatient.put_new("first", b"2")


def test_no_such_upload_after_a_repeated_complete(
    faulty: ObjectStore, faults: Faults, radosgw: S3Server, tmp_path: Path
) -> None:
    """The first answer is lost; the store has forgotten the upload when it is asked again."""
    (tmp_path / "large").write_bytes(LARGE)
    faults.add(status(404, "NoSuchUpload"), method="POST", path="uploadId")
    faults.add(reset, method="POST", path="uploadId", times=1)
    info = faulty.put_file("x", tmp_path / "large")
    assert info.size == len(LARGE)
    assert faulty.read("x") == LARGE


def test_a_failure_is_still_one_when_the_store_holds_something_else(
    impatient: ObjectStore, faults: Faults, radosgw: S3Server
) -> None:
    def replaced(answer: Answer) -> None:
        radosgw.client().put_object(Bucket=BUCKET, Key=key_in_bucket(impatient, "x"), Body=b"other")
        reset(answer)

    faults.add(replaced, method="PUT")
    with pytest.raises(Exception, match="broke"):
        impatient.put("x", SMALL)


def test_a_lost_answer_of_a_store_that_tells_nothing_about_bytes(
    impatient: ObjectStore, faults: Faults, tmp_path: Path
) -> None:
    """It drops metadata, and its ETags are its own: only the bytes themselves show that the request had its effect."""

    def strip(answer: Answer) -> None:
        answer.headers = [each for each in answer.headers if each[0].lower() != "x-amz-meta-sha256"]

    change_etags(faults, own_form, kind="own form")
    faults.add(strip)
    faults.add(strip, method="HEAD")
    faults.add(reset, method="PUT", path="/x")
    assert impatient.put("x", SMALL).size == len(SMALL)
    (tmp_path / "large").write_bytes(LARGE)
    faults.add(reset, method="POST", path="uploadId")
    impatient.put_file("y", tmp_path / "large")

    def other(answer: Answer) -> None:
        answer.body = DAMAGED if answer.body == SMALL else answer.body

    faults.add(other)
    with pytest.raises(Exception, match="broke"):
        impatient.put("x", SMALL)
