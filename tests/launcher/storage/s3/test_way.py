"""Where requests of our own go: the same place, with the same keys, as botocore's own."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from launcher.storage.registry import Options, parse_url
from launcher.storage.s3 import client as s3_client
from launcher.storage.s3.client import ClientHolder, resolve
from launcher.storage.s3.way import NoWay, Way, find_way
from tests.servers.s3 import S3Server

KEYS = {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "a-secret"}
HUAWEI = {"HUAWEICLOUD_SDK_AK": "HAK", "HUAWEICLOUD_SDK_SK": "a-secret"}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's own settings."""
    for name in list(os.environ):
        if (
            name.startswith(("AWS_", "HUAWEI", "S3_", "OBS_", "ACCESS_", "SECRET_"))
            or "proxy" in name.lower()
        ):
            monkeypatch.delenv(name)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def holder_of(url: str, endpoint: str | None = "http://10.0.0.1:9000", **options: Any) -> ClientHolder:
    settings = Options(endpoint=endpoint, **options)
    return ClientHolder(resolve(parse_url(url), settings), settings)


def what(way: Way) -> tuple[Any, ...]:
    keys = way.signer._credentials.get_frozen_credentials()
    facts = (keys.access_key, keys.secret_key, keys.token or None)
    peer = (way.peer.host, way.peer.port, way.peer.tls is not None)
    return (*facts, *peer, way.signer._region, way.signer._host, way.signer._folder, way.quoted)


@pytest.mark.parametrize("through_options", [True, False], ids=["options", "process"])
@pytest.mark.parametrize(
    ("url", "endpoint", "env"),
    [
        ("s3://b/x", "http://10.0.0.1:9000", KEYS),
        ("s3://b", "https://s3.example.com", {**KEYS, "AWS_SESSION_TOKEN": "t", "AWS_REGION": "eu-1"}),
        ("s3://b", "http://[::1]:80", {**KEYS, "AWS_DEFAULT_REGION": "eu-2"}),
        ("obs://b", "https://obs.cn-north-4.myhuaweicloud.com", HUAWEI),
        (
            "obs://b",
            "http://10.0.0.1:9000",
            {"ACCESS_KEY_ID": "m", "SECRET_ACCESS_KEY": "s", "SECURITY_TOKEN": "t"},
        ),
        ("obs://b", "http://10.0.0.1:9000", {**KEYS, "AWS_SESSION_TOKEN": "t"}),
    ],
)
def test_the_plain_way_is_botocores(
    monkeypatch: pytest.MonkeyPatch, url: str, endpoint: str, env: dict[str, str], *, through_options: bool
) -> None:
    options = {"env": env} if through_options else {}
    for name, value in {} if through_options else env.items():
        monkeypatch.setenv(name, value)
    made = s3_client.make_client
    monkeypatch.setattr(s3_client, "make_client", lambda *_: pytest.fail("asked botocore"))
    plain = find_way(holder_of(url, endpoint, **options), "b")
    monkeypatch.setattr(s3_client, "make_client", made)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    assert what(find_way(holder_of(url, endpoint, **options), "b")) == what(plain)
    assert "a-secret" not in repr(plain)


@pytest.mark.parametrize(
    "reason",
    [
        *("profile", "AWS_PROFILE", "config", "credentials", "$config", "http_proxy", "Http_Proxy"),
        *("AWS_SECURITY_TOKEN", "no endpoint"),
    ],
)
def test_anything_else_is_asked_of_botocore(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reason: str
) -> None:
    files = {"config": "[default]\nregion = eu-9\n[profile p]\nregion = eu-7\n", "credentials": "[other]\n"}
    options: dict[str, Any] = {"profile": "p"} if reason == "profile" else {}
    if reason in ("profile", "AWS_PROFILE", "config", "credentials"):
        (tmp_path / ".aws").mkdir()
        name = reason if reason in files else "config"
        (tmp_path / ".aws" / name).write_text(files[name])
    if reason == "$config":
        (tmp_path / "alt").write_text(files["config"])
        monkeypatch.setenv("AWS_CONFIG_FILE", "$HOME/alt")
    if reason.isupper() or "proxy" in reason.lower():
        monkeypatch.setenv(reason, "p" if "PROFILE" in reason else "http://127.0.0.1:1")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    asked: list[int] = []
    made = s3_client.make_client

    def make(*arguments: Any) -> Any:
        asked.append(1)
        return made(*arguments)

    monkeypatch.setattr(s3_client, "make_client", make)
    endpoint = None if reason == "no endpoint" else "http://10.0.0.1:9000"
    try:
        region = find_way(holder_of("s3://b", endpoint, **options), "b").signer._region
    except NoWay:
        region = "no way"
    wanted = {"profile": "no way", "AWS_PROFILE": "no way", "config": "eu-9", "http_proxy": "no way"}
    wanted |= {"$config": "eu-9", "Http_Proxy": "no way"}
    assert (asked, region) == ([1], wanted.get(reason, "us-east-1"))


@pytest.mark.parametrize("home", ["denied", "absent"])
def test_a_home_that_may_not_be_looked_into_is_none(monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    if home == "denied":
        monkeypatch.setattr(os, "stat", _denied(os.stat))
    else:
        monkeypatch.delenv("HOME")
        monkeypatch.setattr("pwd.getpwuid", _unknown)
    monkeypatch.setattr(s3_client, "make_client", lambda *_: pytest.fail("asked botocore"))
    find_way(holder_of("s3://b", env=KEYS), "b")


def _denied(real: Any) -> Any:
    def stat(path: Any, *arguments: Any, **named: Any) -> Any:
        if "/.aws" in str(path):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *arguments, **named)

    return stat


def _unknown(user: int) -> Any:
    raise KeyError(user)


def test_the_region_of_the_process_counts_for_other_environments_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-2")
    plain = find_way(holder_of("s3://b", env=KEYS), "b")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    assert what(find_way(holder_of("s3://b", env=KEYS), "b")) == what(plain)
    assert plain.signer._region == "eu-2"


def test_an_empty_name_of_certificates_is_botocores_to_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    made = s3_client.make_client
    monkeypatch.setattr(s3_client, "make_client", lambda *each: asked.append(1) or made(*each))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    with suppress(Exception):
        find_way(holder_of("s3://b", "https://s3.example.com", env=KEYS), "b")
    assert asked


def test_a_certificate_that_is_named(monkeypatch: pytest.MonkeyPatch, radosgw: S3Server) -> None:
    env, endpoint = {"env": radosgw.env}, radosgw.tls_endpoint
    usual = find_way(holder_of("s3://b", endpoint, **env), "b").peer.tls
    named = find_way(holder_of("s3://b", endpoint, ca_bundle=radosgw.ca_bundle, **env), "b").peer.tls
    monkeypatch.setenv("AWS_CA_BUNDLE", str(radosgw.ca_bundle))
    by_environment = find_way(holder_of("s3://b", endpoint, **env), "b").peer.tls
    assert usual
    assert named
    assert by_environment
    counts = [each.cert_store_stats()["x509"] for each in (usual, named, by_environment)]
    assert counts == [counts[0], 1, 1]
    assert counts[0] > 1


def test_reading_needs_no_botocore(rclone: S3Server, tmp_path: Path) -> None:
    """Two thirds of what a short download needs of the processor would be the start of botocore."""
    bucket = "bucket"
    rclone.client().put_object(Bucket=bucket, Key="plain/a/x", Body=b"data")
    code = (
        "import sys\nfrom launcher.storage import open_store\nstore = open_store('s3://bucket/plain')\n"
        "[info] = store.list()\nassert store.head('a/x').size == 4\nassert store.head('none') is None\n"
        "store.get_file('a/x', sys.argv[1], info)\n"
        "assert not {'botocore', 'boto3', 'urllib3', 'http.client'} & set(sys.modules), 'imported'\n"
    )
    env = {**os.environ, **rclone.env, "AWS_ENDPOINT_URL": rclone.endpoint, "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], env=env, check=True, timeout=60)
    assert (tmp_path / "x").read_bytes() == b"data"
