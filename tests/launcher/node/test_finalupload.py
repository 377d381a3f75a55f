"""The last upload and the cancel requests that come during it."""

import threading
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.node.finalupload import FinalUpload
from launcher.node.stopping import CANCEL, StopRequest
from launcher.runfolder import paths
from launcher.runfolder.states import State
from launcher.storage import open_store

PATIENCE_S = 20.0


class WatchedStore:
    """Tells when its cancel object has been read twice: the first answer was then acted on."""

    def __init__(self) -> None:
        self._store = open_store(f"memory://{uuid.uuid4().hex}/run")
        self.reads = 0
        self.read_twice = threading.Event()
        self.uploading = threading.Event()
        self.put = self._store.put

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        self.reads += 1
        if self.reads == 2:
            self.read_twice.set()
        return self._store.read(key)


def final_upload(
    store: WatchedStore,
    *,
    settled_for: StopRequest | None,
    until: threading.Event,
    nodes: int = 2,
    asked: Iterator[StopRequest | None] | None = None,
) -> FinalUpload:
    def sync(**_: Any) -> Any:
        store.uploading.set()
        until.wait(PATIENCE_S)
        return SimpleNamespace(latest_step=None, latest_file="")

    def nothing(*_: object, **__: object) -> None:
        return None

    context: Any = SimpleNamespace(
        node=1,
        store=store,
        plan=SimpleNamespace(upload_patience_s=PATIENCE_S, nodes=nodes),
        collector=SimpleNamespace(sync=sync, left_out=()),
        state=SimpleNamespace(note_safe=nothing),
        peers=SimpleNamespace(finish_uploads=lambda: ()),
        heartbeat=SimpleNamespace(set=nothing),
        stopper=SimpleNamespace(settled_for=settled_for, asked_again=lambda: next(asked) if asked else None),
    )
    return FinalUpload(context, State.SUCCEEDED, "")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.node.finalupload.CANCEL_POLL_S", 0.01)
    monkeypatch.setattr("launcher.node.finalupload.GIVE_UP_S", 0.01)


def test_a_cancel_request_from_before_the_end_does_not_end_the_upload() -> None:
    store = WatchedStore()
    store.put(paths.CANCEL, b"written while the last rank reported that it is done")
    upload = final_upload(store, settled_for=CANCEL, until=store.read_twice)
    assert upload.wait() is None
    assert store.read_twice.is_set()


def test_a_new_cancel_request_ends_the_upload() -> None:
    store, never = WatchedStore(), threading.Event()
    store.put(paths.CANCEL, b"asked during the upload")
    try:
        assert final_upload(store, settled_for=None, until=never).wait() is CANCEL
    finally:
        never.set()


def test_a_machine_of_many_leaves_the_store_alone_at_first_unless_it_is_asked_to_stop() -> None:
    store, asked = WatchedStore(), iter([None, CANCEL])
    upload = final_upload(store, settled_for=None, until=store.read_twice, nodes=100_000, asked=asked)
    assert upload.wait() is CANCEL
    assert not store.uploading.is_set()
    assert store.reads == 0


def test_a_machine_of_many_that_was_asked_to_stop_uploads_at_once() -> None:
    store = WatchedStore()
    assert final_upload(store, settled_for=CANCEL, until=store.uploading, nodes=100_000).wait() is None
