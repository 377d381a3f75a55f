"""The fast path for small objects: it goes where boto3 goes, and leaves everything doubtful to the fallback."""

from __future__ import annotations

import gzip
import math
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from obstore import exceptions

from launcher.errors import IntegrityError, UsageError
from launcher.storage import ObjectStore, open_store
from launcher.storage.s3 import obstore_client
from launcher.storage.s3.fast import fast_wanted
from launcher.storage.s3.keyfile import Keys
from launcher.storage.s3.obstore_client import open_obstore
from launcher.storage.s3.route import find_route
from launcher.storage.s3.store import S3Store
from tests.launcher.storage.s3.fetching import DATA, fast_of, fetch
from tests.servers.faults import Answer, Faults
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET, open_on


@pytest.mark.parametrize("where", ["rclone", "radosgw", "radosgw with TLS"])
def test_small_objects_come_by_the_fast_path(
    request: pytest.FixtureRequest, where: str, folder: Path
) -> None:
    server: S3Server = request.getfixturevalue(where.split(maxsplit=1)[0])
    tls = {"endpoint": server.tls_endpoint, "ca_bundle": server.ca_bundle} if "TLS" in where else {}
    store = open_on(server, **tls)
    names = ["plain", "a b/é中文😀.jpg", "+%20&=?;'", "[x]{y}~^`#", 'quo"te', "back\\slash"]
    for number, name in enumerate([name for name in names if server.tls_endpoint or "\\" not in name]):
        store.put(name, DATA + bytes([number]))
        assert fetch(store, name, folder) == DATA + bytes([number])
        assert fast_of(store).fetched == number + 1
    below = store.substore("a b")
    assert fetch(below, "é中文😀.jpg", folder) == DATA + b"\1"
    assert fast_of(below) is fast_of(store), "connections are shared"


def test_bucket_in_the_host_and_through_a_proxy(
    radosgw: S3Server, faults: Faults, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OBS wants it; nobody resolves s3.test here, so only a proxy can know it."""
    monkeypatch.setenv("HTTP_PROXY", faults.endpoint)
    monkeypatch.setenv("http_proxy", faults.endpoint)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    env = {"HUAWEICLOUD_SDK_AK": radosgw.access_key, "HUAWEICLOUD_SDK_SK": radosgw.secret_key}
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3.test")
    store = open_store(f"obs://{BUCKET}/by-proxy", endpoint="http://s3.test", env=env)
    store.put("x y", DATA)
    before = faults.proxied
    assert fetch(store, "x y", folder) == DATA
    assert (faults.proxied - before, fast_of(store).fetched) == (2, 1)
    assert [info.key for info in store.list()] == ["x y"]
    assert faults.proxied - before == 3


def test_the_keys_of_a_store_win_over_those_of_the_process(
    radosgw: S3Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """obstore looks into the environment by itself, for settings that it is not given."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.setenv(name, "another")
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("AWS_SKIP_SIGNATURE", "AWS_S3_EXPRESS", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST"):
        monkeypatch.setenv(name, "true")
    store = open_on(radosgw)
    store.put("x", DATA)
    assert fetch(store, "x", folder) == DATA
    assert fast_of(store).fetched == 1


def test_a_proxy_that_is_not_for_this_host(
    radosgw: S3Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "example.com,127.0.0.1")
    store = open_on(radosgw)
    store.put("x", DATA)
    assert fetch(store, "x", folder) == DATA
    assert fast_of(store).fetched == 1


def test_the_choice_of_the_engine(radosgw: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHER_S3_ENGINE", "boto3")
    store = open_on(radosgw)
    assert isinstance(store, S3Store)
    assert store._fast is None
    assert fast_wanted({})
    with pytest.raises(UsageError, match="LAUNCHER_S3_ENGINE=quick"):
        fast_wanted({"LAUNCHER_S3_ENGINE": "quick"})


def test_encrypted_objects_have_no_md5_to_compare(
    radosgw: S3Server, faulty: ObjectStore, faults: Faults, folder: Path
) -> None:
    """Only boto3 shows the header that says so; after some such objects it is asked at once. Nothing is fetched twice."""

    def encrypted(answer: Answer) -> None:
        answer.headers = [(name, value) for name, value in answer.headers if name.lower() != "etag"]
        answer.headers += [("ETag", '"' + "0" * 32 + '"'), ("x-amz-server-side-encryption", "aws:kms")]

    key = f"{faulty.url.removeprefix(f's3://{BUCKET}/')}/x"
    radosgw.client().put_object(Bucket=BUCKET, Key=key, Body=DATA)
    faults.add(encrypted)
    faults.add(encrypted, method="HEAD")
    requests = []
    for _ in range(5):
        assert fetch(faulty, "x", folder) == DATA
        requests.append(faults.count("GET"))
    assert (requests, fast_of(faulty).fetched) == ([1, 2, 3, 4, 5], 3)
    assert fast_of(faulty).on, "listings and ranges still go this way"


def test_an_object_stored_with_an_encoding_comes_as_it_is(radosgw: S3Server, folder: Path) -> None:
    store = open_on(radosgw)
    data = gzip.compress(DATA)
    key = f"{store.url.removeprefix(f's3://{BUCKET}/')}/x"
    radosgw.client().put_object(Bucket=BUCKET, Key=key, Body=data, ContentEncoding="gzip")
    assert fetch(store, "x", folder) == data
    assert fast_of(store).fetched == 1


@pytest.mark.parametrize("key", ["/lead", "folder/"])
def test_a_key_that_obstore_would_change_is_left_to_the_fallback(
    radosgw: S3Server, key: str, tmp_path: Path
) -> None:
    """obstore drops outer slashes: it would fetch another object."""
    store = open_store(f"s3://{BUCKET}", endpoint=radosgw.endpoint, env=radosgw.env)
    client = radosgw.client()
    client.put_object(Bucket=BUCKET, Key=key, Body=b"right")
    client.put_object(Bucket=BUCKET, Key=key.strip("/"), Body=b"wrong")
    info = store.head(key)
    store.get_file(key, tmp_path / "x", info)
    assert (tmp_path / "x").read_bytes() == b"right"
    assert fast_of(store).fetched == 0


class Rotating:
    """Credentials whose keys change: the first ones are not valid any more."""

    def __init__(self, server: S3Server) -> None:
        self.server, self.asked = server, 0

    def get_frozen_credentials(self) -> Keys:
        self.asked += 1
        right = self.asked > 1
        return Keys(self.server.access_key, self.server.secret_key if right else "expired", None)


def test_keys_are_renewed_in_the_middle_of_a_staging(radosgw: S3Server) -> None:
    store = open_on(radosgw)
    store.put("x", DATA)
    route = replace(find_route(fast_of(store)._holder, BUCKET), credentials=Rotating(radosgw))
    client = open_obstore(route, BUCKET)
    key = f"{store.url.removeprefix(f's3://{BUCKET}/')}/x"
    for _ in range(3):
        with pytest.raises(exceptions.PermissionDeniedError):
            client.get(client.store, key)
    assert route.credentials.asked == 1, "kept until they expire"


def test_keys_near_their_end_are_asked_for_again(radosgw: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obstore_client, "KEYS_S", 1)
    store = open_on(radosgw)
    store.put("x", DATA)
    route = replace(find_route(fast_of(store)._holder, BUCKET), credentials=Rotating(radosgw))
    client = open_obstore(route, BUCKET)
    key = f"{store.url.removeprefix(f's3://{BUCKET}/')}/x"
    found = b""
    for _ in range(100):  # obstore asks again after a tenth of a second at the soonest
        with suppress(exceptions.PermissionDeniedError):
            found = bytes(client.get(client.store, key).bytes())
            break
    assert (found, route.credentials.asked) == (DATA, 2)


def test_small_objects_look_at_the_keys_now_and_then(
    radosgw: S3Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_on(radosgw)
    store.put("x", DATA)
    info, fast, looks = store.head("x"), fast_of(store), []
    chain = fast._holder.chain
    current = chain.current
    monkeypatch.setattr(chain, "current", lambda: looks.append("look") or current())
    for look_at, wanted in ((math.inf, []), (0.0, ["look"])):
        fast._look_at = look_at
        looks.clear()
        store.get_file("x", folder / "got", info)
        assert looks == wanted
    assert fast.fetched == 2


def test_a_bucket_with_dots_over_tls(radosgw: S3Server, folder: Path) -> None:
    """Its name fits no certificate of the service: both engines put it into the path."""
    radosgw.client().create_bucket(Bucket="with.dots")
    store = open_store(
        "s3://with.dots/x",
        endpoint=radosgw.tls_endpoint,
        ca_bundle=radosgw.ca_bundle,
        addressing="virtual",
        env=radosgw.env,
    )
    store.put("a/y", DATA)
    assert [info.key for info in store.list()] == ["a/y"]
    assert fetch(store, "a/y", folder) == DATA
    assert fast_of(store).fetched == 1


def test_an_object_that_changed_and_one_that_is_gone(faulty: ObjectStore, folder: Path) -> None:
    info = faulty.put("x", DATA)
    faulty.put("x", DATA[::-1])
    with pytest.raises(IntegrityError, match="changed"):
        faulty.get_file("x", folder / "x", info)
    faulty.delete("x")
    with pytest.raises(Exception, match="no such object"):
        faulty.get_file("x", folder / "x", info)
    assert list(folder.iterdir()) == []


def test_a_part_left_by_a_killed_process_is_no_obstacle(faulty: ObjectStore, folder: Path) -> None:
    from launcher.disk import part_path

    faulty.put("x", DATA)
    part_path(folder / "got").write_bytes(b"torn")
    assert fetch(faulty, "x", folder) == DATA


def test_a_forked_child_goes_to_the_fallback(radosgw: S3Server, folder: Path) -> None:
    store = open_on(radosgw)
    store.put("x", DATA)
    assert fetch(store, "x", folder) == DATA
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if fetch(store, "x", folder) == DATA else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def test_no_secret_shows(radosgw: S3Server, folder: Path) -> None:
    store = open_on(radosgw)
    store.put("x", DATA)
    fetch(store, "x", folder)
    fast = fast_of(store)
    assert radosgw.secret_key not in repr(fast) + repr(vars(fast)) + repr(store)
