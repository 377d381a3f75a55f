"""What the API server asks a kubelet for: the output of containers, over TLS on loopback."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.servers.certificate import make_certificate

PREVIOUS = "previous.log"
"""Beside the output of a container that has begun anew: that of the one before."""


def log_server(folder: Path, logs: Mapping[str, Path]) -> ThreadingHTTPServer:
    """Not yet serving. `logs`: files by the names of pods; its certificate is made in `folder`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Logs)
    server.logs = logs  # type: ignore[attr-defined]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(folder))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


class _Logs(BaseHTTPRequestHandler):
    """Answers the API server's questions for logs."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        parts = path.split("/")
        log = self.server.logs.get(parts[3]) if len(parts) > 3 else None  # type: ignore[attr-defined]
        if log is not None and "previous=true" in query:
            log = log.with_name(PREVIOUS)
        found = log is not None and log.exists()
        data = log.read_bytes() if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Quiet."""
