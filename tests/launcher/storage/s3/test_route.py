"""The fast path's requests go to the same place, with the same keys, as boto3's own."""

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
from launcher.storage.s3.route import NoRoute, Route, find_route
from tests.servers.certificate import make_certificate
from tests.servers.s3 import S3Server
from tests.waiting import PATIENCE_S

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


def empty_file(folder: Path) -> str:
    """A configuration file that says nothing; that it is there is enough for botocore to be asked."""
    (folder / "empty").touch()
    return str(folder / "empty")


def what(route: Route) -> tuple[Any, ...]:
    keys = route.credentials.get_frozen_credentials()
    facts = (keys.access_key, keys.secret_key, keys.token or None)
    return (*facts, route.url, route.bucket_in_host, route.region, route.ca_bundle, route.proxy, route.quoted)


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
def test_the_route_of_the_environment_is_botocores(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    url: str,
    endpoint: str,
    env: dict[str, str],
    *,
    through_options: bool,
) -> None:
    options = {"env": env} if through_options else {}
    for name, value in {} if through_options else env.items():
        monkeypatch.setenv(name, value)
    made = s3_client.make_client
    monkeypatch.setattr(s3_client, "make_client", lambda *_: pytest.fail("asked botocore"))
    plain = find_route(holder_of(url, endpoint, **options), "b")
    monkeypatch.setattr(s3_client, "make_client", made)
    monkeypatch.setenv("AWS_CONFIG_FILE", empty_file(tmp_path))
    assert what(find_route(holder_of(url, endpoint, **options), "b")) == what(plain)
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
        route = find_route(holder_of("s3://b", endpoint, **options), "b")
        found = (route.region, route.proxy)
    except NoRoute as error:
        found = (str(error), None)
    wanted = dict.fromkeys(("profile", "AWS_PROFILE"), ("there are no credentials", None))
    wanted |= dict.fromkeys(("config", "$config"), ("eu-9", None))
    wanted |= dict.fromkeys(("http_proxy", "Http_Proxy"), ("us-east-1", "http://127.0.0.1:1"))
    assert (asked, found) == ([1], wanted.get(reason, ("us-east-1", None)))


@pytest.mark.parametrize("home", ["denied", "absent"])
def test_a_home_that_may_not_be_looked_into_is_none(monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    if home == "denied":
        monkeypatch.setattr(os, "stat", _denied(os.stat))
    else:
        monkeypatch.delenv("HOME")
        monkeypatch.setattr("pwd.getpwuid", _unknown)
    monkeypatch.setattr(s3_client, "make_client", lambda *_: pytest.fail("asked botocore"))
    find_route(holder_of("s3://b", env=KEYS), "b")


def _denied(real: Any) -> Any:
    def stat(path: Any, *arguments: Any, **named: Any) -> Any:
        if "/.aws" in str(path):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *arguments, **named)

    return stat


def _unknown(user: int) -> Any:
    raise KeyError(user)


def test_the_region_of_the_process_counts_for_other_environments_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-2")
    plain = find_route(holder_of("s3://b", env=KEYS), "b")
    monkeypatch.setenv("AWS_CONFIG_FILE", empty_file(tmp_path))
    assert what(find_route(holder_of("s3://b", env=KEYS), "b")) == what(plain)
    assert plain.region == "eu-2"


def test_an_empty_name_of_certificates_is_botocores_to_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    made = s3_client.make_client
    monkeypatch.setattr(s3_client, "make_client", lambda *each: asked.append(1) or made(*each))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    with suppress(Exception):
        find_route(holder_of("s3://b", "https://s3.example.com", env=KEYS), "b")
    assert asked


def test_certificates_that_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bundle(**options: Any) -> str | None:
        return find_route(holder_of("s3://b", "https://s3.example.com", env=KEYS, **options), "b").ca_bundle

    files = {name: str(tmp_path / name) for name in ("requests.pem", "aws.pem", "ours.pem")}
    certificate = make_certificate(tmp_path)[0].read_bytes()
    for file in files.values():
        Path(file).write_bytes(certificate)
    assert bundle() is None
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", files["requests.pem"])
    assert bundle() == files["requests.pem"]
    monkeypatch.setenv("AWS_CA_BUNDLE", files["aws.pem"])
    assert bundle() == files["aws.pem"]
    assert bundle(ca_bundle=files["ours.pem"]) == files["ours.pem"]


@pytest.mark.parametrize(
    ("bucket", "options", "url"),
    [
        ("b-1", {"endpoint": "https://obs.example.com"}, "https://b-1.obs.example.com"),
        ("b.1", {"endpoint": "https://obs.example.com"}, "https://obs.example.com/b.1"),
        ("b_1", {"endpoint": "https://obs.example.com"}, "https://obs.example.com/b_1"),
        ("b.1", {"endpoint": "http://obs.example.com:8000"}, "http://obs.example.com:8000/b.1"),
        (
            "b_1",
            {"endpoint": "http://obs.example.com", "addressing": "virtual"},
            "http://obs.example.com/b_1",
        ),
        ("b-1", {"endpoint": "https://example.com/gate/s3/"}, "https://example.com/gate/s3/b-1"),
        ("b-1", {"endpoint": "https://obs.example.com", "addressing": "path"}, "https://obs.example.com/b-1"),
        ("b-1", {"endpoint": "http://10.0.0.1:9000"}, "http://10.0.0.1:9000/b-1"),
        ("b-1", {"endpoint": "http://[::1]:9000"}, "http://[::1]:9000/b-1"),
    ],
)
def test_where_the_bucket_stands_is_botocores_choice(
    monkeypatch: pytest.MonkeyPatch, bucket: str, options: dict[str, str], url: str
) -> None:
    """A name with dots fits no certificate of the service, one with an underscore is no host name."""
    holder = holder_of(f"obs://{bucket}", env=HUAWEI, **options)
    assert find_route(holder, bucket).url == url
    asked: list[str] = []

    def before(request: Any, **_: Any) -> Any:
        asked.append(request.url)
        raise ConnectionError

    holder.get().meta.events.register("before-send.s3", before)
    with suppress(ConnectionError):
        holder.get().get_object(Bucket=bucket, Key="k")
    assert asked == [f"{url}/k"]


def test_reading_needs_no_client_of_boto3(rclone: S3Server, tmp_path: Path) -> None:
    """Half of the CPU time of a short download would be the start of that client. Without a listing nothing of botocore is needed."""
    bucket = "bucket"
    rclone.client().put_object(Bucket=bucket, Key="plain/a/x", Body=b"data")
    code = (
        "import sys\nfrom launcher.storage import open_store\nstore = open_store('s3://bucket/plain')\n"
        "info = store.head('a/x')\nassert info.size == 4\nassert store.head('none') is None\n"
        "store.get_file('a/x', sys.argv[1], info)\nassert 'botocore' not in sys.modules, 'imported'\n"
        "[listed] = store.list()\nassert (listed.key, listed.etag) == (info.key, info.etag)\n"
        "assert not {'boto3', 'botocore.session', 'botocore.client'} & set(sys.modules), 'imported'\n"
    )
    env = {**os.environ, **rclone.env, "AWS_ENDPOINT_URL": rclone.endpoint, "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], env=env, check=True, timeout=PATIENCE_S)
    assert (tmp_path / "x").read_bytes() == b"data"


def test_without_obstore_boto3_serves_alone_and_a_log_line_says_so(rclone: S3Server, tmp_path: Path) -> None:
    rclone.client().put_object(Bucket="bucket", Key="plain/a/x", Body=b"data")
    code = (
        "import sys\nsys.modules['obstore'] = None\nfrom launcher.storage import open_store\n"
        "store = open_store('s3://bucket/plain')\n"
        "for name in 'xy':\n    [info] = store.list()\n    store.get_file('a/x', sys.argv[1], info)\n"
    )
    env = {**os.environ, **rclone.env, "AWS_ENDPOINT_URL": rclone.endpoint, "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x")],
        env=env,
        check=True,
        timeout=PATIENCE_S,
        capture_output=True,
        text=True,
    )
    assert (tmp_path / "x").read_bytes() == b"data"
    assert done.stderr.count("obstore is not installed: boto3 alone serves the store") == 1
