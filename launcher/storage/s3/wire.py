"""A client for one thing: requests without a body over kept-alive HTTP/1.1, with as little work per answer as there can be.

An answer is of use here when it is plain: 200 or 206, with its length; for short texts also in chunks. Everything else is
told apart only as far as needed to leave it to another client. A connection belongs to one thread.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass

from launcher.storage.ranges import Target

HEAD_BYTES = 64 << 10
"""The first read asks for so much; a longer block of header lines is refused."""
LINE_BYTES = 256
"""The line before a chunk is not longer."""
BODY_S = 120.0
"""An answer must have come after so long, however steadily it drips."""
IDLE_S = 20.0
"""A connection that rested longer is not used again: the server, or something between, may have let go of it."""
PIECE_BYTES = 1 << 20
"""`fill` looks at its deadline and at `stop` after so much."""


class WireError(Exception):
    """What came is not an answer that this client takes, or not all of it."""


class Stale(WireError):
    """A connection that had been used before was closed by the other side; nothing of an answer came."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Where to connect. `tls` is None for plain http; `server_name` is what the certificate must be for."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    connect_s: float
    read_s: float


class Head:
    """Status and header lines of an answer. `length` is None unless the answer is plain; `chunked` needs no length."""

    __slots__ = ("_lower", "_text", "chunked", "closes", "length", "status")

    def __init__(self, block: bytes) -> None:
        """From everything before the empty line. Raises WireError."""
        self._text = text = block.decode("latin-1")
        self._lower = lower = text.lower()
        if not lower.startswith(("http/1.1 ", "http/1.0 ")) or not lower[9:12].isdigit():
            raise WireError("not an HTTP answer")
        self.status = int(lower[9:12])
        self.closes = lower[7] == "0" or "close" in self.field("connection").lower()
        length = self.field("content-length")
        good = self.status in (200, 206) and self.field("content-encoding") in ("", "identity")
        coding = self.field("transfer-encoding")
        plain = good and length.isascii() and length.isdigit() and not coding
        self.chunked = good and coding.lower() == "chunked" and not length
        self.length = int(length) if plain and lower.count("\r\ncontent-length:") == 1 else None

    def has(self, name: str) -> bool:
        """Whether there is a line with this name, in lower case."""
        return f"\r\n{name}:" in self._lower

    def field(self, name: str) -> str:
        """The value of the first line with this name, in lower case; empty without one. Few are asked for of many."""
        begin = self._lower.find(f"\r\n{name}:")
        if begin < 0:
            return ""
        end = self._text.find("\r\n", begin + 2)
        return self._text[begin + len(name) + 3 : end if end >= 0 else None].strip()


class Connection:
    """One connection and its buffer. After any error, and after an answer that `closes`, it must not be used again."""

    def __init__(self, peer: Peer) -> None:
        self._used = self._pending = False
        self._buffer = bytearray(2 * HEAD_BYTES)
        self._begin = self._end = 0
        self._rested = 0.0
        self._read_s = peer.read_s
        plain = socket.create_connection((peer.host, peer.port), peer.connect_s)
        self._socket: socket.socket = plain
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if peer.tls is not None:
            self._flags = 0
            self._socket = peer.tls.wrap_socket(plain, server_hostname=peer.host)
            self._socket.settimeout(peer.read_s)
            return
        # The kernel keeps the time and waits for whole bodies: one call each, where Python's timeout makes it many.
        self._flags = socket.MSG_WAITALL
        plain.settimeout(None)
        limit = struct.pack("ll", int(peer.read_s), int(peer.read_s % 1 * 1e6))
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it; safe to repeat, and done by itself when nobody holds it any more."""
        opened = getattr(self, "_socket", None)
        if opened is not None:
            opened.close()

    @property
    def ready(self) -> bool:
        """Whether another request may go this way: nothing of an answer is left, and it was not idle too long."""
        return not self._pending and time.monotonic() - self._rested <= IDLE_S

    def ask(self, request: bytes) -> Head:
        """Send, and read up to the first byte of the body. Raises Stale, WireError, OSError."""
        used, self._used, self._pending = self._used, True, True
        view = memoryview(self._buffer)
        try:
            self._socket.sendall(request)
            have = self._socket.recv_into(view[:HEAD_BYTES])
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError) as error:
            if used:
                raise Stale from error
            raise
        if not have:
            raise Stale if used else WireError("the connection was closed")
        while (end := self._buffer.find(b"\r\n\r\n", 0, have)) < 0:
            if have >= HEAD_BYTES:
                raise WireError("too many header lines")
            more = self._socket.recv_into(view[have:HEAD_BYTES])
            if not more:
                raise WireError("the connection ended among the header lines")
            have += more
        self._begin, self._end = end + 4, have
        return Head(bytes(view[:end]))

    def body(self, length: int) -> memoryview:
        """The whole body, which is valid until the next `ask`."""
        end = self._begin + length
        if self._end > end:
            raise WireError("more came than was promised")
        if len(self._buffer) < end:
            larger = bytearray(end + HEAD_BYTES)
            larger[: self._end] = memoryview(self._buffer)[: self._end]
            self._buffer = larger
        view = memoryview(self._buffer)
        if self._end < end:
            self._receive(view[self._end : end])
        self._complete()
        return view[self._begin : end]

    def text(self, head: Head, most: int) -> bytes:
        """A whole body of at most `most` bytes, of known length or in chunks. Raises WireError for anything else."""
        if not head.chunked:
            if head.length is None or head.length > most:
                raise WireError("no short text")
            return bytes(self.body(head.length))
        raw = bytearray(memoryview(self._buffer)[self._begin : self._end])
        text = bytearray()
        deadline = time.monotonic() + BODY_S
        size, end = 1, -2  # of a chunk, and where its first line ends
        while size:
            start = end + 2
            while (end := raw.find(b"\r\n", start)) < 0 and len(raw) - start < LINE_BYTES:
                self._more(raw, deadline)
            number, _, _ = raw[start : max(end, start)].partition(b";")
            if not number.strip().isalnum() or len(text) + (size := int(number, 16)) > most:
                raise WireError("no short text")
            start, end = end + 2, end + 2 + size
            while len(raw) < end + 2:
                self._more(raw, deadline)
            if raw[end : end + 2] != b"\r\n":
                raise WireError("a chunk does not end where it should")
            text += raw[start:end]
        if len(raw) > end + 2:
            raise WireError("more came than was promised")
        self._complete()
        return bytes(text)

    def _more(self, raw: bytearray, deadline: float) -> None:
        got = self._socket.recv(HEAD_BYTES)
        if not got:
            raise WireError("the connection ended within the body")
        if time.monotonic() > deadline:
            raise TimeoutError("the body comes too slowly")
        raw += got

    def fill(self, target: Target, stop: threading.Event) -> None:
        """The whole body, into something of its length. Raises WireError early once `stop` is set."""
        came = memoryview(self._buffer)[self._begin : self._end]
        while room := target.room()[:PIECE_BYTES]:
            if stop.is_set():
                raise WireError("stopped")
            have = min(len(came), len(room))
            room[:have] = came[:have]
            came = came[have:]
            self._receive(room[have:])
            if stop.is_set():
                raise WireError("stopped")
            target.filled(len(room))
        if came:
            raise WireError("more came than was promised")
        self._complete()

    def _complete(self) -> None:
        self._pending = False
        self._rested = time.monotonic()

    def _receive(self, view: memoryview) -> None:
        deadline = 0.0
        while view:
            got = self._socket.recv_into(view, len(view), self._flags)
            if got == len(view):
                return
            if not got:
                raise WireError("the connection ended within the body")
            view = view[got:]
            now = time.monotonic()
            deadline = deadline or now + BODY_S
            if now > deadline:
                raise TimeoutError("the body comes too slowly")
