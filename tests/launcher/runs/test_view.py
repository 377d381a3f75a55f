import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from launcher.backends.base import Handle, Life
from launcher.errors import BackendError
from launcher.runfolder.states import State
from launcher.runs.judge import SILENCE_S
from launcher.runs.view import view_of, views
from tests.launcher.samples import Sample


class Platform:
    """A back end that counts how often it is asked."""

    def __init__(self, answer: Life | BackendError) -> None:
        self.answer = answer
        self.calls: list[int] = []

    def __call__(self) -> "Platform":
        return self

    def poll(self, handles: Sequence[Handle]) -> Sequence[Life]:
        self.calls.append(len(handles))
        if isinstance(self.answer, BackendError):
            raise self.answer
        return [self.answer] * len(handles)


def running(folder: Path, count: int) -> list[Sample]:
    samples = [Sample(folder) for _ in range(count)]
    for sample in samples:
        sample.state(State.RUNNING)
        sample.entry = sample.entry.model_copy(
            update={"handle": Handle(backend="local", host=socket.gethostname())}
        )
    return samples


def ask(
    samples: list[Sample], answer: Life | BackendError, monkeypatch: pytest.MonkeyPatch
) -> tuple[list, Platform]:
    platform = Platform(answer)
    monkeypatch.setattr("launcher.runs.view.get_backend", lambda name: platform)
    return views([sample.entry for sample in samples], samples[0].index), platform


def test_one_call_for_all_runs_of_a_platform(
    launcher_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, platform = ask(running(tmp_path, 5), Life(alive=True), monkeypatch)
    assert [view.state for view in found] == [State.RUNNING] * 5
    assert platform.calls == [5]


def test_a_platform_that_fails_does_not_fail_the_list(
    launcher_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = ask(running(tmp_path, 2), BackendError("no answer from squeue"), monkeypatch)
    assert [view.state for view in found] == [State.RUNNING] * 2


def test_a_run_whose_program_is_gone_has_failed(
    launcher_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (view,), _ = ask(running(tmp_path, 1), Life(alive=False), monkeypatch)
    assert view.state is State.FAILED
    assert "node program is gone" in view.reason


def test_silence_is_unknown_and_never_success(
    launcher_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = running(tmp_path, 1)
    then = time.time() - SILENCE_S - 5
    os.utime(samples[0].root / "state.json", (then, then))
    (view,), _ = ask(samples, Life(alive=None, detail="it runs elsewhere"), monkeypatch)
    assert view.state is State.UNKNOWN
    assert "it runs elsewhere" in view.reason


def test_a_store_that_fails_makes_its_runs_unknown_at_once(
    launcher_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.runs.view.PATIENCE_S", 0.1)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    sample = Sample(tmp_path)
    address = sample.entry.store.model_copy(update={"url": "s3://bucket/x", "endpoint": "http://127.0.0.1:9"})
    lost = sample.entry.model_copy(
        update={"store": address, "work_dir": str(tmp_path / "none"), "run_id": "lost-20261121-120000-0001"}
    )
    found = views([lost, sample.entry], sample.index)
    assert [view.state for view in found] == [State.UNKNOWN, State.SUCCEEDED]
    assert "127.0.0.1:9" in found[0].reason


def test_an_ended_run_is_asked_for_once(launcher_home: Path, tmp_path: Path) -> None:
    sample = Sample(tmp_path)
    sample.node()
    entry = sample.entry.model_copy(update={"handle": Handle(backend="local", host=socket.gethostname())})
    sample.index.put(entry)
    first = view_of(entry, sample.index)
    known = sample.index.get(entry.run_id)
    assert known is not None
    (sample.root / "state.json").unlink()
    assert view_of(known, sample.index) == first
