"""The fast path for small objects: it goes where boto3 goes, and leaves everything doubtful to the fallback."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from obstore import exceptions

from launcher.errors import IntegrityError, StoreRefused, StoreUnreachable, UsageError
from launcher.storage import ObjectStore, open_store
from launcher.storage.s3 import health, obstore_client
from launcher.storage.s3.fast import FastPath, fast_wanted
from launcher.storage.s3.keyfile import Keys
from launcher.storage.s3.obstore_client import open_obstore
from launcher.storage.s3.route import find_route
from launcher.storage.s3.store import S3Store
from tests.servers.faults import Answer, Faults, cut, delay, flip_bit, reset, status
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET, open_on
from tests.waiting import PATIENCE_S

DATA = os.urandom(30_000)


def fast_of(store: ObjectStore) -> FastPath:
    assert isinstance(store, S3Store)
    assert store._fast is not None
    return store._fast


def fetch(store: ObjectStore, key: str, folder: Path) -> bytes:
    store.get_file(key, folder / "got", store.head(key))
    assert [path.name for path in folder.iterdir()] == ["got"]
    return (folder / "got").read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "down").mkdir()
    return tmp_path / "down"


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


@pytest.mark.parametrize(
    ("fault", "times"),
    [(cut, 2), (reset, 2), (flip_bit, 2), (status(503, "SlowDown"), 2), (status(500, "InternalError"), 2)],
    ids=["cut", "reset", "flipped", "503", "500"],
)
def test_passing_faults(
    faulty: ObjectStore, faults: Faults, folder: Path, fault: Callable[[Answer], None], times: int
) -> None:
    faulty.put("x", DATA)
    faults.add(fault, times=times)
    assert fetch(faulty, "x", folder) == DATA
    assert fast_of(faulty).fetched == 0
    assert faults.count("GET") == times + 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(cut, StoreUnreachable), (flip_bit, IntegrityError), (status(403, "AccessDenied"), StoreRefused)],
    ids=["cut", "flipped", "refused"],
)
def test_lasting_faults(
    radosgw: S3Server, faults: Faults, folder: Path, fault: Callable[[Answer], None], kind: type[Exception]
) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=0.5)
    info = store.put("x", DATA)
    faults.add(fault)
    with pytest.raises(kind):
        store.get_file("x", folder / "x", info)
    assert list(folder.iterdir()) == []


def test_a_stall_ends(
    radosgw: S3Server, faults: Faults, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.storage.s3.client.READ_TIMEOUT_S", 0.4)
    store = open_on(radosgw, endpoint=faults.endpoint)
    store.put("x", DATA)
    faults.add(delay(1.5), times=1)
    assert fetch(store, "x", folder) == DATA


@pytest.mark.parametrize("operation", ["head", "get_file", "read"])
def test_a_signal_ends_the_wait_for_a_silent_store(tmp_path: Path, operation: str) -> None:
    """The main thread handles signals; it must not sit in obstore until the store's time is over."""
    code = (
        "import sys\nfrom launcher.storage import open_store\nfrom launcher.storage.base import ObjectInfo\n"
        "from launcher.storage.s3 import client\nclient.READ_TIMEOUT_S = 1000\n"
        "store = open_store('s3://bucket')\n"
        "calls = {'head': lambda: store.head('x'), 'read': lambda: store.read('x', 0, 2 << 20),\n"
        "  'get_file': lambda: store.get_file('x', sys.argv[2], ObjectInfo('x', 4, '0' * 32))}\n"
        "try:\n    calls[sys.argv[1]]()\nexcept KeyboardInterrupt:\n    sys.exit(42)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        env = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "HOME": str(tmp_path),
        }
        with subprocess.Popen([sys.executable, "-c", code, operation, str(tmp_path / "x")], env=env) as child:
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(10)
                child.send_signal(signal.SIGINT)
                assert child.wait(PATIENCE_S) == 42


def test_a_busy_store_is_given_the_time_it_asks_for(
    faulty: ObjectStore, faults: Faults, folder: Path
) -> None:
    faulty.put("x", DATA)
    faults.add(status(503, "SlowDown", Retry_After="1"), times=2)  # boto3, too
    started = time.monotonic()
    assert fetch(faulty, "x", folder) == DATA
    assert time.monotonic() - started >= 1.0
    assert fetch(faulty, "x", folder) == DATA
    assert fast_of(faulty).fetched == 1


def test_a_kept_connection_that_was_closed_costs_nothing(
    faulty: ObjectStore, faults: Faults, folder: Path
) -> None:
    def close_after(answer: Answer) -> None:
        answer.cut_at = len(answer.body)

    faulty.put("x", DATA)
    faults.add(close_after)
    for number in range(1, 4):
        assert fetch(faulty, "x", folder) == DATA
        assert (fast_of(faulty).fetched, faults.count("GET")) == (number, number)


def test_failures_in_a_row_turn_it_off_for_a_while(
    faulty: ObjectStore, faults: Faults, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PAUSE_S", 60.0)
    fast_of(faulty)._requests.most = 2
    info = faulty.put("x", DATA)

    def get() -> bytes:
        faulty.get_file("x", folder / "got", info)
        return (folder / "got").read_bytes()

    for _ in range(2):
        assert fast_of(faulty).on
        faults.add(reset, times=2)  # one may hit a kept connection, which is opened anew
        assert get() == DATA
    assert not fast_of(faulty).on
    fast_of(faulty)._requests.paused_until -= 60.0  # a minute later
    assert get() == DATA
    assert fast_of(faulty).fetched == 1
    for _ in range(3):
        faults.add(status(503, "SlowDown"), times=1)
        assert get() == DATA


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_store_that_refuses_the_fast_path_is_not_asked_twice_for_ever(
    faulty: ObjectStore, faults: Faults, method: str
) -> None:
    fast_of(faulty)._requests.most = 3
    faulty.put("x", DATA)
    for _ in range(3):
        faults.add(status(403, "AccessDenied"), method=method, times=1)
        assert faulty.head("x") if method == "HEAD" else list(faulty.list())
    assert not fast_of(faulty).on


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


def test_wrong_bytes_again_and_again_turn_the_fast_path_off(
    faulty: ObjectStore, faults: Faults, folder: Path
) -> None:
    faulty.put("x", DATA)
    for number in range(4):
        assert fast_of(faulty).usable(1) is (number < 3)
        faults.add(flip_bit, times=1 if number < 3 else 0)
        assert fetch(faulty, "x", folder) == DATA
    assert (fast_of(faulty).fetched, faults.count("GET")) == (0, 3 * 2 + 1)


def test_an_answer_that_is_not_plain_goes_to_the_fallback(
    faulty: ObjectStore, faults: Faults, folder: Path
) -> None:
    faulty.put("x", DATA)
    faults.add(lambda answer: answer.headers.append(("Transfer-Encoding", "x")), times=1)
    assert fetch(faulty, "x", folder) == DATA
    assert (fast_of(faulty).fetched, faults.count("GET")) == (0, 2)


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
