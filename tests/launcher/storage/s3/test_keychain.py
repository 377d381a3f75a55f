"""Access keys from variables and files: their forms, their order, and their renewal while a store is open."""

import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import StoreRefused
from launcher.storage import ObjectStore, open_store
from launcher.storage.registry import Options
from launcher.storage.s3 import keyfile
from launcher.storage.s3.errors import KeysExpired
from launcher.storage.s3.keychain import key_chain
from launcher.storage.s3.keyfile import KeyFile, Keys
from launcher.storage.s3.store import S3Store
from tests.servers.process import Unavailable
from tests.servers.rotation import Rotation, rotating_server

INI = "aws_access_key_id = {0}\naws_secret_access_key = s\n"
AWS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's own settings."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "HUAWEI", "S3_", "OBS_", "ACCESS_", "SECRET_", "CREDENTIAL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LAUNCHER_NO_AGENCY", "1")


@pytest.fixture
def rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rotation]:
    (tmp_path / "s3" / "bucket").mkdir(parents=True)
    try:
        with rotating_server(tmp_path / "s3", tmp_path / "keys") as rotation:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", rotation.endpoint)
            yield rotation
    except Unavailable as error:
        pytest.skip(f"NOT TESTED, no S3 server: {error}")


# ---- forms of a file

FORMS = {
    "as AWS": f"[default]\n{INI.format('k')}aws_session_token = t\n",
    "without a section": f"{INI.format('k')}aws_session_token = t\n",
    "another section, the only one": f"[modelarts]\n{INI.format('k')}aws_session_token = t\n",
    "as Huawei's SDK": "[basic]\nak = k\nsk = s\nsecurity_token = t\n",
    "upper case": "[default]\nACCESS_KEY_ID = k\nSECRET_ACCESS_KEY = s\nSECURITY_TOKEN = t\n",
    "JSON": json.dumps({"access_key": "k", "secret_key": "s", "session_token": "t"}),
    "the metadata service's JSON": json.dumps(
        {"credential": {"access": "k", "secret": "s", "securitytoken": "t"}}
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_file(tmp_path: Path, form: str) -> None:
    (tmp_path / "f").write_text(FORMS[form])
    keys = KeyFile(str(tmp_path / "f")).keys({})
    assert keys == Keys("k", "s", "t")
    assert keys.renewed
    assert "'s'" not in repr(keys)


@pytest.mark.parametrize(
    "text", ["", "[default]\n", "[default]\naws_access_key_id = k\n", '{"access": ', "\0", "[]", "[x"]
)
def test_half_a_file_keeps_the_last_keys(tmp_path: Path, text: str) -> None:
    path = tmp_path / "f"
    path.write_text(text)
    file = KeyFile(str(path))
    assert file.keys({}) is None
    path.write_text(INI.format("k"))
    assert file.keys({}) == Keys("k", "s", None)
    path.write_text(text)
    assert file.keys({}) == Keys("k", "s", None)
    path.unlink()
    assert file.keys({}) == Keys("k", "s", None)
    path.write_text(INI.format("other"))
    assert file.keys({}) == Keys("other", "s", None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-28T05:00:00Z", 1795842000.0),
        ("2026-11-28T05:00:00", 1795842000.0),
        ("2026-11-28T06:00:00.000000+01:00", 1795842000.0),
        ("1795842000", 1795842000.0),
        ("1795842000000", 1795842000.0),
        ("soon", None),
    ],
)
def test_when_keys_expire(tmp_path: Path, text: str, seconds: float | None) -> None:
    (tmp_path / "f").write_text(f"{INI.format('k')}expiration = {text}\n")
    keys = KeyFile(str(tmp_path / "f")).keys({})
    assert keys is not None
    assert keys.expires_at == seconds


def test_shortly_before_they_expire_the_file_is_read_whatever_its_time_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system may show an old time for a file that another machine has written."""
    path = tmp_path / "f"
    path.write_text(f"{INI.format('one')}expiration = {time.time() + 100}\n")
    file = KeyFile(str(path))
    assert file.keys({}) == Keys("one", "s", None)
    stamp = file._stamp
    monkeypatch.setattr(keyfile, "_stamp", lambda _: stamp)
    path.write_text(f"{INI.format('two')}expiration = {time.time() + 9000}\n")
    assert file.keys({}) == Keys("one", "s", None)
    later = time.monotonic() + 2.0
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert file.keys({}) == Keys("two", "s", None)


# ---- order

HUAWEI = {"HUAWEICLOUD_SDK_AK": "h", "HUAWEICLOUD_SDK_SK": "s"}
PLATFORM = {"ACCESS_KEY_ID": "m", "SECRET_ACCESS_KEY": "s"}


@pytest.mark.parametrize(
    ("scheme", "env", "options", "expected"),
    [
        ("obs", {**HUAWEI, **PLATFORM, **AWS}, {}, "h"),
        ("obs", {**PLATFORM, **AWS}, {}, "m"),
        ("s3", {**HUAWEI, **PLATFORM, **AWS}, {}, "a"),
        ("s3", {**HUAWEI, **PLATFORM}, {}, "shared"),
        ("obs", {}, {}, "sdk"),
        ("s3", {}, {}, "shared"),
        ("s3", {**AWS}, {"profile": "p"}, "of-p"),
        ("s3", {**AWS, "AWS_PROFILE": "p"}, {}, "of-p"),
        ("obs", {**HUAWEI, "AWS_PROFILE": "p"}, {}, "h"),
        ("s3", {"AWS_WEB_IDENTITY_TOKEN_FILE": "x", "AWS_ROLE_ARN": "y"}, {}, "named"),
        ("s3", {"AWS_SHARED_CREDENTIALS_FILE": "none"}, {}, "named"),
    ],
)
def test_which_keys_come_first(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
    env: dict[str, str],
    options: dict[str, Any],
    expected: str,
) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".huaweicloud").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        f"[default]\n{INI.format('shared')}[p]\n{INI.format('of-p')}"
    )
    (tmp_path / ".huaweicloud" / "credentials").write_text("[basic]\nak = sdk\nsk = s\n")
    (tmp_path / "named").write_text(INI.format("named"))
    monkeypatch.setenv("CREDENTIAL_PROFILES_FILE", str(tmp_path / "named"))
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    keys = key_chain(scheme, Options(**options)).current()
    assert keys is not None
    assert keys.access_key == expected


@pytest.mark.parametrize(
    "setting", ["role_arn = x\nsource_profile = other", "credential_process = x", "sso_session = x"]
)
@pytest.mark.parametrize("file", ["config", "credentials"])
def test_a_profile_that_gets_its_keys_elsewhere_is_left_to_botocore(
    tmp_path: Path, setting: str, file: str
) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(f"[default]\n{INI.format('k')}[p]\n{INI.format('k')}")
    with (tmp_path / ".aws" / file).open("a") as config:
        config.write(f"[profile p]\n{setting}\n" if file == "config" else f"{setting}\n")
    assert key_chain("s3", Options(profile="p")).current() is None


# ---- renewal


def use(store: ObjectStore, folder: Path, name: str) -> None:
    """Every kind of request, through whichever engine."""
    info = store.put(name, b"data of " + name.encode())
    assert store.read(name) == b"data of " + name.encode()
    assert store.head(name) is not None
    assert name in [each.key for each in store.list()]
    store.get_file(name, folder / name, info)
    assert (folder / name).read_bytes() == b"data of " + name.encode()
    assert store.head("nothing-here") is None


@pytest.mark.parametrize("engine", ["auto", "boto3"])
@pytest.mark.parametrize("variable", ["AWS_SHARED_CREDENTIALS_FILE", "CREDENTIAL_PROFILES_FILE"])
@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "AccessDenied"])
def test_an_open_store_outlives_three_renewals(
    rotation: Rotation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, variable: str, code: str
) -> None:
    monkeypatch.setenv("LAUNCHER_S3_ENGINE", engine)
    monkeypatch.setenv(variable, str(rotation.file))
    rotation.code = code
    store = open_store("obs://bucket/x", region="cn-north-4", patience_s=20.0)
    folder = store.substore("sub")
    for turn in range(4):
        use(folder, tmp_path, f"turn-{turn}")
        rotation.renew()
    assert isinstance(folder, S3Store)
    assert set(rotation.used) == {f"key-of-turn-{n}" for n in range(4)}
    if engine == "auto":
        assert folder._fast is not None
        assert folder._fast.fetched >= 4
    assert rotation.refused == 0  # the file was read before the store could refuse the old keys


@pytest.mark.parametrize("engine", ["auto", "boto3"])
def test_keys_that_end_before_new_ones_are_written_cost_only_time(
    rotation: Rotation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setenv("LAUNCHER_S3_ENGINE", engine)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(rotation.file))
    store = open_store("obs://bucket/x", region="cn-north-4", patience_s=60.0)
    use(store, tmp_path, "before")
    rotation.expire()
    refused = threading.Event()
    judge = rotation.judge

    def note(key: str, path: str) -> tuple[int, str] | None:
        answer = judge(key, path)
        if answer is not None:
            refused.set()
        return answer

    rotation.faults.refuse = note
    writer = threading.Thread(target=lambda: refused.wait(60) and rotation.write())
    writer.start()
    use(store, tmp_path, "after")
    writer.join()
    assert refused.is_set()


def test_keys_that_nobody_renews_are_an_error_that_names_the_file(
    rotation: Rotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIAL_PROFILES_FILE", str(rotation.file))
    store = open_store("obs://bucket/x", region="cn-north-4", patience_s=0.1)
    rotation.expire()
    with pytest.raises(KeysExpired, match=r"have ended \(ExpiredToken\), and .*/keys has no new ones yet"):
        store.read("x")


def test_keys_in_variables_that_are_refused_give_way_to_a_file(
    rotation: Rotation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A platform that sets both renews the file only."""
    monkeypatch.setenv("ACCESS_KEY_ID", "key-of-turn-0")
    monkeypatch.setenv("SECRET_ACCESS_KEY", "secret-of-turn-0-0123456789")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(rotation.file))
    store = open_store("obs://bucket/x", region="cn-north-4", patience_s=20.0)
    use(store, tmp_path, "variables")
    for turn in range(3):
        rotation.renew()
        use(store, tmp_path, f"file-{turn}")
    assert set(rotation.used) == {f"key-of-turn-{n}" for n in range(4)}


def test_variables_that_change_are_read_again(
    rotation: Rotation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store("obs://bucket/x", region="cn-north-4", patience_s=20.0)
    for turn in range(3):
        monkeypatch.setenv("HUAWEICLOUD_SDK_AK", f"key-of-turn-{turn}")
        monkeypatch.setenv("HUAWEICLOUD_SDK_SK", f"secret-of-turn-{turn}-0123456789")
        monkeypatch.setenv("HUAWEICLOUD_SDK_SECURITY_TOKEN", f"token-{turn}")
        use(store, tmp_path, f"turn-{turn}")
        rotation.renew()
    assert rotation.refused == 0


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"])
def test_wrong_keys_are_refused_at_once(
    rotation: Rotation, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """Keys that do not end are not waited for."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    rotation.code = code
    with pytest.raises(StoreRefused):
        open_store("obs://bucket/x", region="cn-north-4", patience_s=60.0).put("x", b"1")
    assert rotation.refused == 1


def test_keys_that_come_after_the_store_was_opened(
    rotation: Rotation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIAL_PROFILES_FILE", str(tmp_path / "later"))
    store = open_store("obs://bucket/x", region="cn-north-4", patience_s=5.0)
    with pytest.raises(StoreRefused, match="no credentials"):
        store.put("x", b"1")
    rotation.file.rename(tmp_path / "later")
    use(store, tmp_path, "now")


def test_many_threads_and_renewals_in_between(
    rotation: Rotation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(rotation.file))
    store = open_store("obs://bucket/x", region="cn-north-4", patience_s=60.0)

    def work(worker: int) -> None:
        for turn in range(5):
            store.put(f"{worker}-{turn}", b"x" * 100)
            assert store.read(f"{worker}-{turn}") == b"x" * 100
            if worker == 0:
                rotation.renew()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(list(store.list())) == 20
