"""What only S3 has: endpoints, credentials, and errors in words."""

from __future__ import annotations

import os
import socket
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import IntegrityError, StoreError, StoreRefused, StoreUnreachable, UsageError
from launcher.storage import ObjectStore, open_store
from launcher.storage.registry import Options, parse_url
from launcher.storage.s3.client import make_client, resolve
from launcher.storage.s3.keychain import key_chain
from tests.servers.faults import Faults, status
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
        ("s3://b", {"AWS_ENDPOINT_URL": "http://host/?path"}, "not an address"),
        ("s3://b", {"AWS_ENDPOINT_URL": "https://host\n"}, "a newline"),
        ("s3://b", {"AWS_ENDPOINT_URL": "https://ho st"}, "a blank"),
        ("s3://b", {"AWS_ENDPOINT_URL": "host\t", "S3_USE_HTTPS": "0"}, "a blank"),
        ("s3://b", {"AWS_ENDPOINT_URL": "http://host:443"}, "is that of https"),
        ("s3://b", {"AWS_ENDPOINT_URL": "https://host:80"}, "is that of http"),
        ("obs://b", {"AWS_REGION": "cn-north-4\n"}, "a newline"),
        ("s3://b", {"AWS_REGION": "eu west"}, "a blank"),
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
