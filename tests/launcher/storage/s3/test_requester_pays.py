"""Buckets whose requests are paid by whoever makes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.errors import StoreRefused, UsageError
from launcher.storage import open_store
from launcher.storage.s3 import upload as s3_upload
from tests.servers.faults import Faults, status
from tests.servers.s3 import S3Server
from tests.servers.stores import open_on


def test_each_request_offers_to_pay(
    radosgw: S3Server, faults: Faults, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_upload, "MULTIPART_BYTES", 6 << 20)
    monkeypatch.setattr(s3_upload, "PART_BYTES", 5 << 20)
    faults.payers_only = True
    refused = open_on(radosgw, endpoint=faults.endpoint, patience_s=1e6)
    with pytest.raises(StoreRefused, match="the requester pays") as caught:
        refused.head("x")
    assert "AWS_REQUEST_PAYER=requester" in caught.value.hint
    env = {**radosgw.env, "AWS_REQUEST_PAYER": "requester"}
    store = open_on(radosgw, endpoint=faults.endpoint, env=env)
    data = os.urandom(7 << 20)
    (tmp_path / "sent").write_bytes(data)
    store.put_file("large", tmp_path / "sent")
    store.put("small", b"1")
    assert store.put_new("new", b"2")
    assert [info.key for info in store.list()] == ["large", "new", "small"]
    store.get_file("large", tmp_path / "got", store.head("large"))
    assert (tmp_path / "got").read_bytes() == data
    store.get_file("small", tmp_path / "one", store.head("small"))
    assert (tmp_path / "one").read_bytes() == b"1"
    store.delete("small")
    assert store.head("small") is None


def test_s3_itself_only_denies_access(radosgw: S3Server, faults: Faults, engine: str) -> None:
    """Without a word on payers, and to a HEAD without any: the advice names them."""
    for method in ("GET", "HEAD", "PUT"):
        faults.add(status(403, "AccessDenied"), method=method, passes=False)
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=1e6)
    for request in (lambda: store.head("x"), lambda: list(store.list()), lambda: store.put("x", b"")):
        with pytest.raises(StoreRefused, match="access denied") as caught:
            request()
        assert "AWS_REQUEST_PAYER=requester" in caught.value.hint


def test_another_word_than_requester_is_an_error() -> None:
    with pytest.raises(UsageError, match="AWS_REQUEST_PAYER"):
        open_store("s3://b", endpoint="http://h", env={"AWS_REQUEST_PAYER": "yes"})
