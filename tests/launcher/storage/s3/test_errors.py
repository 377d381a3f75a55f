"""Refusals of a store: in words, at once, and with the reason that the answer to a HEAD hides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.errors import NotFound, StoreError, StoreRefused, StoreUnreachable
from launcher.storage import ObjectStore, open_store
from launcher.storage.contents import take_listing
from launcher.storage.copy import fetch_one
from launcher.storage.s3.codes import meaning_of
from launcher.storage.s3.errors import _KINDS
from launcher.storage.s3.kinds import Kind
from tests.servers.faults import Faults, status
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET, open_on

PERMANENT = [
    (403, "InvalidObjectState", "archived"),
    (403, "InArrearOrInsufficientBalance", "arrears"),
    (400, "ObjectLocked", "locked"),
    (403, "InsufficientStorageSpace", "quota"),
    (507, "XMinioStorageFull", "store is full"),
    (507, "Unheard", "store is full"),
    (400, "EntityTooLarge", "larger"),
    (413, "Unheard", "larger"),
    (400, "InvalidRequest", "SSE-C"),
    (400, "KMS.DisabledException", "encrypts the object"),
    (403, "RequestTimeTooSkewed", "clock"),
    (400, "ExpiredToken", "token has expired"),
    (301, "PermanentRedirect", "another region"),
    (403, "RequestPayerDenied", "AWS_REQUEST_PAYER"),
    (405, "MethodNotAllowed", "does not allow"),
    (403, "NotSignedUp", "disabled"),
    (409, "FsObjectConflict", "this name"),
    (400, "XMinioParentIsObject", "a folder and a file would have it"),
    (409, "XMinioObjectExistsAsDirectory", "a folder and a file would have it"),
]


def operations(store: ObjectStore, folder: Path) -> list[Callable[[], object]]:
    """Each request that a user's command makes."""
    return [
        lambda: store.read("x"),
        lambda: store.head("x"),
        lambda: list(store.list()),
        lambda: store.put("x", b"1"),
        lambda: store.get_file("x", folder / "x", expect=None),
    ]


@pytest.mark.parametrize(
    ("code", "name", "words"), PERMANENT, ids=[row[1] + str(row[0]) for row in PERMANENT]
)
def test_what_is_permanent_is_named_at_once(
    radosgw: S3Server, faults: Faults, engine: str, tmp_path: Path, code: int, name: str, words: str
) -> None:
    """With all the patience in the world no request is made a fourth time: the fast path, the fallback, and a GET for a HEAD."""
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=1e6)
    for method in ("GET", "HEAD", "PUT"):
        faults.add(status(code, name), method=method, passes=False)
    for operation in operations(store, tmp_path):
        before = len(faults.seen)
        with pytest.raises(StoreRefused) as caught:
            operation()
        assert words in str(caught.value)
        assert caught.value.hint
        assert len(faults.seen) - before <= 3
    assert list(tmp_path.iterdir()) == []


def test_a_refused_head_without_any_code_is_still_a_refusal(faulty: ObjectStore, faults: Faults) -> None:
    faulty.put("x", b"1")
    faults.add(status(403, "AccessDenied"), method="HEAD")
    with pytest.raises(StoreRefused, match="refused"):
        faulty.head("x")


@pytest.mark.parametrize(
    ("code", "name"),
    [
        *((408, "RequestTimeout"), (409, "OperationAborted"), (500, "Unheard"), (502, ""), (520, "")),
        *((421, ""), (425, ""), (499, "ClientDisconnected"), (499, "")),
    ],
)
def test_what_may_pass_is_tried_again(
    engine: str, faulty: ObjectStore, faults: Faults, code: int, name: str
) -> None:
    faulty.put("x", b"data")
    faults.add(status(code, name), times=2)
    assert faulty.read("x") == b"data"


def test_every_kind_has_its_error() -> None:
    assert set(_KINDS) == set(Kind)
    assert issubclass(_KINDS[Kind.BUSY], StoreUnreachable)
    assert meaning_of("Teapot", 418).kind is Kind.REFUSED
    assert meaning_of("Teapot", 599).kind is Kind.TRANSIENT


def test_an_absent_bucket_is_not_an_absent_object(radosgw: S3Server, engine: str, tmp_path: Path) -> None:
    store = open_store("s3://absent-bucket/x", endpoint=radosgw.endpoint, env=radosgw.env)
    with pytest.raises(StoreRefused, match="no such bucket"):
        fetch_one(store, "k", tmp_path / "k")
    with pytest.raises(NotFound):
        fetch_one(open_on(radosgw), "k", tmp_path / "k")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("AWS_SECRET_ACCESS_KEY", "never-show-this\n", "the secret key contains a newline"),
        ("AWS_ACCESS_KEY_ID", "AKID VISIBLE", "the access key contains a blank"),
        ("AWS_SESSION_TOKEN", "never\u200bshow", "the session token contains a character"),
    ],
)
def test_keys_that_can_not_be_any_are_named_before_the_first_request(
    radosgw: S3Server, faults: Faults, engine: str, tmp_path: Path, name: str, value: str, words: str
) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint, env={**radosgw.env, name: value})
    for operation in operations(store, tmp_path):
        with pytest.raises(StoreRefused) as caught:
            operation()
        assert words in str(caught.value)
        assert "AWS_ACCESS_KEY_ID" in caught.value.where
        assert "never" not in str(caught.value)
    assert not faults.seen


def test_a_key_that_no_plain_listing_can_show_is_named(
    radosgw: S3Server, engine: str, tmp_path: Path
) -> None:
    """XML has no control characters, and OBS is asked for plain keys at first: such a listing is no XML."""
    folder = open_on(radosgw).url.rpartition("/")[2]
    client = radosgw.client()
    for key in ("a", "b\x02c", "d"):
        client.put_object(Bucket=BUCKET, Key=f"{folder}/{key}", Body=b"1")
    env = {"AWS_ACCESS_KEY_ID": radosgw.access_key, "AWS_SECRET_ACCESS_KEY": radosgw.secret_key}
    for scheme in ("obs", "s3"):
        url = f"{scheme}://{BUCKET}/{folder}"
        store = open_store(url, endpoint=radosgw.endpoint, env=env, patience_s=1.0, addressing="path")
        assert [info.key for info in store.list()] == ["a", "b\x02c", "d"]
        with pytest.raises(StoreError, match=r"b\\x02c.*control character"):
            take_listing(store, tmp_path, folds=False)
