"""A web server that takes messages, and can refuse some first."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.waiting import PATIENCE_S


class Hook:
    """What came: `bodies` in order. `answers` are the status codes of the next answers, then 200."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.answers: list[int] = []
        self.port = 0
        self._came = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def events(self) -> list[str]:
        return [body["event"] for body in self.bodies]

    def take(self, path: str, body: bytes) -> int:
        with self._came:
            answer = self.answers.pop(0) if self.answers else 200
            self.paths.append(path)
            if answer == 200:
                self.bodies.append(json.loads(body))
            self._came.notify_all()
            return answer

    def wait_for(self, count: int, timeout_s: float = PATIENCE_S) -> list[dict[str, Any]]:
        with self._came:
            assert self._came.wait_for(lambda: len(self.bodies) >= count, timeout_s), self.bodies
            return list(self.bodies)


@contextmanager
def webhook() -> Iterator[Hook]:
    """A running server."""
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer = hook.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(answer)
            if answer == 302:
                self.send_header("Location", hook.url)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
