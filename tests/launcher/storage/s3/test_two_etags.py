"""Stores that show one object with two ETags: one in listings, or to a HEAD, and another one to a GET."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.dataset.plain import stage
from launcher.errors import IntegrityError
from launcher.results.collector import Collector
from launcher.results.verify import verify_run, verify_staged
from launcher.storage import ObjectStore, open_store
from launcher.storage.copy import fetch_one, fetch_tree, send_tree
from tests.servers.faults import Answer, Faults
from tests.servers.rundir import RunDir
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET, open_on

CHANCE = random.Random(6)
FILES = {
    "a/1.jpg": CHANCE.randbytes(3000),
    "a/2.jpg": CHANCE.randbytes(3 << 20),
    "b/3.jpg": CHANCE.randbytes(5),
}
_LISTED = re.compile(rb"<ETag>&quot;([^&]*)&quot;</ETag>")


def suffixed(etag: str) -> str:
    """As a proxy that compresses shows it."""
    return f"{etag}-gzip"


def in_parts(etag: str) -> str:
    """As of an object in parts."""
    return f"{hashlib.md5(etag.encode(), usedforsecurity=False).hexdigest()}-3"


def other_md5(etag: str) -> str:
    """The form of an MD5, and none."""
    return hashlib.md5(etag.encode(), usedforsecurity=False).hexdigest()


def change_etags(faults: Faults, change: Callable[[str], str], *, answers: str) -> None:
    """From now on answers of one kind have other ETags: `listings`, or those to `GET` or `HEAD`."""

    def rewrite(answer: Answer) -> None:
        is_listing = answer.body.startswith(b"<?xml")
        if is_listing and answers == "listings":
            answer.body = _LISTED.sub(
                lambda found: b"<ETag>&quot;" + change(found[1].decode()).encode() + b"&quot;</ETag>",
                answer.body,
            )
        elif not is_listing and answers != "listings":
            answer.headers = [
                (name, f'"{change(value.strip(chr(34)))}"' if name.lower() == "etag" else value)
                for name, value in answer.headers
            ]

    faults.add(rewrite, method="HEAD" if answers == "HEAD" else "GET")


@pytest.fixture(params=[suffixed, in_parts, other_md5])
def change(request: pytest.FixtureRequest) -> Callable[[str], str]:
    return request.param


@pytest.fixture
def filled(faulty: ObjectStore) -> ObjectStore:
    for key, data in FILES.items():
        faulty.put(key, data)
    return faulty


def test_an_upload_of_others_is_copied_and_staged(
    radosgw: S3Server, faults: Faults, change: Callable[[str], str], engine: str, tmp_path: Path
) -> None:
    """Without our metadata: what proves the bytes is the ETag of the GET."""
    store = open_store(open_on(radosgw).url, endpoint=faults.endpoint, env=radosgw.env)
    for key, data in FILES.items():
        name = f"{store.url.removeprefix(f's3://{BUCKET}/')}/{key}"
        radosgw.client().put_object(Bucket=BUCKET, Key=name, Body=data)
    change_etags(faults, change, answers="listings")
    assert fetch_tree(store, tmp_path / "down").reused == 0
    assert fetch_tree(store, tmp_path / "down").reused == len(FILES)
    staged = stage(store, tmp_path / "cache", reserve_bytes=0)
    report = verify_staged(staged.path.parent)
    assert not report.findings, "the ETag that was listed says nothing about the bytes"
    for root in (tmp_path / "down", staged.path):
        assert {key: (root / key).read_bytes() for key in FILES} == FILES


@pytest.mark.parametrize("answers", ["listings", "GET", "HEAD"])
def test_our_own_upload_comes_back(
    filled: ObjectStore, faults: Faults, change: Callable[[str], str], answers: str, tmp_path: Path
) -> None:
    change_etags(faults, change, answers=answers)
    assert fetch_tree(filled, tmp_path / "down").reused == 0
    assert send_tree(open_store(str(tmp_path / "down")), tmp_path / "down", filled).reused == len(FILES)
    for key, data in FILES.items():
        fetch_one(filled, key, tmp_path / "one" / key)
        assert (tmp_path / "one" / key).read_bytes() == data


def test_a_checkpoint_set_becomes_safe_and_stays_so(
    faulty: ObjectStore, faults: Faults, tmp_path: Path
) -> None:
    change_etags(faults, suffixed, answers="listings")
    run = RunDir(tmp_path / "run")
    run.checkpoint(10)
    collector = Collector(run.root, faulty, attempt=1)
    assert collector.sync(final=True).latest_step == 10
    assert Collector(run.root, faulty, attempt=1).sync(final=True).uploaded == ()
    assert verify_run(faulty).good


def test_an_object_that_changed_is_still_noticed(filled: ObjectStore, faults: Faults, tmp_path: Path) -> None:
    listed = {info.key: info for info in filled.list()}
    filled.put("a/1.jpg", FILES["a/1.jpg"][::-1])
    with pytest.raises(IntegrityError, match="the object changed"):
        filled.get_file("a/1.jpg", tmp_path / "x", listed["a/1.jpg"])


def test_a_listing_that_is_behind_is_no_proof(filled: ObjectStore, faults: Faults, tmp_path: Path) -> None:
    """It goes on to show the old version, whose time is another one."""
    listed = next(iter(filled.list("a/1.jpg")))
    filled.put("a/1.jpg", FILES["a/1.jpg"][::-1])

    def stay_behind(answer: Answer) -> None:
        answer.body = _LISTED.sub(b"<ETag>&quot;" + listed.etag.encode() + b"&quot;</ETag>", answer.body)
        answer.body = re.sub(rb"<LastModified>\d+", b"<LastModified>2001", answer.body)

    faults.add(stay_behind, path="prefix=")
    with pytest.raises(IntegrityError, match="the object changed"):
        filled.get_file("a/1.jpg", tmp_path / "x", listed)
