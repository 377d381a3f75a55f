"""Requests without a body to one bucket, signed as AWS Signature Version 4 asks, as ready bytes.

The same rules as botocore's, for the kind of request that is made a million times. Credentials are asked for with
each request, since those that are renewed live where botocore keeps them.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

EMPTY_SHA256 = hashlib.sha256().hexdigest()
"""What a request without a body is signed with."""


class _Hmac:
    """HMAC-SHA256 under one key. The library's own looks its algorithm up anew each time, which costs five times as much."""

    def __init__(self, key: bytes) -> None:
        block = key.ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def digest(self, text: str) -> Any:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text.encode())
        outer.update(inner.digest())
        return outer


@dataclass(frozen=True, slots=True)
class _Day:
    """What signs for one day, and for whom."""

    secret: str = field(repr=False)
    day: str
    hmac: _Hmac


class Signer:
    """`credentials` is botocore's object. `host` has a port where that is not the scheme's own; `folder` is the
    part of the path before a key, and ends with '/'. Any thread may call `request`."""

    def __init__(self, credentials: Any, region: str, host: str, folder: str) -> None:
        self._credentials = credentials
        self._region = region
        self._host = host
        self._folder = folder
        self._day = _Day("", "", _Hmac(b""))
        self._moment = (0, "", "")

    def request(self, key: str, extra: str = "", *, method: str = "GET", query: str = "") -> bytes:
        """The request for a key, or for the bucket without one.

        `extra` is more header lines, each with its line end; they are not signed. `query` is what comes after the
        question mark, in canonical form: see `query_of`.
        """
        frozen = self._credentials.get_frozen_credentials()
        second = int(time.time())
        if self._moment[0] != second:
            now = time.gmtime(second)
            self._moment = (second, time.strftime("%Y%m%dT%H%M%SZ", now), time.strftime("%Y%m%d", now))
        _, stamp, day = self._moment
        path = quote(self._folder + key)
        names = "host;x-amz-content-sha256;x-amz-date"
        token = ""
        if frozen.token:
            names += ";x-amz-security-token"
            token = f"x-amz-security-token:{frozen.token}\n"
        canonical = (
            f"{method}\n{path}\n{query}\nhost:{self._host}\nx-amz-content-sha256:{EMPTY_SHA256}\nx-amz-date:{stamp}\n{token}"
            f"\n{names}\n{EMPTY_SHA256}"
        )
        scope = f"{day}/{self._region}/s3/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
        signature = self._hmac(frozen.secret_key, day).digest(text).hexdigest()
        if token:
            token = f"x-amz-security-token: {frozen.token}\r\n"
        target = f"{path}?{query}" if query else path
        return (
            f"{method} {target} HTTP/1.1\r\nHost: {self._host}\r\nUser-Agent: ascend-launcher\r\nAccept-Encoding: identity\r\n"
            f"x-amz-content-sha256: {EMPTY_SHA256}\r\nx-amz-date: {stamp}\r\n{token}{extra}"
            f"Authorization: AWS4-HMAC-SHA256 Credential={frozen.access_key}/{scope}, SignedHeaders={names}, "
            f"Signature={signature}\r\n\r\n"
        ).encode("ascii")

    def _hmac(self, secret: str, day: str) -> _Hmac:
        known = self._day
        if known.secret != secret or known.day != day:
            key = b"AWS4" + secret.encode()
            if len(key) > 64:
                key = hashlib.sha256(key).digest()
            for word in (day, self._region, "s3", "aws4_request"):
                key = _Hmac(key).digest(word).digest()
            self._day = known = _Day(secret, day, _Hmac(key))
        return known.hmac


def query_of(**fields: str) -> str:
    """In canonical form: by name, '_' in a name for '-', everything quoted that RFC 3986 does not leave alone."""
    named = sorted((name.replace("_", "-"), value) for name, value in fields.items())
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in named)
