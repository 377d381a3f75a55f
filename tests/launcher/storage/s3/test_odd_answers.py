"""Answers and addresses that are unusual and right: bodies in chunks, endpoints with a path."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.errors import IntegrityError, StoreError
from launcher.storage import open_store
from tests.servers.faults import Answer, Faults, cut, flip_bit, in_chunks
from tests.servers.gateway import gateway
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET, open_on


@pytest.mark.parametrize("size", [0, 1000, 3 << 20])
def test_a_body_in_chunks_states_no_length_and_is_verified(
    radosgw: S3Server, faults: Faults, engine: str, tmp_path: Path, size: int
) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint)
    data = os.urandom(size)
    for method in ("GET", "HEAD"):
        faults.add(in_chunks, method=method)
    store.put("x/1", data)
    store.put("x/1-and-more", b"another key with this prefix")
    info = store.head("x/1")
    assert info is not None
    assert info.size == size
    assert store.read("x/1") == data
    assert store.read("x/1", 10, 20) == data[10:30]
    for expect in (None, info):
        store.get_file("x/1", tmp_path / "x", expect)
        assert (tmp_path / "x").read_bytes() == data


@pytest.mark.parametrize(("fault", "times"), [(cut, 2), (flip_bit, 1)], ids=["cut", "flipped"])
def test_damage_in_a_body_in_chunks_is_noticed(
    radosgw: S3Server, faults: Faults, engine: str, tmp_path: Path, fault: object, times: int
) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint)
    data = os.urandom(300_000)
    info = store.put("x", data)
    faults.add(in_chunks, path="/x")
    faults.add(fault, path="/x", times=times)
    store.get_file("x", tmp_path / "x", info)
    assert (tmp_path / "x").read_bytes() == data
    faults.add(fault, path="/x")
    with pytest.raises(StoreError) as caught:
        open_store(store.url, endpoint=faults.endpoint, env=radosgw.env, patience_s=0.5).read("x")
    assert fault is not flip_bit or isinstance(caught.value, IntegrityError)


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_longer_than_the_object_is_refused(
    radosgw: S3Server, faults: Faults, engine: str, tmp_path: Path, chunked: bool
) -> None:
    """As of a store that decompresses objects on the way, and says by a weak ETag that it changed the bytes."""
    folder = open_on(radosgw).url
    name = f"{folder.removeprefix(f's3://{BUCKET}/')}/x"
    radosgw.client().put_object(Bucket=BUCKET, Key=name, Body=b"packed", ContentEncoding="gzip")
    store = open_store(folder, endpoint=faults.endpoint, env=radosgw.env, patience_s=0.5)

    def unpack(answer: Answer) -> None:
        answer.status, answer.body, answer.chunked = 200, b"all that was packed", chunked
        dropped = ("content-length", "content-range")
        headers = [(key, value) for key, value in answer.headers if key.lower() not in dropped]
        answer.headers = [(key, f"W/{value}" if key.lower() == "etag" else value) for key, value in headers]

    (info,) = store.list()
    faults.add(unpack, path="/x")
    requests = (
        lambda: store.read("x"),
        lambda: store.read("x", 2, 3),
        lambda: store.get_file("x", tmp_path / "x", info),
    )
    for request in requests if chunked else requests[2:]:
        with pytest.raises(IntegrityError):
            request()
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("scheme", ["s3", "obs"])
def test_an_endpoint_may_have_a_path_of_its_own(
    radosgw: S3Server, engine: str, tmp_path: Path, scheme: str
) -> None:
    """As behind a gateway that checks a signature over the whole path, and signs anew without its own part."""
    with gateway(radosgw, "/gate/s3") as endpoint:
        folder = open_on(radosgw).url.partition("://")[2]
        store = open_store(f"{scheme}://{folder}", endpoint=f"{endpoint}/", env=radosgw.env, patience_s=1)
        data = {"a b/é+%20.jpg": os.urandom(1000), "large": os.urandom(1 << 20), "x": b""}
        for key, value in data.items():
            store.put(key, value)
        assert [info.key for info in store.list()] == sorted(data)
        for info in store.list():
            store.get_file(info.key, tmp_path / "file", info)
            assert (tmp_path / "file").read_bytes() == data[info.key]
            assert store.read(info.key) == data[info.key]
        assert engine == "boto3" or store._fast.fetched >= len(data)
        store.delete("x")
        assert store.head("x") is None
