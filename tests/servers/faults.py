"""A proxy that stands between a client and a real S3 server and breaks what a test asks it to break.

Requests are passed on byte for byte, the Host header included, so that signatures stay valid.
"""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Answer:
    """What comes back to the client; a fault changes it. `cut_at` ends the connection after so many body bytes.

    With `chunked` the body comes in chunks, and no length is stated.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    cut_at: int | None = None
    reset: bool = False
    chunked: bool = False


@dataclass
class Fault:
    """Applied to requests with `method` whose path contains `path`, the first `times` of them.

    Unless it `passes`, the request does not reach the server, so that it has no effect.
    """

    change: Callable[[Answer], None]
    method: str = "GET"
    path: str = ""
    times: float = float("inf")
    passes: bool = True


@dataclass
class Faults:
    """The controls: faults in force, every request seen as (method, path), how many were sent as to an HTTP proxy.

    `refuse` gets the access key of a request and its path, and answers with status and code for one that is not passed on.
    With `payers_only` requests are refused unless they offer to pay, as in a bucket of the kind "requester pays".
    """

    endpoint: str
    active: list[Fault] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)
    proxied: int = 0
    refuse: Callable[[str, str], tuple[int, str] | None] | None = None
    payers_only: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, change: Callable[[Answer], None], **where: Any) -> None:
        """Put a fault in force."""
        with self.lock:
            self.active.append(Fault(change, **where))

    def clear(self) -> None:
        """Remove all faults and all recorded requests."""
        with self.lock:
            self.active.clear()
            self.seen.clear()

    def count(self, method: str, path: str = "") -> int:
        """How many such requests were received."""
        with self.lock:
            return sum(each == method and path in where for each, where in self.seen)

    def take(self, method: str, path: str) -> list[Fault]:
        """Note a request; the faults that hit it."""
        with self.lock:
            self.seen.append((method, path))
            hits = [
                each for each in self.active if each.method == method and each.path in path and each.times > 0
            ]
            for each in hits:
                each.times -= 1
            return hits


def flip_bit(answer: Answer) -> None:
    """One bit in the middle of the body, same length."""
    body = bytearray(answer.body)
    if body:
        body[len(body) // 2] ^= 1
    answer.body = bytes(body)


def cut(answer: Answer) -> None:
    """Half of the body, then the end of the connection."""
    answer.cut_at = len(answer.body) // 2


def reset(answer: Answer) -> None:
    """A TCP reset instead of an answer."""
    answer.reset = True


def in_chunks(answer: Answer) -> None:
    """As a proxy that does not know the length sends it."""
    answer.chunked = True


def status(code: int, error: str, **headers: str) -> Callable[[Answer], None]:
    """An S3 error."""

    def change(answer: Answer) -> None:
        answer.status = code
        answer.body = f"<Error><Code>{error}</Code><Message>made up</Message></Error>".encode()
        answer.headers = [
            ("Content-Type", "application/xml"),
            *((k.replace("_", "-"), v) for k, v in headers.items()),
        ]

    return change


def delay(seconds: float) -> Callable[[Answer], None]:
    """Wait before the answer."""

    def change(answer: Answer) -> None:
        time.sleep(seconds)

    return change


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    faults: Faults
    upstream: tuple[str, int]

    def _pass(self) -> None:
        if "://" in self.path:  # asked as a proxy
            self.faults.proxied += 1
            self.path = "/" + self.path.split("/", 3)[3]
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self._refused():
            return
        faults = self.faults.take(self.command, self.path)
        answer, stated = Answer(500, [], b""), None
        if all(fault.passes for fault in faults):
            answer, stated = self._ask(body)
        for fault in faults:
            fault.change(answer)
        self._answer(answer, stated)

    def _ask(self, body: bytes) -> tuple[Answer, str | None]:
        """The server's answer, and the length that it states, also without a body."""
        with closing(http.client.HTTPConnection(*self.upstream, timeout=60)) as connection:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            headers = [(k, v) for k, v in response.getheaders() if k.lower() not in _HOP]
            answer = Answer(response.status, headers, response.read())
            return answer, response.getheader("Content-Length")

    def _refused(self) -> bool:
        signed = self.headers.get("Authorization", "")
        refusal = None
        if self.faults.refuse is not None:
            found = re.search(r"Credential=([^/,]+)/", signed)
            refusal = self.faults.refuse(found[1] if found else "", self.path)
        pays = self.headers.get("x-amz-request-payer") == "requester" and "x-amz-request-payer" in signed
        if self.faults.payers_only and not pays:
            refusal = (403, "RequestPayerDenied")
        if refusal is None:
            return False
        answer = Answer(200, [], b"")
        status(*refusal)(answer)
        self._answer(answer, None)
        return True

    def _answer(self, answer: Answer, stated: str | None) -> None:
        if answer.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        bodyless, body = self.command == "HEAD", answer.body[: answer.cut_at]
        if answer.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            body = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in _pieces(body))
            body += b"0\r\n\r\n" if answer.cut_at is None else b""
        else:
            self.send_header("Content-Length", (stated or "0") if bodyless else str(len(answer.body)))
        self.end_headers()
        if not bodyless:
            self.wfile.write(body)
        if answer.cut_at is not None:
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


def _pieces(body: bytes) -> Iterator[bytes]:
    return (body[start : start + 100_000] for start in range(0, len(body), 100_000))


_HOP = ("connection", "content-length", "transfer-encoding", "keep-alive")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that close their connection: tests do that."""


@contextmanager
def fault_proxy(endpoint: str, host: str = "127.0.0.1") -> Iterator[Faults]:
    """A proxy in front of `endpoint` (http), which listens on `host`."""
    parts = urlsplit(endpoint)
    handler = type("Handler", (_Handler,), {"upstream": (parts.hostname, parts.port)})
    server = _Server((host, 0), handler)
    faults = Faults(f"http://{host}:{server.server_address[1]}")
    handler.faults = faults  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield faults
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
