"""Answers that are not the store's: pages of a load balancer with status 200, empty ones, and ranges that say not enough."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.errors import StoreError, StoreUnreachable
from launcher.storage import ObjectStore
from launcher.storage.s3 import upload as s3_upload
from tests.servers.faults import Answer, Faults, status
from tests.servers.s3 import S3Server
from tests.servers.stores import open_on

CHANCE = random.Random(15)
SMALL, LARGE = CHANCE.randbytes(3000), CHANCE.randbytes(7 << 20)
PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in</body></html>"


def login_page(answer: Answer) -> None:
    """Of a network that wants a login first."""
    answer.status, answer.body, answer.headers = 200, PAGE, [("Content-Type", "text/html")]


def nothing(answer: Answer) -> None:
    """Of a server that accepts everything."""
    answer.status, answer.body, answer.headers = 200, b"", []


def no_content(answer: Answer) -> None:
    answer.status, answer.body, answer.headers = 204, b"", []


FOREIGN = pytest.mark.parametrize("foreign", [login_page, nothing, no_content])


@pytest.fixture
def impatient(engine: str, radosgw: S3Server, faults: Faults) -> ObjectStore:
    """A store behind the proxy, by each engine, that gives up after the first failure."""
    return open_on(radosgw, endpoint=faults.endpoint, patience_s=0.0)


def answer_instead(faults: Faults, foreign: Callable[[Answer], None], *methods: str, **where: object) -> None:
    for method in methods:
        faults.add(foreign, method=method, passes=False, **where)


@FOREIGN
def test_a_foreign_page_is_no_object(
    impatient: ObjectStore, faults: Faults, tmp_path: Path, foreign: Callable[[Answer], None]
) -> None:
    impatient.put("x", SMALL)
    info = next(iter(impatient.list()))
    answer_instead(faults, foreign, "GET", "HEAD", "PUT", "DELETE")
    for request in (
        lambda: impatient.read("x"),
        lambda: impatient.read("x", 0, 20),
        lambda: impatient.head("x"),
        lambda: list(impatient.list()),
        lambda: impatient.get_file("x", tmp_path / "x"),
        lambda: impatient.get_file("x", tmp_path / "x", info),
        lambda: impatient.put("x", b"other"),
        lambda: impatient.put("x", b"other", confirm=False),
        lambda: impatient.put_new("new", b"mine"),
        *([lambda: impatient.delete("x")] if foreign is not no_content else []),  # what a store answers, too
    ):
        with pytest.raises(StoreUnreachable) as caught:
            request()
        assert "proxies" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@FOREIGN
def test_a_passing_foreign_page_costs_only_time(
    engine: str,
    faulty: ObjectStore,
    faults: Faults,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    foreign: Callable[[Answer], None],
) -> None:
    monkeypatch.setattr(s3_upload, "MULTIPART_BYTES", 6 << 20)
    monkeypatch.setattr(s3_upload, "PART_BYTES", 5 << 20)
    (tmp_path / "large").write_bytes(LARGE)
    assert faulty.put_new("first", b"1"), "the store is known to honour conditions"
    answer_instead(faults, foreign, "PUT", times=1)
    faulty.put("x", SMALL, confirm=False)
    answer_instead(faults, foreign, "PUT", times=1)
    assert faulty.put_new("second", b"2")
    answer_instead(faults, foreign, "PUT", times=1)
    assert not faulty.put_new("first", b"2")
    answer_instead(faults, foreign, "GET", "HEAD", times=2)
    assert faulty.read("x") == SMALL
    info = faulty.head("x")
    assert info is not None
    assert info.size == len(SMALL)
    for method, path in (("POST", "uploads"), ("PUT", "partNumber=1"), ("POST", "uploadId")):
        answer_instead(faults, foreign, method, path=path, times=1)
    faulty.put_file("large", tmp_path / "large")
    assert faulty.read("large") == LARGE
    if foreign is not no_content:
        answer_instead(faults, foreign, "DELETE", times=1)
    faulty.delete("x")
    assert [each.key for each in faulty.list()] == ["first", "large", "second"]


@pytest.mark.parametrize(
    ("pattern", "other"),
    [
        (rb"<LastModified>[^<]*<", b"<LastModified>soon<"),
        (rb"<Size>[^<]*<", b"<Size>large<"),
        (rb"<Size>[^<]*<", b"<Size>-1<"),
        (rb"<Size>[^<]*</Size>", b""),
    ],
)
def test_a_listing_that_can_not_be_read_is_an_error_with_advice(
    impatient: ObjectStore, faults: Faults, pattern: bytes, other: bytes
) -> None:
    impatient.put("x", SMALL)

    def rewrite(answer: Answer) -> None:
        answer.body = re.sub(pattern, other, answer.body)

    faults.add(rewrite, path="max-keys")
    with pytest.raises(StoreError) as caught:
        list(impatient.list())
    assert "proxies" in caught.value.hint
    assert "unexpected" not in str(caught.value)


def test_a_refusal_without_code_shows_its_status(impatient: ObjectStore, faults: Faults) -> None:
    faults.add(status(418, ""), passes=False)
    with pytest.raises(StoreError, match=r"refused the request \(418\)"):
        impatient.read("x")


def test_an_object_of_the_same_size_that_changed(
    impatient: ObjectStore, faults: Faults, tmp_path: Path
) -> None:
    impatient.put("x", SMALL)
    info = next(iter(impatient.list()))
    impatient.put("x", SMALL[::-1])
    with pytest.raises(StoreError, match=f"changed: listed with ETag '{info.etag}', now"):
        impatient.get_file("x", tmp_path / "x", info)


# -- ranges ------------------------------------------------------------------------------------------------


def without_range(answer: Answer) -> None:
    """206, and not which bytes they are."""
    answer.headers = [(name, value) for name, value in answer.headers if name.lower() != "content-range"]


def unknown_total(answer: Answer) -> None:
    answer.headers = [
        (name, value.partition("/")[0] + "/*" if name.lower() == "content-range" else value)
        for name, value in answer.headers
    ]


def other_range(answer: Answer) -> None:
    answer.headers = [
        (name, "bytes 5-24/3000" if name.lower() == "content-range" else value)
        for name, value in answer.headers
    ]


@pytest.mark.parametrize("change", [without_range, unknown_total, other_range])
def test_bytes_of_an_unknown_place_are_not_taken_for_others(
    impatient: ObjectStore, faults: Faults, change: Callable[[Answer], None]
) -> None:
    impatient.put("x", SMALL)
    faults.add(change)
    for start, length in ((10, 20), (0, 20), (10, None)):
        with pytest.raises(StoreError, match="asked for bytes from"):
            impatient.read("x", start, length)
    assert impatient.read("x") == SMALL
