"""Requests of tests to an API server, over connections that are kept: a new one costs more than most requests."""

from __future__ import annotations

import io
import json
import ssl
import threading
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

TIMEOUT_S = 60


class Connections:
    """Threads may share it. A request on a kept connection that the server has closed meanwhile is sent once more."""

    def __init__(self, address: str, ca: Path, token: str) -> None:
        self._address = address
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._context = ssl.create_default_context(cafile=str(ca))
        self._idle: list[HTTPSConnection] = []
        self._lock = threading.Lock()

    def call(self, method: str, path: str, body: Any) -> dict[str, Any]:
        """Raises HTTPError, OSError, HTTPException."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = json.dumps(body).encode() if body is not None else None
        headers = {**self._headers, "Content-Type": kind}
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        if kept is not None:
            try:
                return self._on(kept, method, path, data, headers)
            except HTTPError:
                raise
            except (OSError, HTTPException):
                pass
        parts = urlsplit(self._address)
        made = HTTPSConnection(str(parts.hostname), parts.port, timeout=TIMEOUT_S, context=self._context)
        return self._on(made, method, path, data, headers)

    def close(self) -> None:
        with self._lock:
            for each in self._idle:
                each.close()
            self._idle.clear()

    def _on(
        self, connection: HTTPSConnection, method: str, path: str, data: bytes | None, headers: dict[str, str]
    ) -> dict[str, Any]:
        try:
            connection.request(method, path, body=data, headers=headers)
            answer = connection.getresponse()
            text = answer.read()
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._idle.append(connection)
        if answer.status >= 400:
            raise HTTPError(
                self._address + path, answer.status, answer.reason, answer.headers, io.BytesIO(text)
            )
        return json.loads(text)  # type: ignore[no-any-return]
