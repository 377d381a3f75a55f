"""What the API server asks a kubelet for: the output of containers, over TLS on loopback."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.servers.certificate import make_certificate


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
        parts = self.path.partition("?")[0].split("/")
        log = self.server.logs.get(parts[3]) if len(parts) > 3 else None  # type: ignore[attr-defined]
        data = log.read_bytes() if log is not None else b""
        self.send_response(200 if log is not None else 404)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Quiet."""
