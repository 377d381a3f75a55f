"""Our signatures are botocore's, letter by letter."""

from __future__ import annotations

import re
from typing import Any

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from launcher.storage.s3 import sigv4
from launcher.storage.s3.sigv4 import Signer, query_of

NOW = 1795323491  # 2026-11-22 04:58:11
KEYS = [
    "train/n01440764/n01440764_10026.JPEG",
    *(
        "a b",
        "a+b%20&=?;'",
        "é/日本😀.jpg",
        "~.-_*()",
        "[x]{y}^`#|",
        'quo"te\\back',
        "a//b",
        "%2F",
        "a:b@c,d$e!",
    ),
]


def fields_of(request: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = request.decode("ascii").removesuffix("\r\n\r\n").split("\r\n")
    return first, dict(line.split(": ", 1) for line in lines)


@pytest.fixture(autouse=True)
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sigv4.time, "time", lambda: NOW + 0.5)


@pytest.mark.parametrize("token", [None, "session/token+=="])
@pytest.mark.parametrize(
    ("host", "folder"), [("127.0.0.1:9000", "/bucket/"), ("bucket.obs.test", "/")], ids=["path", "virtual"]
)
def test_botocore_signs_the_same(
    monkeypatch: pytest.MonkeyPatch, host: str, folder: str, token: str | None
) -> None:
    credentials = Credentials("AK", "SK/secret+", token)
    signer = Signer(credentials, "cn-north-4", host, folder)
    for key in KEYS:
        first, fields = fields_of(signer.request(key, "Range: bytes=0-1\r\n"))
        path = first.removeprefix("GET ").removesuffix(" HTTP/1.1")
        assert re.fullmatch(r"[!-~]+", path)
        assert fields["Host"] == host
        assert fields["Range"] == "bytes=0-1"
        theirs: Any = botocore.auth.S3SigV4Auth(credentials, "s3", "cn-north-4")
        request = AWSRequest("GET", f"http://{host}{path}", data=b"")
        request.context["timestamp"] = fields["x-amz-date"]
        request.headers["X-Amz-Date"] = fields["x-amz-date"]
        request.headers["X-Amz-Content-SHA256"] = fields["x-amz-content-sha256"]
        if token:
            request.headers["X-Amz-Security-Token"] = fields["x-amz-security-token"]
        canonical = theirs.canonical_request(request)
        theirs._inject_signature_to_request(
            request, theirs.signature(theirs.string_to_sign(request, canonical), request)
        )
        assert request.headers["Authorization"] == fields["Authorization"], key


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_botocore_signs_a_listing_the_same(method: str) -> None:
    credentials = Credentials("AK", "SK", None)
    query = query_of(prefix="a b/é+", marker="x&y=/?", max_keys="1000", encoding_type="url", delimiter="/")
    assert query.startswith(
        "delimiter=%2F&encoding-type=url&marker=x%26y%3D%2F%3F&max-keys=1000&prefix=a%20b%2F"
    )
    request = Signer(credentials, "us-east-1", "host", "/b/").request("", method=method, query=query)
    first, fields = fields_of(request)
    assert first == f"{method} /b/?{query} HTTP/1.1"
    theirs: Any = botocore.auth.S3SigV4Auth(credentials, "s3", "us-east-1")
    asked = AWSRequest(method, f"http://host/b/?{query}", data=b"")
    asked.context["timestamp"] = asked.headers["X-Amz-Date"] = fields["x-amz-date"]
    asked.headers["X-Amz-Content-SHA256"] = fields["x-amz-content-sha256"]
    text = theirs.string_to_sign(asked, theirs.canonical_request(asked))
    theirs._inject_signature_to_request(asked, theirs.signature(text, asked))
    assert asked.headers["Authorization"] == fields["Authorization"]


def test_credentials_are_asked_for_with_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = Credentials("old", "one", None)
    signer = Signer(credentials, "us-east-1", "host", "/b/")
    before = fields_of(signer.request("x"))[1]["Authorization"]
    credentials.access_key, credentials.secret_key = "new", "other"
    after = fields_of(signer.request("x"))[1]["Authorization"]
    assert "Credential=new/" in after
    assert before.partition("Signature=")[2] != after.partition("Signature=")[2]
    monkeypatch.setattr(sigv4.time, "time", lambda: NOW + 86400.0)
    assert "/20261123/us-east-1/s3/" in fields_of(signer.request("x"))[1]["Authorization"]


def test_secrets_stay_inside() -> None:
    signer = Signer(Credentials("AK", "the-secret", None), "us-east-1", "host", "/b/")
    assert b"the-secret" not in signer.request("x")
    assert "the-secret" not in repr(signer)
