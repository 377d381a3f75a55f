"""Whether a run lives is judged by the time of what holds its files, whatever the clock of whoever looks says."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.api import Run, find
from launcher.backends.base import Handle, Life
from launcher.errors import PlanError, StoreRefused
from launcher.runfolder.states import State
from launcher.runs.judge import SILENCE_S
from launcher.submission.resume import resume
from tests.launcher.samples import Sample
from tests.servers.faults import Answer, Faults, status
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET, open_on

RIGHT_TIME = time.time
YEAR_S = 365 * 86_400.0
OFF = [0.0, -600.0, 600.0, -YEAR_S, YEAR_S]
OLD_S = 5400.0
assert OLD_S > SILENCE_S


@pytest.fixture(params=OFF, ids=lambda off: f"{off:+.0f} s")
def off(request: pytest.FixtureRequest) -> float:
    """How wrong the clock of whoever looks is."""
    return float(request.param)


@pytest.fixture
def sample(launcher_home: Path, tmp_path: Path) -> Sample:
    """A run that trains, by what it wrote."""
    sample = Sample(tmp_path)
    sample.state(State.RUNNING)
    sample.node()
    return sample


def set_clock(off: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: RIGHT_TIME() + off)


def make_old(sample: Sample) -> None:
    then = time.time() - OLD_S
    for name in ("state.json", "status/node-0.json"):
        os.utime(sample.root / name, (then, then))


def test_on_a_disk_a_run_that_writes_lives(
    sample: Sample, off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clock(off, monkeypatch)
    assert sample.run.view().state is State.RUNNING
    with pytest.raises(PlanError, match="is RUNNING"):
        resume(sample.entry, sample.index, force=True)


def test_on_a_disk_a_silent_run_is_unknown(
    sample: Sample, off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_old(sample)
    set_clock(off, monkeypatch)
    view = sample.run.view()
    assert view.state is State.UNKNOWN
    assert view.reason.startswith("last heard of 1 h")
    assert not list(sample.root.glob(".launcher-tmp-*")), "looking at a run leaves nothing behind"


def test_one_file_that_is_new_is_a_sign_of_life(sample: Sample) -> None:
    sample.node(node=1)
    make_old(sample)
    assert sample.run.view().state is State.RUNNING


def test_a_time_in_the_future_is_no_sign_of_life(sample: Sample) -> None:
    """Written before the clock of the file system was set back; a run that lives writes again within seconds."""
    later = time.time() + YEAR_S
    for name in ("state.json", "status/node-0.json"):
        os.utime(sample.root / name, (later, later))
    assert sample.run.view().state is State.UNKNOWN


@pytest.mark.parametrize(("old", "expected"), [(False, State.RUNNING), (True, State.FAILED)])
def test_a_forgotten_job_has_ended_once_the_run_is_silent(
    sample: Sample, old: bool, expected: State, off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Platform:
        def poll(self, handles: list[Handle]) -> list[Life]:
            return [Life(alive=False, forgotten=True, detail="nobody knows the job")] * len(handles)

    if old:
        make_old(sample)
    monkeypatch.setattr("launcher.runs.view.get_backend", lambda name: Platform())
    handle = Handle(backend="local", host=socket.gethostname())
    entry = sample.entry.model_copy(update={"handle": handle})
    sample.index.put(entry)
    set_clock(off, monkeypatch)
    assert Run(entry, sample.index).view().state is expected


def test_a_suspended_laptop_does_not_declare_its_run_dead(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After hours of sleep the heartbeat is old, and the process is there."""

    class Platform:
        def poll(self, handles: list[Handle]) -> list[Life]:
            return [Life(alive=True)] * len(handles)

    make_old(sample)
    monkeypatch.setattr("launcher.runs.view.get_backend", lambda name: Platform())
    entry = sample.entry.model_copy(update={"handle": Handle(backend="local", host=socket.gethostname())})
    sample.index.put(entry)
    assert Run(entry, sample.index).view().state is State.RUNNING


# -- in a bucket -----------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(sample: Sample, radosgw: S3Server, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of the same run in a bucket behind the proxy."""
    store = open_on(radosgw)
    for name in ("state.json", "status/node-0.json", "plan.json"):
        store.put(name, (sample.root / name).read_bytes())
    for name, value in radosgw.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", faults.endpoint)
    return f"s3://{BUCKET}/{store.url.rpartition('/')[2]}"


def date_later(seconds: float) -> Callable[[Answer], None]:
    """The store answers so much later."""

    def change(answer: Answer) -> None:
        stamp = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(RIGHT_TIME() + seconds))
        answer.headers = [
            (name, stamp if name.lower() == "date" else value) for name, value in answer.headers
        ]

    return change


def without_date(answer: Answer) -> None:
    answer.headers = [(name, value) for name, value in answer.headers if name.lower() != "date"]


def test_in_a_bucket_a_run_that_writes_lives(
    stored: str, off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clock(off, monkeypatch)
    assert find(stored).view().state is State.RUNNING


def test_in_a_bucket_a_silent_run_is_unknown(
    stored: str, faults: Faults, off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults.add(date_later(OLD_S))
    set_clock(off, monkeypatch)
    view = find(stored).view()
    assert (view.state, "last heard of 1 h" in view.reason) == (State.UNKNOWN, True)


def test_a_store_without_a_time_makes_no_run_live(stored: str, faults: Faults) -> None:
    faults.add(without_date)
    view = find(stored).view()
    assert (view.state, "when it wrote last can't be told" in view.reason) == (State.UNKNOWN, True)


def test_a_store_that_refuses_a_wrong_clock_is_understood(stored: str, faults: Faults) -> None:
    for method in ("GET", "HEAD"):
        faults.add(status(403, "RequestTimeTooSkewed"), method=method, passes=False)
    with pytest.raises(StoreRefused, match="clock") as caught:
        find(stored).view()
    assert "set the clock" in caught.value.hint
