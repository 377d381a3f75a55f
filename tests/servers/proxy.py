"""An HTTP proxy that wants a password, for plain requests and for tunnels to TLS."""

from __future__ import annotations

import base64
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import quote, urlsplit

USER, PASSWORD = "me", "p@ss:w/rd %"


@dataclass
class Proxy:
    """`passed` and `refused` have the targets of requests. Each of the next tunnels is cut after so many bytes as `cuts` say."""

    port: int
    passed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)

    def address(self, password: str = PASSWORD) -> str:
        """As a variable has it."""
        return f"http://{USER}:{quote(password, safe='')}@127.0.0.1:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: Proxy

    def _may(self) -> bool:
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        good = self.headers.get("Proxy-Authorization") == wanted
        (self.proxy.passed if good else self.proxy.refused).append(self.path)
        if not good:
            self.send_response_only(407)
            self.send_header("Proxy-Authenticate", 'Basic realm="here"')
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
        return good

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self._may():
            return
        parts = urlsplit(self.path)
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        connection.putrequest(
            self.command, self.path.split(parts.netloc, 1)[1], skip_host=True, skip_accept_encoding=True
        )
        for name, value in self.headers.items():
            if not name.lower().startswith("proxy-") and name.lower() not in ("connection", "expect"):
                connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass

    def do_CONNECT(self) -> None:
        if not self._may():
            return
        host, _, port = self.path.rpartition(":")
        self.close_connection = True
        left = self.proxy.cuts.pop(0) if self.proxy.cuts else float("inf")
        with socket.create_connection((host, int(port)), timeout=60) as server, suppress(OSError):
            self.send_response_only(200)
            self.end_headers()
            while True:
                ready, _, _ = select.select([self.connection, server], [], [], 60)
                for each in ready:
                    data = each.recv(65536)
                    left -= len(data)
                    if not data or left < 0:
                        return
                    (server if each is self.connection else self.connection).sendall(data)
                if not ready:
                    return

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that close their connection."""


@contextmanager
def password_proxy() -> Iterator[Proxy]:
    """The proxy, listening on loopback."""
    handler = type("Handler", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    proxy = Proxy(server.server_address[1])
    handler.proxy = proxy  # type: ignore[attr-defined]
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
