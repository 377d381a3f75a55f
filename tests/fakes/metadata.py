"""A fake of a cloud machine's metadata service, as far as it hands out the keys of the machine's agency."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.fakes.modelarts_wire import Account


class _Metadata(BaseHTTPRequestHandler):
    """The two addresses of a cloud machine's metadata service that matter here."""

    server: MetadataServer

    def do_PUT(self) -> None:
        fine = self.path == "/meta-data/latest/api/token" and self.headers["X-Metadata-Token-Ttl-Seconds"]
        self._answer(200 if fine else 404, "session-token")

    def do_GET(self) -> None:
        self.server.asked += 1
        if (
            self.path != "/openstack/latest/securitykey"
            or self.headers["X-Metadata-Token"] != "session-token"
        ):
            self._answer(404, "")
            return
        lives_s = self.server.lives_s
        if self.server.ended:
            self.server.ended -= 1
            lives_s = -60.0
        ends = datetime.now(timezone.utc) + timedelta(seconds=lives_s)
        key = {
            "access": self.server.account.ak,
            "secret": self.server.account.sk,
            "securitytoken": self.server.account.token,
            "expires_at": ends.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        self._answer(self.server.status, self.server.text or json.dumps({"credential": key}))

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        pass


class MetadataServer(ThreadingHTTPServer):
    """Counts questions. `status` and `text` take the place of its answer, `lives_s` is how long keys are valid. So many coming
    answers have keys that have `ended`."""

    status, text, lives_s, asked, ended = 200, "", 86_400.0, 0, 0

    def __init__(self, account: Account) -> None:
        super().__init__(("127.0.0.1", 0), _Metadata)
        self.account = account
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def metadata_service(account: Account) -> Iterator[MetadataServer]:
    """On loopback in place of the link-local address of a cloud machine."""
    server = MetadataServer(account)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
