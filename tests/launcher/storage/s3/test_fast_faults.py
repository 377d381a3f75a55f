"""The fast path when answers fail, stall or lie: a repetition, the fallback, or the fast path turned off."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.errors import IntegrityError, StoreRefused, StoreUnreachable
from launcher.storage import ObjectStore
from launcher.storage.s3 import health
from tests.launcher.storage.s3.fetching import DATA, fast_of, fetch
from tests.servers.faults import Answer, Faults, cut, delay, flip_bit, reset, status
from tests.servers.s3 import S3Server
from tests.servers.stores import open_on
from tests.waiting import PATIENCE_S


@pytest.mark.parametrize(
    ("fault", "times"),
    [(cut, 2), (reset, 2), (flip_bit, 2), (status(503, "SlowDown"), 2), (status(500, "InternalError"), 2)],
    ids=["cut", "reset", "flipped", "503", "500"],
)
def test_passing_faults(
    faulty: ObjectStore, faults: Faults, folder: Path, fault: Callable[[Answer], None], times: int
) -> None:
    faulty.put("x", DATA)
    faults.add(fault, times=times)
    assert fetch(faulty, "x", folder) == DATA
    assert fast_of(faulty).fetched == 0
    assert faults.count("GET") == times + 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(cut, StoreUnreachable), (flip_bit, IntegrityError), (status(403, "AccessDenied"), StoreRefused)],
    ids=["cut", "flipped", "refused"],
)
def test_lasting_faults(
    radosgw: S3Server, faults: Faults, folder: Path, fault: Callable[[Answer], None], kind: type[Exception]
) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=0.5)
    info = store.put("x", DATA)
    faults.add(fault)
    with pytest.raises(kind):
        store.get_file("x", folder / "x", info)
    assert list(folder.iterdir()) == []


def test_a_stall_ends(
    radosgw: S3Server, faults: Faults, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.storage.s3.client.READ_TIMEOUT_S", 0.4)
    store = open_on(radosgw, endpoint=faults.endpoint)
    store.put("x", DATA)
    faults.add(delay(1.5), times=1)
    assert fetch(store, "x", folder) == DATA


@pytest.mark.parametrize("operation", ["head", "get_file", "read"])
def test_a_signal_ends_the_wait_for_a_silent_store(tmp_path: Path, operation: str) -> None:
    """The main thread handles signals; it must not sit in obstore until the store's time is over."""
    code = (
        "import sys\nfrom launcher.storage import open_store\nfrom launcher.storage.base import ObjectInfo\n"
        "from launcher.storage.s3 import client\nclient.READ_TIMEOUT_S = 1000\n"
        "store = open_store('s3://bucket')\n"
        "calls = {'head': lambda: store.head('x'), 'read': lambda: store.read('x', 0, 2 << 20),\n"
        "  'get_file': lambda: store.get_file('x', sys.argv[2], ObjectInfo('x', 4, '0' * 32))}\n"
        "try:\n    calls[sys.argv[1]]()\nexcept KeyboardInterrupt:\n    sys.exit(42)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE_S)
        env = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "HOME": str(tmp_path),
        }
        with subprocess.Popen([sys.executable, "-c", code, operation, str(tmp_path / "x")], env=env) as child:
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(10)
                child.send_signal(signal.SIGINT)
                assert child.wait(PATIENCE_S) == 42


def test_a_busy_store_is_given_the_time_it_asks_for(
    faulty: ObjectStore, faults: Faults, folder: Path
) -> None:
    faulty.put("x", DATA)
    faults.add(status(503, "SlowDown", Retry_After="1"), times=2)  # boto3, too
    started = time.monotonic()
    assert fetch(faulty, "x", folder) == DATA
    assert time.monotonic() - started >= 1.0
    assert fetch(faulty, "x", folder) == DATA
    assert fast_of(faulty).fetched == 1


def test_a_kept_connection_that_was_closed_costs_nothing(
    faulty: ObjectStore, faults: Faults, folder: Path
) -> None:
    def close_after(answer: Answer) -> None:
        answer.cut_at = len(answer.body)

    faulty.put("x", DATA)
    faults.add(close_after)
    for number in range(1, 4):
        assert fetch(faulty, "x", folder) == DATA
        assert (fast_of(faulty).fetched, faults.count("GET")) == (number, number)


def test_failures_in_a_row_turn_it_off_for_a_while(
    faulty: ObjectStore, faults: Faults, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PAUSE_S", 60.0)
    fast_of(faulty)._requests.most = 2
    info = faulty.put("x", DATA)

    def get() -> bytes:
        faulty.get_file("x", folder / "got", info)
        return (folder / "got").read_bytes()

    for _ in range(2):
        assert fast_of(faulty).on
        faults.add(reset, times=2)  # one may hit a kept connection, which is opened anew
        assert get() == DATA
    assert not fast_of(faulty).on
    fast_of(faulty)._requests.paused_until -= 60.0  # a minute later
    assert get() == DATA
    assert fast_of(faulty).fetched == 1
    for _ in range(3):
        faults.add(status(503, "SlowDown"), times=1)
        assert get() == DATA


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_store_that_refuses_the_fast_path_is_not_asked_twice_for_ever(
    faulty: ObjectStore, faults: Faults, method: str
) -> None:
    fast_of(faulty)._requests.most = 3
    faulty.put("x", DATA)
    for _ in range(3):
        faults.add(status(403, "AccessDenied"), method=method, times=1)
        assert faulty.head("x") if method == "HEAD" else list(faulty.list())
    assert not fast_of(faulty).on


def test_wrong_bytes_again_and_again_turn_the_fast_path_off(
    faulty: ObjectStore, faults: Faults, folder: Path
) -> None:
    faulty.put("x", DATA)
    for number in range(4):
        assert fast_of(faulty).usable(1) is (number < 3)
        faults.add(flip_bit, times=1 if number < 3 else 0)
        assert fetch(faulty, "x", folder) == DATA
    assert (fast_of(faulty).fetched, faults.count("GET")) == (0, 3 * 2 + 1)


@pytest.mark.slow
def test_an_answer_that_is_not_plain_goes_to_the_fallback(
    faulty: ObjectStore, faults: Faults, folder: Path
) -> None:
    faulty.put("x", DATA)
    faults.add(lambda answer: answer.headers.append(("Transfer-Encoding", "x")), times=1)
    assert fetch(faulty, "x", folder) == DATA
    assert (fast_of(faulty).fetched, faults.count("GET")) == (0, 2)
