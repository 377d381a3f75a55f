"""The client for plain GETs, against a server that says exactly what a test wants."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from launcher.storage.ranges import InMemory
from launcher.storage.s3 import wire
from launcher.storage.s3.wire import Connection, Head, Peer, Stale, WireError

REQUEST = b"GET / HTTP/1.1\r\n\r\n"
OK = b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\nETag: "x"\r\n\r\n'


class Script:
    """Listens, and answers each request with the next pieces, one send each, a pause between them."""

    def __init__(self) -> None:
        self.answers: list[list[bytes]] = []
        self._closed = threading.Event()
        self.pause_s = 0.02
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with accepted, suppress(ConnectionError):
                self._talk(accepted)

    def _talk(self, accepted: socket.socket) -> None:
        while self.answers and accepted.recv(4096):
            for piece in self.answers.pop(0):
                if not piece:
                    return  # an empty piece ends the connection
                accepted.sendall(piece)
                self._closed.wait(self.pause_s)

    def close(self) -> None:
        self._closed.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def connect(self, read_s: float = 5.0) -> Connection:
        return Connection(Peer("127.0.0.1", self.port, None, 5.0, read_s))


@pytest.fixture
def script() -> Iterator[Script]:
    server = Script()
    yield server
    server.close()


def test_bodies_in_any_pieces(script: Script) -> None:
    data = bytes(range(256)) * 2000
    head = OK % len(data)
    script.answers = [
        [head + data],
        [head[:20], head[20:] + data[:5], data[5:9], data[9:]],
        [head, data],
        [OK % 0],
        [head + data],
    ]
    connection = script.connect()
    for length in (len(data), len(data), len(data), 0):
        answer = connection.ask(REQUEST)
        assert (answer.status, answer.length, answer.field("etag"), answer.closes) == (
            200,
            length,
            '"x"',
            False,
        )
        assert connection.body(length) == data[:length]
    target = bytearray(len(data))
    connection.ask(REQUEST)
    connection.fill(InMemory(memoryview(target)), threading.Event())
    assert target == data
    assert script.connections == 1
    connection.close()


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([b""], "closed"),
        ([b"HTTP/1.1 200 OK\r\nContent-Le", b""], "among the header lines"),
        ([OK % 9 + b"1234", b""], "within the body"),
        ([OK % 3 + b"12345"], "more came"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], "not an HTTP answer"),
        ([b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000 + b"\r\n\r\n"], "too many header lines"),
    ],
)
def test_what_is_no_answer(script: Script, pieces: list[bytes], words: str) -> None:
    script.answers = [pieces]
    connection = script.connect()
    with pytest.raises(WireError, match=words) as caught:
        connection.body(connection.ask(REQUEST).length or 0)
    assert not isinstance(caught.value, Stale)
    connection.close()


def test_a_used_connection_that_is_closed_is_stale(script: Script) -> None:
    script.answers = [[OK % 2 + b"ok", b""]]
    connection = script.connect()
    connection.body(connection.ask(REQUEST).length or 0)
    assert connection.ready
    with pytest.raises(Stale):
        connection.ask(REQUEST)
    connection.close()


def test_a_connection_with_an_answer_on_its_way_is_not_used_again(script: Script) -> None:
    """As after Ctrl-C between request and answer: the next request would get the answer to this one."""
    script.answers = [[OK % 2 + b"ok"], [OK % 2 + b"ok"]]
    connection = script.connect()
    assert not connection.ready, "nothing came this way yet"
    connection.ask(REQUEST)
    assert not connection.ready
    connection.body(2)
    assert connection.ready
    connection.text(connection.ask(REQUEST), 9)
    assert connection.ready
    connection.close()


def test_a_stalled_body_ends(script: Script) -> None:
    script.answers = [[OK % 9 + b"1"]]
    script.pause_s = 1000.0
    connection = script.connect(read_s=0.3)
    connection.ask(REQUEST)
    with pytest.raises(BlockingIOError):  # as the kernel says when its time is over
        connection.body(9)
    connection.close()


def test_a_dripping_body_ends(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    script.answers = [[OK % 99, *[b"x"] * 99]]
    monkeypatch.setattr(wire, "BODY_S", 0.2)
    connection = script.connect(read_s=0.05)
    connection.ask(REQUEST)
    with pytest.raises(TimeoutError, match="too slowly"):
        connection.body(99)
    connection.close()


def test_fill_ends_early_when_told(script: Script) -> None:
    script.answers = [[OK % 99 + b"x"]]
    connection = script.connect()
    connection.ask(REQUEST)
    stop = threading.Event()
    stop.set()
    with pytest.raises(WireError, match="stopped"):
        connection.fill(InMemory(memoryview(bytearray(99))), stop)
    connection.close()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"


def test_a_text_in_chunks(script: Script) -> None:
    whole = b"5\r\nhello\r\n1F;x=y\r\n" + b"z" * 31 + b"\r\n0\r\n\r\n"
    script.answers = [
        [CHUNKED + whole],
        [CHUNKED, *(whole[at : at + 1] for at in range(len(whole)))],
        [CHUNKED + b"0\r\n\r\n"],
        [OK % 5 + b"hello"],
    ]
    script.pause_s = 0.002
    connection = script.connect()
    for wanted in (b"hello" + b"z" * 31, b"hello" + b"z" * 31, b"", b"hello"):
        assert connection.text(connection.ask(REQUEST), 36) == wanted
    assert script.connections == 1
    connection.close()


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([CHUNKED + b"5\r\nhel", b""], "within the body"),
        ([CHUNKED + b"5\r\nhelloXX0\r\n\r\n"], "a chunk does not end"),
        ([CHUNKED + b"0\r\nTrailer: x\r\n\r\n"], "a chunk does not end"),
        ([CHUNKED + b"0\r\n\r\nHTTP/1.1"], "more came"),
        ([CHUNKED + b"-5\r\nhello\r\n"], "no short text"),
        ([CHUNKED + b"\r\nhello\r\n"], "no short text"),
        ([CHUNKED + b"1" * 300], "no short text"),
        ([CHUNKED + b"25\r\n" + b"z" * 37], "no short text"),
        ([CHUNKED + b"24\r\n" + b"z" * 36 + b"\r\n1\r\nz\r\n"], "no short text"),
        ([OK % 37 + b"z" * 37], "no short text"),
        ([b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], "no short text"),
    ],
)
def test_what_is_no_text(script: Script, pieces: list[bytes], words: str) -> None:
    script.answers = [pieces]
    connection = script.connect()
    with pytest.raises(WireError, match=words):
        connection.text(connection.ask(REQUEST), 36)
    connection.close()


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        ("HTTP/1.1 200 OK\r\ncontent-length:  7 ", 7),
        ("HTTP/1.1 206 Partial\r\nContent-Length: 7", 7),
        ("HTTP/1.1 404 No\r\nContent-Length: 7", None),
        ("HTTP/1.1 200 OK", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 8", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: -7", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Encoding: gzip", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Encoding: identity", 7),
    ],
)
def test_only_plain_answers_have_a_length(lines: str, length: int | None) -> None:
    assert Head(lines.encode()).length == length


def test_who_closes() -> None:
    assert Head(b"HTTP/1.0 200 OK").closes
    assert Head(b"HTTP/1.1 200 OK\r\nConnection: Close").closes
    assert not Head(b"HTTP/1.1 200 OK\r\nConnection: keep-alive").closes
