"""A TCP proxy that makes every request late by a fixed time, and answers not at all."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast
from urllib.parse import urlsplit

from tests.servers.ports import free_port
from tests.servers.process import accepts, running, wait_until


class _Upstream(asyncio.Protocol):
    """The side of the server: bytes are forwarded at once."""

    def __init__(self, client: asyncio.Transport) -> None:
        self.client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.client.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.client.close()

    def pause_writing(self) -> None:
        """Requests are small."""


class _Client(asyncio.Protocol):
    """The side of the client: bytes are forwarded after `delay_s`, in order."""

    def __init__(self, host: str, port: int, delay_s: float) -> None:
        self.address, self.delay_s = (host, port), delay_s
        self.upstream: asyncio.Task[tuple[asyncio.Transport, _Upstream]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        loop = asyncio.get_running_loop()
        opening = loop.create_connection(lambda: _Upstream(self.transport), *self.address)
        self.upstream = loop.create_task(opening)

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(self.delay_s, self._pass, data)

    def _pass(self, data: bytes) -> None:
        if self.upstream is None:
            return
        if not self.upstream.done():
            self.upstream.add_done_callback(lambda _: self._pass(data))
        elif self.upstream.exception() is None:
            self.upstream.result()[0].write(data)
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        if self.upstream is not None and self.upstream.done() and not self.upstream.exception():
            self.upstream.result()[0].pause_reading()

    def resume_writing(self) -> None:
        if self.upstream is not None and self.upstream.done() and not self.upstream.exception():
            self.upstream.result()[0].resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.upstream is not None and self.upstream.done() and not self.upstream.exception():
            self.upstream.result()[0].close()


async def _serve(port: int, upstream: str, delay_s: float) -> None:
    parts = urlsplit(upstream)
    host, to = str(parts.hostname), int(parts.port or 80)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Client(host, to, delay_s), "127.0.0.1", port, backlog=512)
    await server.serve_forever()


@contextmanager
def latency_proxy(endpoint: str, delay_s: float) -> Iterator[str]:
    """The address of a proxy before `endpoint` (http), in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "tests.servers.latency", str(port), endpoint, str(delay_s)]
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with running(command, log):
            wait_until(lambda: accepts(port), "the latency proxy", log)
            yield f"http://127.0.0.1:{port}"


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
