"""The last upload, the cancel requests that come during it, and the final state."""

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.node import finalupload
from launcher.node.context import NodeContext
from launcher.node.ending import RunEnd
from launcher.node.finalupload import FinalUpload, save_end
from launcher.node.program import make_context
from launcher.node.stopping import CANCEL, StopRequest
from launcher.runfolder import paths
from launcher.runfolder.states import RunState, State
from launcher.storage import open_store
from launcher.storage.file import FileStore
from tests.launcher.node.machines import Machines
from tests.waiting import wait_until

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


@pytest.fixture
def ending(tmp_path: Path, launcher_home: Path) -> NodeContext:
    """A run on one machine that has succeeded, which nobody knows yet."""
    machines = Machines(tmp_path, (tmp_path / "runs").as_uri())
    machines.plan(nodes=1)
    context = make_context(machines.plans[0], 0, 1)
    context.state.save(State.RUNNING)
    context.upload.send_status()
    context.state.set_end(RunEnd(State.SUCCEEDED))
    return context


def state_here(context: NodeContext) -> State:
    return RunState.model_validate_json(context.plan.run_dir.state.read_bytes()).state


@pytest.mark.parametrize(("asked_again", "before"), [(False, State.RUNNING), (True, State.SUCCEEDED)])
def test_who_knows_first_how_a_run_ended(
    ending: NodeContext, monkeypatch: pytest.MonkeyPatch, asked_again: bool, before: State
) -> None:
    """The store, unless the node program may be killed at any moment."""
    put, here = FileStore.put, []

    def watched(self: FileStore, key: str, *args: Any, **options: Any) -> Any:
        if key == paths.STATE:
            here.append(state_here(ending))
        return put(self, key, *args, **options)

    monkeypatch.setattr(FileStore, "put", watched)
    save_end(ending, asked_again=asked_again)
    assert here == [before]
    assert state_here(ending) is State.SUCCEEDED
    assert ending.store.read(paths.STATE) == ending.plan.run_dir.state.read_bytes()


def test_a_store_without_an_answer_does_not_keep_the_end_from_this_machine(
    ending: NodeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, put = threading.Event(), FileStore.put

    def slow(self: FileStore, *args: Any, **options: Any) -> Any:
        answers.wait(PATIENCE_S)
        return put(self, *args, **options)

    monkeypatch.setattr(FileStore, "put", slow)
    monkeypatch.setattr(finalupload, "LAST_WORD_S", 0.01)
    thread = threading.Thread(target=save_end, args=(ending,), kwargs={"asked_again": False})
    thread.start()
    try:
        wait_until(lambda: state_here(ending) is State.SUCCEEDED)
    finally:
        answers.set()
        thread.join(PATIENCE_S)
    assert ending.store.read(paths.STATE) == ending.plan.run_dir.state.read_bytes()
