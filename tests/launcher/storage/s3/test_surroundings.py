"""What stands around a bucket: versions of its objects, a proxy with a password, keys that end in the middle of a staging."""

from __future__ import annotations

import os
import threading
import uuid
from pathlib import Path

import pytest

from launcher.dataset.plain import stage
from launcher.errors import NotFound, StoreRefused
from launcher.storage import open_store
from launcher.storage.base import NoConditionalPut
from tests.servers.proxy import PASSWORD, password_proxy
from tests.servers.rotation import rotating_server
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET, open_on


def test_a_bucket_with_versions_shows_only_the_newest(radosgw: S3Server, engine: str, tmp_path: Path) -> None:
    bucket, client = f"versions-{uuid.uuid4().hex[:8]}", radosgw.client()
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    store = open_store(f"s3://{bucket}/x", endpoint=radosgw.endpoint, env=radosgw.env, patience_s=2)
    for text in (b"first", b"second, and longer"):
        info = store.put("a", text)
    store.put("b", b"1")
    assert [(each.key, each.size) for each in store.list()] == [("a", info.size), ("b", 1)]
    store.get_file("a", tmp_path / "a", info)
    assert (tmp_path / "a").read_bytes() == store.read("a") == b"second, and longer"
    store.delete("a")
    assert [each.key for each in store.list()] == ["b"]
    assert store.head("a") is None
    for request in (lambda: store.read("a"), lambda: store.get_file("a", tmp_path / "gone", info)):
        with pytest.raises(NotFound):
            request()
    with pytest.raises(
        NoConditionalPut
    ):  # radosgw 16.2 ignores the condition in such buckets, which is found out
        store.put_new("new", b"1")
    store.put("a", b"third")
    assert store.read("a") == b"third"
    versions = client.list_object_versions(Bucket=bucket, Prefix="x/a")
    assert len(versions["Versions"]) == 3
    assert len(versions["DeleteMarkers"]) == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_with_a_password(
    radosgw: S3Server, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    endpoint = radosgw.endpoint if scheme == "http" else radosgw.tls_endpoint
    data = os.urandom(200_000)
    with password_proxy() as proxy:
        for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY"):
            monkeypatch.setenv(name, proxy.address())
        store = open_on(radosgw, endpoint=endpoint, ca_bundle=radosgw.ca_bundle)
        store.put("x", data)
        (info,) = store.list()
        store.get_file("x", tmp_path / "x", info)
        assert (tmp_path / "x").read_bytes() == data
        assert engine == "boto3" or store._fast.fetched == 1
        assert proxy.passed
        for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY"):
            monkeypatch.setenv(name, proxy.address("wrong-password"))
        refused = open_on(radosgw, endpoint=endpoint, ca_bundle=radosgw.ca_bundle, patience_s=1e6)
        for request in (
            lambda: refused.head("x"),
            lambda: refused.put("x", b""),
            lambda: list(refused.list()),
        ):
            with pytest.raises(StoreRefused, match="proxy") as caught:
                request()
            assert "wrong-password" not in str(caught.value)
            assert PASSWORD not in repr(refused)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_of_the_wrong_scheme_is_named_at_once(
    radosgw: S3Server, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    for name in ("NO_PROXY", "no_proxy", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    endpoint = radosgw.endpoint if scheme == "http" else radosgw.tls_endpoint
    with password_proxy() as proxy:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", proxy.address().replace("http:", "https:"))
        store = open_on(radosgw, endpoint=endpoint, ca_bundle=radosgw.ca_bundle, patience_s=1e6)
        with pytest.raises(StoreRefused, match="the proxy speaks no TLS") as caught:
            store.put("x", b"")
    assert PASSWORD not in str(caught.value)


def test_tunnels_that_a_proxy_cuts_cost_only_time(
    radosgw: S3Server, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a body, up and down: that is no wrong scheme and no wrong certificate."""
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    data = os.urandom(3 << 20)
    with password_proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.address())
        store = open_on(radosgw, endpoint=radosgw.tls_endpoint, ca_bundle=radosgw.ca_bundle, patience_s=400.0)
        proxy.cuts = [400_000, 100_000, 1_500_000]
        store.put("x", data)
        assert proxy.cuts == []
    with password_proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.address())
        options = {"ca_bundle": radosgw.ca_bundle, "env": radosgw.env, "patience_s": 400.0}
        store = open_store(store.url, endpoint=radosgw.tls_endpoint, **options)
        (info,) = store.list()
        proxy.cuts = [400_000, 100_000, 1_500_000]
        store.get_file("x", tmp_path / "x", info)
    assert (tmp_path / "x").read_bytes() == data


@pytest.mark.parametrize(
    "excluded",
    ["*", "127.0.0.1", "{host}", ".0.0.1", "x, 127.0.0.1 ,y", "10.0.0.0/8,127.0.0.0/8", "127.0.0.1/32", ""],
)
def test_a_proxy_that_is_not_for_the_store_gets_no_request(
    radosgw: S3Server, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, excluded: str
) -> None:
    """Whichever client makes it. Without an exclusion the proxy is that of another scheme."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    data = os.urandom(200_000)
    with password_proxy() as proxy:
        monkeypatch.setenv("http_proxy" if excluded else "all_proxy", proxy.address())
        monkeypatch.setenv("no_proxy", excluded.format(host=radosgw.endpoint.partition("://")[2]))
        store = open_on(radosgw)
        store.put("x", data)
        (info,) = store.list()
        store.get_file("x", tmp_path / "x", info)
        assert store.head("x").etag == info.etag
        assert engine == "boto3" or store._fast.fetched == 1
        assert proxy.passed + proxy.refused == []


@pytest.mark.system
@pytest.mark.parametrize("end", ["renewed", "expired before that"])
def test_keys_end_in_the_middle_of_a_staging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, end: str
) -> None:
    """As a platform renews them: the staging goes on with the new keys, and nothing is fetched twice or missing."""
    tree = {f"c{n % 3}/{n:03}": os.urandom(500 + n) for n in range(60)}
    for key, value in tree.items():
        file = tmp_path / "s3" / BUCKET / "data" / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(value)
    with rotating_server(tmp_path / "s3", tmp_path / "keys") as rotation:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(rotation.file))
        store = open_store(f"s3://{BUCKET}/data", endpoint=rotation.endpoint, patience_s=400)
        judge, lock, seen = rotation.faults.refuse, threading.Lock(), [0]

        def renew_midway(key: str, path: str) -> tuple[int, str] | None:
            with lock:
                seen[0] += 1
                if seen[0] in (20, 40):
                    (rotation.renew if end == "renewed" else rotation.expire)()
                if seen[0] in (24, 44) and end != "renewed":
                    rotation.write()
            return judge(key, path)

        rotation.faults.refuse = renew_midway
        staged = stage(store, tmp_path / "cache", workers=4)
        found = {
            p.relative_to(staged.path).as_posix(): p.read_bytes()
            for p in staged.path.rglob("*")
            if p.is_file()
        }
        assert found == tree
        assert {f"key-of-turn-{n}" for n in range(3)} <= set(rotation.used)
