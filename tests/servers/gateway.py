"""A gateway with a path of its own before an S3 server: it checks each signature over the whole path, and signs anew without it."""

from __future__ import annotations

import hmac
import http.client
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.servers.s3 import S3Server

_PASSED = ("content-", "x-amz-", "range", "if-")
_SIGNED = re.compile(r"SignedHeaders=([^,]+)")


class _Signer(S3SigV4Auth):
    """Signs with the time and the headers that a request has."""

    def _modify_request_before_signing(self, request: Any) -> None:
        """Nothing: each header is there already."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_of: S3Server
    prefix: str

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        if not path.startswith(self.prefix + "/") or not self._is_signed():
            self._answer(403, [], b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
            return
        address = self.server_of.endpoint + path.removeprefix(self.prefix) + ("?" + query if query else "")
        passed = {k: v for k, v in self.headers.items() if k.lower().startswith(_PASSED)}
        keep = {k: v for k, v in passed.items() if k.lower() not in ("content-length", "x-amz-date")}
        request: Any = AWSRequest(self.command, address, data=body, headers=keep)
        self._signer(S3SigV4Auth).add_auth(request)
        parts = urlsplit(address)
        with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)) as server:
            target = address.removeprefix(self.server_of.endpoint)
            server.request(self.command, target, body, dict(request.headers.items()))
            answer = server.getresponse()
            skipped = ("connection", "transfer-encoding")
            headers = [(k, v) for k, v in answer.getheaders() if k.lower() not in skipped]
            self._answer(answer.status, headers, answer.read())

    def _signer(self, kind: Any) -> Any:
        keys = Credentials(self.server_of.access_key, self.server_of.secret_key)
        return kind(keys, "s3", "us-east-1")

    def _is_signed(self) -> bool:
        """Whether the signature is that of the request as it came."""
        shown = self.headers.get("Authorization", "")
        names = _SIGNED.search(shown)
        if names is None:
            return False
        headers = {name: self.headers.get(name, "") for name in names[1].split(";")}
        request: Any = AWSRequest(self.command, f"http://{self.headers['Host']}{self.path}", headers=headers)
        request.context["timestamp"] = self.headers["x-amz-date"]
        request.context["payload_signing_enabled"] = True
        signer = self._signer(_Signer)
        signer.payload = lambda _: self.headers["x-amz-content-sha256"]
        wanted = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
        return hmac.compare_digest(wanted, shown.rpartition("Signature=")[2])

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@contextmanager
def gateway(server: S3Server, prefix: str) -> Iterator[str]:
    """The gateway's address, its path included."""
    handler = type("Handler", (_Handler,), {"server_of": server, "prefix": prefix})
    listening = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    listening.daemon_threads = True
    thread = Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}{prefix}"
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()
