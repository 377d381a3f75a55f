"""TLS: certificates, ports that speak something else, and uploads without a checksum trailer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.errors import StoreRefused, UsageError
from launcher.storage import open_store
from tests.servers.s3 import S3Server
from tests.servers.stores import open_on


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


def test_http_spoken_to_a_tls_port_is_named_at_once(radosgw: S3Server, engine: str, tmp_path: Path) -> None:
    store = open_on(radosgw, endpoint=radosgw.tls_endpoint.replace("https", "http"), patience_s=600)
    for request in (lambda: store.head("x"), lambda: store.put("x", b"1"), lambda: list(store.list())):
        with pytest.raises(StoreRefused, match="speaks TLS") as caught:
            request()
        assert "https://" in caught.value.hint


def test_https_spoken_to_a_plain_port_is_named_at_once(radosgw: S3Server, engine: str) -> None:
    store = open_on(radosgw, endpoint=radosgw.endpoint.replace("http", "https"), patience_s=600)
    for request in (lambda: store.head("x"), lambda: store.put("x", b"1"), lambda: list(store.list())):
        with pytest.raises(StoreRefused, match="wrong scheme"):
            request()


def test_a_file_of_certificates_is_looked_at_before_the_first_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.pem").write_text("no certificate")
    for file, words in ((tmp_path / "none.pem", "can't read"), (tmp_path / "empty.pem", "no certificate")):
        with pytest.raises(UsageError, match=words) as caught:
            open_store("s3://b", endpoint="https://store.example", ca_bundle=str(file))
        assert caught.value.where == str(file)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(file))
        with pytest.raises(UsageError, match=words):
            open_store("s3://b", endpoint="https://store.example")
        open_store("s3://b", endpoint="http://store.example")  # needs none
        monkeypatch.delenv("AWS_CA_BUNDLE")
