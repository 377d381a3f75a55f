"""A file with access keys, as AWS, Huawei's SDK and platforms write them; read again when it changes, and before its keys expire."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timezone
from pathlib import Path
from typing import ClassVar

from launcher.clock import iso_time
from launcher.jsontext import parse_json

SOON_S = 300.0
"""Keys that expire within this time are looked for again, however old the file says it is."""
_NAMES = {
    "access": ("aws_access_key_id", "access_key_id", "accesskeyid", "access_key", "access", "ak"),
    "secret": ("aws_secret_access_key", "secret_access_key", "secretaccesskey", "secret_key", "secret", "sk"),
    "token": (
        *("aws_session_token", "aws_security_token", "session_token", "sessiontoken"),
        *("security_token", "securitytoken", "token"),
    ),
    "expiry": ("expiration", "aws_expiration", "expires_at", "expires", "expire_time"),
}
ELSEWHERE = ("role_arn", "credential_process", "sso_session", "sso_start_url", "web_identity_token_file")
"""Settings of a section with which botocore gets other keys than those of the section."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Access keys of one moment, with what botocore's credentials have. `origin` says to people where they are from.

    `renewed`: they are temporary and from a file, which somebody writes again before or after they expire.
    """

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(repr=False)
    origin: str = field(default="", compare=False)
    expires_at: float | None = field(default=None, compare=False)
    renewed: bool = field(default=False, compare=False)
    account_id: ClassVar[None] = None

    def get_frozen_credentials(self) -> Keys:
        """What botocore's credentials answer: the keys of this moment."""
        return self


class KeyFile:
    """The keys of one section. A file that is not there or not whole gives the last keys that it had, or none."""

    def __init__(self, path: str, section: str = "") -> None:
        self._path, self._section = expanded(path), section
        self._stamp: tuple[int, int, int] | None = None
        self._read_at = 0.0
        self._keys: Keys | None = None

    def keys(self, env: Mapping[str, str]) -> Keys | None:
        """The keys of this moment; `env` is not looked at."""
        stamp = _stamp(self._path)
        expiry = self._keys.expires_at if self._keys else None
        soon = expiry is not None and expiry - time.time() < SOON_S and time.monotonic() - self._read_at > 1.0
        if stamp is not None and (stamp != self._stamp or soon):
            self._stamp, self._read_at = stamp, time.monotonic()
            self._keys = self._parsed() or self._keys
        return self._keys

    def forget(self) -> None:
        """Read the file again at the next call."""
        self._stamp = None

    def _parsed(self) -> Keys | None:
        try:
            section = read_section(Path(self._path).read_text(encoding="utf-8"), self._section)
        except (OSError, UnicodeDecodeError):
            return None
        values = {
            what: next((section[n] for n in names if section.get(n)), "") for what, names in _NAMES.items()
        }
        if not (values["access"] and values["secret"]) or any(section.get(name) for name in ELSEWHERE):
            return None
        token = values["token"] or None
        expiry = _seconds(values["expiry"])
        return Keys(values["access"], values["secret"], token, self._path, expiry, renewed=bool(token))


def read_section(text: str, name: str) -> dict[str, str]:
    """Settings of a section in lower case; without a name those of `default`, `basic` or the only one. JSON has no sections.
    Empty for a text that is neither, such as half a file."""
    if text.lstrip().startswith("{"):
        return _of_json(text)
    import configparser

    parser = configparser.ConfigParser(interpolation=None, strict=False, default_section="\n")
    try:
        parser.read_string(text if text.lstrip().startswith(("[", "#", ";")) else f"[default]\n{text}")
    except configparser.Error:
        return {}
    wanted = [name] if name else ["default", "basic", *parser.sections()[:1]]
    found = next((each for each in wanted if parser.has_section(each)), None)
    return {key.lower(): value.strip() for key, value in parser.items(found)} if found else {}


def _of_json(text: str) -> dict[str, str]:
    try:
        value = parse_json(text)
    except ValueError:
        return {}
    inner = next((value[key] for key in ("credential", "credentials", "Credentials") if key in value), value)
    return {str(key).lower(): str(each) for key, each in inner.items()} if isinstance(inner, dict) else {}


def expanded(path: str) -> str:
    """With variables and ~ replaced where that is possible, as botocore does it."""
    return os.path.expandvars(os.path.expanduser(path))  # noqa: PTH111 - the method raises without a home


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - before every request
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _seconds(text: str) -> float | None:
    """Unix seconds of a time as files have it: seconds, milliseconds, or ISO 8601."""
    try:
        number = float(text)
        return number / 1000 if number > 1e11 else number
    except ValueError:
        pass
    try:
        when = iso_time(text)
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()
