"""What only S3 has: endpoints, credentials, multipart, paging, TLS, and errors in words."""

from __future__ import annotations

import os
import re
import socket
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import IntegrityError, StoreError, StoreRefused, StoreUnreachable, UsageError
from launcher.storage import ObjectStore, open_store
from launcher.storage.registry import Options, parse_url
from launcher.storage.s3 import listing as s3_listing
from launcher.storage.s3 import pages as s3_pages
from launcher.storage.s3 import store as s3
from launcher.storage.s3 import upload as s3_upload
from launcher.storage.s3.client import make_client, resolve
from launcher.storage.s3.keychain import key_chain
from tests.servers.faults import Answer, Faults, cut, reset, status
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET, open_on
from tests.waiting import PATIENCE_S

SECRETS = {"AWS_ACCESS_KEY_ID": "AKIDVISIBLE", "AWS_SECRET_ACCESS_KEY": "never-show-this-secret"}


def target(url: str, env: dict[str, str], **options: Any) -> Any:
    return resolve(parse_url(url), Options(env=env, **options))


# -- endpoints and credentials -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "env", "endpoint", "addressing"),
    [
        ("s3://b/x", {}, None, "auto"),
        ("s3://b", {"AWS_ENDPOINT_URL": "https://s3.example.com/"}, "https://s3.example.com", "path"),
        (
            "s3://b",
            {"AWS_ENDPOINT_URL_S3": "http://h:1", "AWS_ENDPOINT_URL": "http://h:2"},
            "http://h:1",
            "path",
        ),
        ("s3://b", {"S3_ENDPOINT": "10.0.0.1:9000", "S3_USE_HTTPS": "0"}, "http://10.0.0.1:9000", "path"),
        ("obs://b", {"S3_ENDPOINT": "obs.example.com"}, "https://obs.example.com", "virtual"),
        ("obs://b", {"AWS_REGION": "cn-north-4"}, "https://obs.cn-north-4.myhuaweicloud.com", "virtual"),
        ("obs://b", {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:8000"}, "http://127.0.0.1:8000", "path"),
        ("obs://b", {"AWS_ENDPOINT_URL_S3": "http://[::1]:8000"}, "http://[::1]:8000", "path"),
        ("obs://b", {"AWS_ENDPOINT_URL_S3": "http://localhost:8000"}, "http://localhost:8000", "path"),
    ],
)
def test_where_requests_go(url: str, env: dict[str, str], endpoint: str | None, addressing: str) -> None:
    found = target(url, env)
    assert (found.endpoint, found.addressing) == (endpoint, addressing)


def test_options_win_over_the_environment() -> None:
    found = target(
        "s3://b", {"AWS_ENDPOINT_URL_S3": "http://env"}, endpoint="http://option", addressing="virtual"
    )
    assert (found.endpoint, found.addressing) == ("http://option", "virtual")


@pytest.mark.parametrize(
    ("url", "env", "words"),
    [
        ("obs://b", {}, "needs an endpoint"),
        ("s3://b", {"AWS_ENDPOINT_URL": "ftp://x"}, "not an address"),
        ("s3://b", {"AWS_ENDPOINT_URL": "http://host:port"}, "no valid port"),
        ("s3://b", {"AWS_ENDPOINT_URL": "http://host/some/path"}, "not an address"),
        ("s3://b", {"AWS_ENDPOINT_URL": "http://me:topsecret@host"}, "credentials"),
    ],
)
def test_bad_endpoints(url: str, env: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        target(url, env)
    assert words in str(caught.value)
    assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "env", "expected"),
    [
        ("obs://b", {"HUAWEICLOUD_SDK_AK": "h", "HUAWEICLOUD_SDK_SK": "s", **SECRETS}, ("h", None)),
        ("obs://b", {"ACCESS_KEY_ID": "m", "SECRET_ACCESS_KEY": "s", "SECURITY_TOKEN": "t"}, ("m", "t")),
        ("obs://b", SECRETS, ("AKIDVISIBLE", None)),
        ("s3://b", {"ACCESS_KEY_ID": "m", "SECRET_ACCESS_KEY": "s", **SECRETS}, ("AKIDVISIBLE", None)),
        ("s3://b", {**SECRETS, "AWS_SESSION_TOKEN": "t"}, ("AKIDVISIBLE", "t")),
    ],
)
def test_which_credentials_are_used(url: str, env: dict[str, str], expected: tuple[str, str | None]) -> None:
    options = Options(env=env, endpoint="http://127.0.0.1:1")
    target = resolve(parse_url(url), options)
    client = make_client(target, options, key_chain(target.scheme, options))
    credentials = client._request_signer._credentials
    assert (credentials.access_key, credentials.token) == expected


def test_without_credentials_the_error_names_the_variables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "HUAWEI", "ACCESS_KEY", "SECRET_ACCESS")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    metadata = socket.create_server(("127.0.0.1", 0))
    metadata.setblocking(False)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{metadata.getsockname()[1]}")
    for url, variable in [("s3://b", "AWS_ACCESS_KEY_ID"), ("obs://b", "HUAWEICLOUD_SDK_AK")]:
        with pytest.raises(StoreRefused) as caught:
            open_store(url, endpoint="http://127.0.0.1:1").put("x", b"")
        assert variable in caught.value.hint
    with metadata, pytest.raises(BlockingIOError):
        metadata.accept()  # nobody asked it: outside AWS that would only cost seconds
    with pytest.raises(StoreRefused, match="nobody"):
        open_store("s3://b", endpoint="http://127.0.0.1:1", profile="nobody").put("x", b"")


def test_nothing_listens_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # so that nobody else listens there
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = open_store("s3://b/x", endpoint=endpoint, env=SECRETS, patience_s=0.5)
        with pytest.raises(StoreUnreachable) as caught:
            store.read("k")
    assert endpoint in str(caught.value)
    assert "AWS_ENDPOINT_URL_S3" in caught.value.hint
    assert "never-show" not in str(caught.value) + repr(caught.value) + repr(store)


def test_opening_contacts_nobody_and_imports_no_client() -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom launcher.storage import open_store\n"
        "store = open_store('s3://bucket/x', endpoint='http://192.0.2.1')\n"
        "store.substore('y').join('z')\nassert 'boto3' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_S)


# -- what the server says ----------------------------------------------------------------------------------


@pytest.mark.parametrize("server_name", ["radosgw", "rclone"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "secret key is wrong"),
        ({"AWS_ACCESS_KEY_ID": "unknown"}, "access key is unknown"),
    ],
)
def test_wrong_keys(
    request: pytest.FixtureRequest, server_name: str, change: dict[str, str], words: str, tmp_path: Path
) -> None:
    server: S3Server = request.getfixturevalue(server_name)
    store = open_on(server, env={**server.env, **change})
    for operation in (
        lambda: store.read("x"),
        lambda: store.put("x", b"data"),
        lambda: list(store.list()),
        lambda: store.get_file("x", tmp_path / "x"),
    ):
        with pytest.raises(StoreRefused) as caught:
            operation()
        assert words in str(caught.value)
        assert server.secret_key not in str(caught.value)
    with pytest.raises(StoreRefused) as caught:
        store.head("x")  # an answer to HEAD has no body, hence no code
    assert "AWS_SECRET_ACCESS_KEY" in caught.value.hint


def test_no_such_bucket(radosgw: S3Server) -> None:
    store = open_store("s3://absent-bucket/x", endpoint=radosgw.endpoint, env=radosgw.env)
    for operation in (lambda: list(store.list()), lambda: store.put("k", b""), lambda: store.read("k")):
        with pytest.raises(StoreRefused, match="no such bucket"):
            operation()


def test_a_wrong_clock_is_named(radosgw: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    import botocore.auth

    real = botocore.auth.get_current_datetime

    def skewed(*arguments: Any, **named: Any) -> datetime:
        return real(*arguments, **named) - timedelta(hours=2)

    monkeypatch.setattr(botocore.auth, "get_current_datetime", skewed)
    with pytest.raises(StoreRefused, match="clock"):
        open_on(radosgw).read("x")


@pytest.mark.parametrize(
    ("code", "name", "kind", "words"),
    [
        (400, "ExpiredToken", StoreRefused, "token has expired"),
        (403, "RequestTimeTooSkewed", StoreRefused, "clock"),
        (403, "AccessDenied", StoreRefused, "access denied"),
        (400, "AuthorizationHeaderMalformed", StoreRefused, "another region"),
        (301, "PermanentRedirect", StoreRefused, "region"),
        (403, "QuotaExceeded", StoreRefused, "quota"),
        (500, "InternalError", StoreUnreachable, "store failed"),
        (418, "Teapot", StoreRefused, "Teapot"),
        (400, "BadDigest", IntegrityError, "damaged"),
    ],
)
def test_answers_in_words(
    radosgw: S3Server, faults: Faults, code: int, name: str, kind: type[StoreError], words: str
) -> None:
    faults.add(status(code, name))
    with pytest.raises(kind) as caught:
        open_on(radosgw, endpoint=faults.endpoint, patience_s=0.3).read("some/key")
    assert words in str(caught.value)
    assert "some/key" in caught.value.where


# -- TLS and the checksum trap -----------------------------------------------------------------------------


def test_uploads_over_tls_use_no_checksum_trailer(radosgw: S3Server, tmp_path: Path) -> None:
    store = open_on(radosgw, endpoint=radosgw.tls_endpoint, ca_bundle=radosgw.ca_bundle)
    (tmp_path / "file").write_bytes(os.urandom(200_000))
    store.put("small", b"hello")
    store.put_file("file", tmp_path / "file")
    assert store.read("small") == b"hello"
    assert store.read("file") == (tmp_path / "file").read_bytes()


def test_an_unknown_certificate_is_refused_in_words(radosgw: S3Server) -> None:
    with pytest.raises(StoreRefused) as caught:
        open_on(radosgw, endpoint=radosgw.tls_endpoint, patience_s=1).read("x")
    assert "AWS_CA_BUNDLE" in caught.value.hint


def test_http_spoken_to_a_tls_port(radosgw: S3Server) -> None:
    with pytest.raises(StoreError):
        open_on(radosgw, endpoint=radosgw.tls_endpoint.replace("https", "http"), patience_s=0.5).read("x")


# -- OBS ---------------------------------------------------------------------------------------------------


def test_an_obs_address_names_the_bucket_in_the_host(
    radosgw: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bucket.host is how OBS wants it; radosgw answers to s3.test, names are resolved here."""
    real = socket.getaddrinfo
    asked: list[str] = []

    def resolve_test(host: Any, *arguments: Any, **named: Any) -> Any:
        asked.append(str(host))
        return real("127.0.0.1" if str(host).endswith("s3.test") else host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_test)
    port = radosgw.endpoint.rpartition(":")[2]
    env = {"HUAWEICLOUD_SDK_AK": radosgw.access_key, "HUAWEICLOUD_SDK_SK": radosgw.secret_key}
    store = open_store(f"obs://{BUCKET}/by-host", endpoint=f"http://s3.test:{port}", env=env)
    data = {"train/a b/é.jpg": b"1", "train/plus+%20.jpg": b"2", "x": os.urandom(100_000)}
    for key, value in data.items():
        store.put(key, value)
    assert {info.key: store.read(info.key) for info in store.list()} == data
    store.get_file("x", tmp_path / "x", store.head("x"))
    assert (tmp_path / "x").read_bytes() == data["x"]
    assert set(asked) == {f"{BUCKET}.s3.test"}


# -- multipart ---------------------------------------------------------------------------------------------


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_upload, "MULTIPART_BYTES", 6 << 20)
    monkeypatch.setattr(s3_upload, "PART_BYTES", 5 << 20)


def uploads_left(server: S3Server) -> list[Any]:
    return server.client().list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])


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


def test_another_writer_is_noticed(radosgw: S3Server, faults: Faults) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint)
    key = f"{store.url.removeprefix(f's3://{BUCKET}/')}/x"

    def overwrite(answer: Answer) -> None:
        radosgw.client().put_object(Bucket=BUCKET, Key=key, Body=b"evil")

    faults.add(overwrite, method="PUT", times=1)
    with pytest.raises(IntegrityError, match="ETag"):
        store.put("x", b"good")


# -- listing -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(radosgw: S3Server) -> str:
    """1,200 tiny objects, put by a plain client from several threads; returns their folder."""
    from concurrent.futures import ThreadPoolExecutor

    client = radosgw.client()
    with ThreadPoolExecutor(16) as pool:
        list(
            pool.map(
                lambda n: client.put_object(Bucket=BUCKET, Key=f"many/c{n % 7}/{n:05}.jpg", Body=b"x"),
                range(1200),
            )
        )
    return "many"


def test_listing_pages_the_first_way_and_completely(radosgw: S3Server, faults: Faults, many: str) -> None:
    store = open_store(f"s3://{BUCKET}/{many}", endpoint=faults.endpoint, env=radosgw.env)
    keys = [info.key for info in store.list()]
    assert len(keys) == 1200
    assert keys == sorted(keys)
    assert faults.count("GET") >= 2
    assert faults.count("GET", "list-type") == 0, "the second version of the call loses keys on some stores"


@pytest.mark.parametrize("engine", ["auto", "boto3"])
@pytest.mark.parametrize("server_name", ["radosgw", "rclone"])
def test_a_listing_by_many_requests_at_a_time(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server_name: str, engine: str
) -> None:
    """Small pages, so that few objects are many pages; some keys that sort beside a folder's."""
    server: S3Server = request.getfixturevalue(server_name)
    client = server.client()
    parts = ["-x", ".x", "/a b+é", "/z/1", *(f"/{m}" for m in range(9))]
    names = [f"c{n:02}{part}" for n in range(20) for part in parts] + ["last"]
    for name in names:
        client.put_object(Bucket=BUCKET, Key=f"side/{name}", Body=b"x")
    for module in (s3_listing, s3, s3_pages):
        monkeypatch.setattr(module, "PAGE_KEYS", 20)
    monkeypatch.setenv("LAUNCHER_S3_ENGINE", engine)
    asked: list[tuple[str, str]] = []
    real = s3.S3Store._page

    def page(self: Any, prefix: str, marker: str, delimiter: str, pace: Any) -> Any:
        asked.append((marker, delimiter))
        return real(self, prefix, marker, delimiter, pace)

    monkeypatch.setattr(s3.S3Store, "_page", page)
    store = open_store(f"s3://{BUCKET}/side", endpoint=server.endpoint, env=server.env)
    assert [info.key for info in store.list()] == sorted(names)
    assert any(delimiter for _, delimiter in asked)
    assert any(marker.endswith("/") for marker, delimiter in asked if not delimiter)
    assert [info.key for info in store.list("c07")] == sorted(
        name for name in names if name.startswith("c07")
    )


def test_a_listing_that_repeats_itself_is_refused(radosgw: S3Server, faults: Faults, many: str) -> None:
    store = open_store(f"s3://{BUCKET}/{many}", endpoint=faults.endpoint, env=radosgw.env)
    pages: list[bytes] = []

    def first_page_again(answer: Answer) -> None:
        pages.append(answer.body)
        answer.body = pages[0]

    faults.add(first_page_again)
    with pytest.raises(IntegrityError, match="does not advance"):
        list(store.list())


def test_a_listing_that_promises_more_than_it_has(radosgw: S3Server, faults: Faults, many: str) -> None:
    store = open_store(f"s3://{BUCKET}/{many}", endpoint=faults.endpoint, env=radosgw.env)

    def empty_but_truncated(answer: Answer) -> None:
        answer.body = (
            b"<ListBucketResult><Name>bucket</Name><IsTruncated>true</IsTruncated></ListBucketResult>"
        )

    faults.add(empty_but_truncated, path="marker=many")
    with pytest.raises(IntegrityError, match="without a single key"):
        list(store.list())


def test_an_object_that_is_listed_twice_while_it_is_replaced_is_one(
    radosgw: S3Server, faults: Faults, many: str
) -> None:
    store = open_store(f"s3://{BUCKET}/{many}", endpoint=faults.endpoint, env=radosgw.env)

    def first_twice(answer: Answer) -> None:
        start = answer.body.index(b"<Contents>")
        entry = answer.body[start : answer.body.index(b"</Contents>") + len(b"</Contents>")]
        other = re.sub(rb"<Size>\d+</Size>", b"<Size>77</Size>", entry)
        answer.body = answer.body.replace(entry, entry + other, 1)

    faults.add(first_twice, times=1)
    infos = list(store.list())
    assert len(infos) == 1200
    assert infos[0].size == 77, "the later entry counts"


def test_a_torn_page_is_fetched_again(radosgw: S3Server, faults: Faults, many: str) -> None:
    store = open_store(f"s3://{BUCKET}/{many}", endpoint=faults.endpoint, env=radosgw.env)
    faults.add(cut, times=1)
    faults.add(reset, path="marker=many", times=1)
    assert len(list(store.list())) == 1200


def test_the_marker_of_the_root_folder_is_no_object(radosgw: S3Server) -> None:
    client = radosgw.client()
    client.put_object(Bucket=BUCKET, Key="console/", Body=b"")
    client.put_object(Bucket=BUCKET, Key="console/train/", Body=b"")
    store = open_store(f"s3://{BUCKET}/console", endpoint=radosgw.endpoint, env=radosgw.env)
    assert [info.key for info in store.list()] == ["train/"]


def test_a_client_is_made_anew_in_a_forked_child(radosgw: S3Server) -> None:
    store: ObjectStore = open_on(radosgw)
    store.put("x", b"parent")
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if store.read("x") == b"parent" else 1)
        finally:
            os._exit(2)
    _, code = os.waitpid(child, 0)
    assert code == 0
    assert store.read("x") == b"parent"
