"""What a request to stop does to a run, whenever it comes, and what else can go wrong at its two ends."""

import contextlib
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from launcher.results.ledger import Ledger, Record
from launcher.runfolder.states import State
from launcher.runs.folder import RunFolder
from launcher.runs.logs import LogReader
from launcher.submission.cancel import cancel
from launcher.submission.resume import resume
from tests.conftest import COUNTER

LONG = {"STEPS": "100000", "STEP_S": "0.1"}
"""Ends only when somebody ends it."""


def test_a_program_that_ends_with_0_on_sigterm_was_cancelled_all_the_same(jobs) -> None:
    entry = jobs.submit(env={**LONG, "ON_TERM": "0"})
    jobs.until(entry, lambda view: (view.progress.step or 0) >= 1)
    cancel(entry)
    assert jobs.end(entry).state is State.CANCELLED


def test_the_time_limit_is_no_success_for_a_program_that_ends_with_0(jobs) -> None:
    view = jobs.run(env={**LONG, "ON_TERM": "0"}, resources={"time_limit": "1s"})
    assert view.state is State.FAILED
    assert "time limit of 1 s" in view.reason


def test_a_program_that_was_done_before_the_request_has_succeeded(jobs) -> None:
    entry = jobs.submit(env={"ON_TERM": "0", "AT_END": "3600"})
    jobs.until(entry, lambda view: view.phase == "done")
    cancel(entry)
    assert jobs.end(entry).state is State.SUCCEEDED


@pytest.mark.parametrize("after_s", [0.0, 0.2])
def test_a_run_can_be_cancelled_as_soon_as_it_was_submitted(jobs, after_s: float) -> None:
    entry = jobs.submit(env=LONG)
    time.sleep(after_s)
    cancel(entry)
    view = jobs.end(entry)
    assert (view.state, view.reason) == (State.CANCELLED, "cancelled on request")


def test_a_node_program_that_is_gone_after_a_cancel_request_was_cancelled(jobs) -> None:
    entry = jobs.submit(env=LONG)
    jobs.until(entry, lambda view: (view.progress.step or 0) >= 1)
    os.kill(entry.handle.data["pid"], signal.SIGSTOP)
    cancel(entry)
    os.kill(entry.handle.data["pid"], signal.SIGKILL)
    view = jobs.end(entry)
    assert view.state is State.CANCELLED
    assert "node program is gone" in view.reason


def break_store(store: Path) -> None:
    """Every write into it fails from now on: a file stands where its folder was."""
    store.rename(store.with_name(store.name + "-aside"))
    while not store.is_file():
        with suppress(IsADirectoryError):
            store.write_bytes(b"")
            return
        shutil.rmtree(store, ignore_errors=True)  # an upload that was on its way has made it again


def uploading(jobs, upload_patience: str, **job: object):
    """A run that finished its training, and whose store does not take the results."""
    output = {"url": str(jobs.folder / "runs"), "upload_every": "1s", "upload_patience": upload_patience}
    entry = jobs.submit(env={"HOLD_AT": "done", "RELEASE": str(jobs.folder / "end")}, output=output, **job)
    jobs.until(entry, lambda view: view.phase == "done")
    break_store(jobs.folder / "runs" / entry.run_id)
    (jobs.folder / "end").touch()
    jobs.until(entry, lambda view: view.phase == "uploading" or view.state.terminal)
    return entry


@pytest.mark.parametrize("how", ["cancel", "SIGTERM"])
def test_a_request_ends_the_wait_for_a_store_that_refuses(jobs, how: str) -> None:
    entry = uploading(jobs, "10m")
    if how == "cancel":
        cancel(entry)
    else:
        os.kill(entry.handle.data["pid"], signal.SIGTERM)
    view = jobs.end(entry)
    assert view.state is (State.CANCELLED if how == "cancel" else State.FAILED)
    assert "but not all in the store" in view.reason
    assert str(entry.run_dir.root) in view.reason


def test_a_request_that_only_the_store_has_ends_the_wait_too(jobs) -> None:
    """Somebody at another machine has had enough of an upload that can't go on."""
    output = {"url": str(jobs.folder / "runs"), "upload_every": "1s", "upload_patience": "10m"}
    entry = jobs.submit(env={"HOLD_AT": "done", "RELEASE": str(jobs.folder / "end")}, output=output)
    store = jobs.folder / "runs" / entry.run_id
    jobs.until(entry, lambda view: view.phase == "done")
    shutil.rmtree(store / "eval", ignore_errors=True)
    (store / "eval").write_text("in the way of the results")
    (jobs.folder / "end").touch()
    jobs.until(entry, lambda view: view.phase == "uploading")
    (store / "cancel.json").write_text('{"requested_at": 1}')
    view = jobs.end(entry)
    assert (view.state, "but not all in the store" in view.reason) == (State.CANCELLED, True)


def test_the_patience_with_a_store_is_as_long_as_the_job_says(jobs) -> None:
    view = jobs.end(uploading(jobs, "3s"))
    assert view.state is State.FAILED
    assert "but not all in the store" in view.reason


def test_a_disk_that_takes_no_list_of_uploads_stops_no_upload(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(tmp_path / "missing" / "upload.json", "file:///x")
    ledger.add("a", Record(1, 1, "", ""))
    ledger.save()
    ledger.save()
    assert len(caplog.records) == 1
    (tmp_path / "missing").mkdir()
    ledger.save()
    assert Ledger(tmp_path / "missing" / "upload.json", "file:///x").objects == ledger.objects


def test_resume_goes_on_from_the_store_when_it_knows_more_than_the_disk(jobs) -> None:
    entry = jobs.submit(env={"FAIL_AT": "9:0:exit 9", "STEPS": "12"})
    assert jobs.end(entry).safe_step == 8
    for step in (4, 6, 8):
        shutil.rmtree(entry.run_dir.checkpoints / f"step-{step}")
    view = jobs.end(resume(jobs.index.find(entry.run_id), jobs.index))
    assert view.state is State.SUCCEEDED
    assert view.attempts[1].resumed_step == 8
    assert "starts after step 8" in (entry.run_dir.logs(2, 0) / "rank-0.log").read_text()


def test_an_attempt_on_an_empty_disk_says_where_it_went_on(jobs) -> None:
    entry = jobs.submit(env={"FAIL_AT": "5:0:exit 9"})
    jobs.end(entry)
    shutil.rmtree(entry.run_dir.checkpoints)
    view = jobs.end(resume(jobs.index.find(entry.run_id), jobs.index))
    assert [attempt.resumed_step for attempt in view.attempts] == [None, 4]


def test_after_a_success_nothing_is_reported_as_waiting(jobs) -> None:
    output = {"url": str(jobs.folder / "runs"), "upload_every": "1s"}
    entry = jobs.submit(env={"HOLD_AT": "done", "RELEASE": str(jobs.folder / "end")}, output=output)
    jobs.until(entry, lambda view: view.phase == "done")
    store = jobs.folder / "runs" / entry.run_id
    break_store(store)
    jobs.until(entry, lambda view: bool(view.nodes[0].upload_error))
    store.unlink()
    store.with_name(store.name + "-aside").rename(store)
    (jobs.folder / "end").touch()
    view = jobs.end(entry)
    assert view.state is State.SUCCEEDED
    assert (view.nodes[0].upload_error, view.nodes[0].pending_uploads) == ("", 0)


def test_a_program_is_found_from_the_folder_of_the_submission(
    jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "src").mkdir()
    shutil.copy(COUNTER, tmp_path / "src" / "my_train.py")
    monkeypatch.chdir(tmp_path)
    assert jobs.run(program=[sys.executable, "src/my_train.py"]).state is State.SUCCEEDED


def test_a_run_whose_disk_takes_nothing_at_all_says_so_in_the_store(jobs, small_disk: Path) -> None:
    output = {
        "url": str(jobs.folder / "runs"),
        "work_dir": str(small_disk),
        "upload_every": "1s",
        "upload_patience": "10m",
    }
    entry = jobs.submit(env=LONG, output=output)
    jobs.until(entry, lambda view: (view.progress.step or 0) >= 3)
    (entry.run_dir.root / ".reserve-0").unlink()
    (entry.run_dir.root / ".reserve-0").mkdir()  # nothing to release at the end
    with (small_disk / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    view = jobs.end(entry)
    assert view.state is State.FAILED
    assert "No space left on device" in view.reason
    heartbeat = (jobs.folder / "runs" / entry.run_id / "status" / "node-0.json").read_text()
    assert "the local disk takes nothing" in heartbeat


def test_a_resume_without_the_old_run_directory_keeps_the_whole_story(jobs) -> None:
    entry = jobs.submit(env={"FAIL_AT": "4:0:exit 2", "STEPS": "6"})
    assert jobs.end(entry).state is State.FAILED
    shutil.rmtree(entry.run_dir.root)
    assert jobs.end(resume(jobs.index.find(entry.run_id), jobs.index)).state is State.SUCCEEDED
    events = RunFolder(entry.store.open()).json_lines("progress/rank-0.jsonl")
    assert [event["step"] for event in events if event["event"] == "step"] == [1, 2, 3, *range(3, 7)]
    assert {line.attempt for line in LogReader(jobs.index.find(entry.run_id)).read()} == {1, 2}


def test_a_run_holds_nothing_open_of_the_shell_that_submitted_it(jobs, tmp_path: Path) -> None:
    """Else a lock that a script took would be held until the run ends."""
    with (tmp_path / "lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        entry = jobs.submit(env=LONG)
    links: list[str] = []
    for path in Path(f"/proc/{entry.handle.data['pid']}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it works meanwhile, and closes what it has read
            links.append(str(path.readlink()))
    assert str(tmp_path / "lock") not in links
    assert any("console.log" in link for link in links)
