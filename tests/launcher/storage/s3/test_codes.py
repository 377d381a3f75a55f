"""What error codes of many vendors mean, and what cannot be an endpoint, a region, a key or a certificate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.errors import NotFound, StoreError, StoreRefused, UsageError
from launcher.storage import ObjectStore, open_store
from launcher.storage.s3.codes import meaning_of
from launcher.storage.s3.kinds import KEYS, Kind
from tests.servers.certificate import make_certificate
from tests.servers.faults import Answer, Faults, status
from tests.servers.s3 import S3Server
from tests.servers.stores import open_on

REFUSED = [
    (403, "BucketQuotaExceeded", "quota"),
    (409, "PutOverQuota", "quota"),
    (403, "StorageCapExceeded", "quota"),
    (403, "ForbiddenByBlackList", "access denied"),
    (403, "SecurityPolicyViolated", "access denied"),
    (403, "BillingDisabled", "arrears"),
    (402, "", "arrears"),
    (409, "InvalidBucketState", "disabled"),
    (403, "RetentionPolicyNotMet", "locked"),
    (403, "WormObjectForbidden", "locked"),
    (400, "KMS.KMSInvalidStateException", "encrypts the object"),
    (403, "KmsKeyAccessDenied", "encrypts the object"),
    (400, "ResourceIsEncryptedWithCustomerEncryptionKey", "SSE-C"),
    (409, "PathConflict", "this name"),
    (414, "", "too long"),
    (431, "", "headers"),
    (403, "RequestIsNotHttps", "TLS"),
    (503, "XMinioInsecureClientRequest", "TLS"),
    (451, "", "legal"),
    (500, "XMinioObjectTampered", "damaged in the store"),
    (404, "NoSuchTenant", "no such account"),
    (511, "", "login"),
    (303, "", "elsewhere"),
]
BUSY = ["UserRateLimitExceeded", "RateLimitExceeded", "DownloadTrafficRateLimitExceeded", "BusyError"]


@pytest.mark.parametrize(("code", "name", "words"), REFUSED, ids=[f"{row[1]}{row[0]}" for row in REFUSED])
def test_refusals_of_many_vendors(code: int, name: str, words: str) -> None:
    meaning = meaning_of(name, code)
    assert meaning.kind is Kind.REFUSED
    assert words in meaning.what
    assert meaning.hint
    assert meaning.hint != KEYS, "nothing is wrong with the keys"


def test_what_passes_is_no_refusal_whatever_its_status() -> None:
    for code in BUSY:
        assert meaning_of(code, 403).kind is Kind.BUSY
    for code in (
        "XMinioServerNotInitialized",
        "XMinioReadQuorum",
        "BackendError",
        "KMS.KMSInternalException",
    ):
        assert meaning_of(code, 503).kind is Kind.TRANSIENT


@pytest.mark.parametrize("code", [400, 403, 409])
def test_the_advice_on_an_unknown_code_is_its_documentation(
    radosgw: S3Server, faults: Faults, code: int
) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=1e6)
    faults.add(status(code, "Unheard{of}"), passes=False)
    faults.add(status(code, "Unheard.Of"), method="PUT", passes=False)
    for request in (lambda: store.read("x"), lambda: store.put("x", b"1")):
        with pytest.raises(StoreRefused) as caught:
            request()
        assert caught.value.hint.startswith("the store's documentation")


def redirect(code: int, name: str, headers: dict[str, str], inside: str = "") -> Callable[[Answer], None]:
    def change(answer: Answer) -> None:
        answer.status = code
        answer.headers = [*headers.items()]
        answer.body = (
            f'<?xml version="1.0"?><Error><Code>{name}</Code>{inside}</Error>'.encode() if name else b""
        )

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (redirect(301, "PermanentRedirect", {"x-amz-bucket-region": "eu-west-1"}), "AWS_REGION=eu-west-1"),
        (
            redirect(400, "AuthorizationHeaderMalformed", {}, "<Region>ap-1</Region>"),
            "AWS_REGION=ap-1",
        ),
        (
            redirect(301, "PermanentRedirect", {}, "<Endpoint>b.obs.cn-east-3.example.com</Endpoint>"),
            "the endpoint b.obs.cn-east-3.example.com",
        ),
        (redirect(302, "", {"Location": "https://login.example.com/sso?x=1"}), "https://login.example.com;"),
        (redirect(307, "", {"Location": "javascript:alert(1)"}), "check that the endpoint"),
    ],
)
def test_a_redirect_says_where_to(
    radosgw: S3Server, faults: Faults, change: Callable[[Answer], None], words: str
) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=1e6)
    for method in ("GET", "PUT"):
        faults.add(change, method=method, passes=False)
    for request in (lambda: store.read("x"), lambda: list(store.list()), lambda: store.put("x", b"1")):
        with pytest.raises(StoreRefused) as caught:
            request()
        assert words in caught.value.hint
        assert "javascript" not in caught.value.hint


def page_404(answer: Answer) -> None:
    answer.status, answer.headers, answer.body = 404, [("Content-Type", "text/html")], b"<html>nginx</html>"


def test_a_page_that_says_404_is_no_absent_object(radosgw: S3Server, faults: Faults, tmp_path: Path) -> None:
    """As a web server answers whose address somebody took for the store's."""
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=1e6)
    (tmp_path / "x").write_bytes(b"1")
    for method in ("GET", "PUT", "POST"):
        faults.add(page_404, method=method, passes=False)
    requests = (
        lambda: list(store.list()),
        lambda: store.put("x", b"1"),
        lambda: store.put_new("x", b"1"),
        lambda: store.put_file("x", tmp_path / "x"),
    )
    for request in requests:
        with pytest.raises(StoreRefused, match="something else than a store") as caught:
            request()
        assert "proxies" in caught.value.hint
    with pytest.raises(NotFound):
        store.read("x")


def test_a_complete_that_a_proxy_sent_twice(
    faulty: ObjectStore, faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client sees only the second answer: the upload is gone, since the object is made of it."""
    monkeypatch.setattr("launcher.storage.s3.upload.MULTIPART_BYTES", 6 << 20)
    data = bytes(range(256)) * (7 << 12)
    (tmp_path / "large").write_bytes(data)
    faults.add(status(404, "NoSuchUpload"), method="POST", path="uploadId")
    assert faulty.put_file("x", tmp_path / "large").size == len(data)
    assert faults.count("POST", "uploads") == 1, "nothing is sent again"


@pytest.mark.parametrize(
    "endpoint",
    [
        *(
            "http://-bad",
            "http://a..b",
            "https://<region>.example.com",
            "${ENDPOINT}",
            "http://[::1",
            "http://.",
        ),
        *("http:/host:9000", "http:host", "http://host\\path", f"http://{'a' * 64}.com", "http://'host'"),
    ],
)
def test_what_can_be_no_endpoint(endpoint: str) -> None:
    with pytest.raises(UsageError, match="endpoint") as caught:
        open_store("s3://bucket/x", endpoint=endpoint, env={})
    assert "http" in caught.value.hint


@pytest.mark.parametrize(
    "endpoint", ["http://10.0.0.1:9000", "http://[::1]:9000", "https://obs.cn-1.example.com./a/b"]
)
def test_what_can_be_an_endpoint(endpoint: str) -> None:
    open_store("s3://bucket/x", endpoint=endpoint, env={})


@pytest.mark.parametrize("region", ["eu_west", '"cn-north-4"', "a.b", "-x", "cn-north-4;", "x" * 70])
def test_what_can_be_no_region(region: str) -> None:
    with pytest.raises(UsageError, match="no name of a region"):
        open_store("s3://bucket/x", endpoint="http://host", region=region, env={})


@pytest.mark.parametrize("scheme", ["s3", "obs"])
@pytest.mark.parametrize(
    "name",
    ["b?versions", "b#x", "a bucket", "b%20c", "..", ".", "b\\c", "bücket", "b\nc", "<b>", "${B}", "b" * 256],
)
def test_what_can_be_no_bucket(scheme: str, name: str) -> None:
    with pytest.raises(UsageError, match="no name of a bucket"):
        open_store(f"{scheme}://{name}/x", endpoint="http://host", env={})


@pytest.mark.parametrize("name", ["b_c", "B.c-d", "-b", "arn:aws:s3:eu-west-1:1:accesspoint"])
def test_what_can_be_a_bucket(name: str) -> None:
    open_store(f"s3://{name}/x", endpoint="http://host", env={})


@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
def test_keys_in_quotes_are_named_before_the_first_request(name: str, quote: str) -> None:
    """As `docker --env-file` hands them on."""
    env = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", name: f"{quote}never-show{quote}"}
    store = open_store("s3://bucket/x", endpoint="http://127.0.0.1:1", env=env, patience_s=1e6)
    with pytest.raises(StoreError, match="the quotes around it") as caught:
        store.put("x", b"1")
    assert "never-show" not in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "garbage", "beside a good one"])
def test_a_damaged_certificate_is_named_before_the_first_request(tmp_path: Path, damage: str) -> None:
    good = make_certificate(tmp_path)[0].read_bytes()
    bad = b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n"
    content = {"cut": good[: len(good) // 2], "garbage": bad, "beside a good one": good + bad}[damage]
    (tmp_path / "bundle.pem").write_bytes(content)
    with pytest.raises(UsageError, match="certificate in the file is damaged"):
        open_store("s3://b/x", endpoint="https://host", ca_bundle=str(tmp_path / "bundle.pem"), env={})


NO_PROXIES = [
    *(
        "http://me:p/ss@host:3128",
        "http://me:p#ss@host:3128",
        "http://me:p?ss@host:3128",
        "http://me:p\\s@host:3128",
    ),
    *("http://me:secret@host:3128\n", " http://me:secret@host:3128", "http://me:secret@host:port", "http://"),
    *(
        "socks5://me:secret@host:3128",
        "HTTP://me:secret@host:3128",
        "http://me:p%C3%A4@host:3128",
        "http://[::1",
    ),
]


@pytest.mark.parametrize("address", NO_PROXIES)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_what_can_be_no_proxy(monkeypatch: pytest.MonkeyPatch, scheme: str, address: str) -> None:
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(f"{scheme}_proxy", address)
    with pytest.raises(UsageError, match=f"{scheme}_proxy") as caught:
        open_store("s3://bucket/x", endpoint=f"{scheme}://store.example.com", env={})
    assert "secret" not in str(caught.value)
    other = "https" if scheme == "http" else "http"
    open_store("s3://bucket/x", endpoint=f"{other}://store.example.com", env={})
    monkeypatch.setenv("no_proxy", "store.example.com")
    open_store("s3://bucket/x", endpoint=f"{scheme}://store.example.com", env={})


@pytest.mark.parametrize(
    "address",
    [
        "http://host:3128",
        "host:3128",
        "me:secret@host:3128",
        "http://me:p%40 %2F%23@my_proxy:3128/",
        "https://10.0.0.1",
    ],
)
def test_what_can_be_a_proxy(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("https_proxy", address)
    monkeypatch.setenv("HTTPS_PROXY", address)
    open_store("s3://bucket/x", endpoint="https://store.example.com", env={})
