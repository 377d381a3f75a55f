"""Access keys from variables and files: their forms and their order."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import StoreRefused
from launcher.storage.registry import Options
from launcher.storage.s3 import keychain, keyfile
from launcher.storage.s3.keychain import key_chain
from launcher.storage.s3.keyfile import KeyFile, Keys

pytestmark = pytest.mark.usefixtures("bare")

INI = "aws_access_key_id = {0}\naws_secret_access_key = s\n"
AWS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}


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
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    path = tmp_path / "f"
    path.write_text(f"{INI.format('one')}expiration = {time.time() + 100}\n")
    file = KeyFile(str(path))
    assert file.keys({}) == Keys("one", "s", None)
    stamp = file._stamp
    monkeypatch.setattr(keyfile, "_stamp", lambda _: stamp)
    path.write_text(f"{INI.format('two')}expiration = {time.time() + 9000}\n")
    assert file.keys({}) == Keys("one", "s", None)
    now[0] += 2.0
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


# ---- looked at once per key, not once per request


def test_keys_are_checked_once_until_they_change(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    monkeypatch.setattr(keychain, "check_keys", lambda keys: checked.append(keys.access_key))
    env = dict(AWS)
    chain = key_chain("s3", Options(env=env))
    first = chain.current()
    assert chain.current() is first
    env["AWS_SESSION_TOKEN"] = "renewed"
    assert chain.current() == Keys("a", "s", "renewed")
    env["AWS_ACCESS_KEY_ID"] = "b"
    assert chain.current() is chain.current()
    assert checked == ["a", "a", "b"]


def test_keys_that_can_not_be_any_are_refused_at_every_look() -> None:
    chain = key_chain("s3", Options(env={**AWS, "AWS_SESSION_TOKEN": "cut\n"}))
    for _ in range(2):
        with pytest.raises(StoreRefused, match="the session token contains a newline"):
            chain.current()
