"""Resuming and cancelling a run that several commands or machines have their hands on."""

import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launcher.errors import LauncherError, PlanError
from launcher.runfolder.states import State
from launcher.runs.index import Index, entry_of_url
from launcher.runs.view import view_of
from launcher.submission.cancel import cancel
from launcher.submission.resume import resume


def test_only_one_of_two_resumes_at_the_same_time_starts_an_attempt(jobs) -> None:
    entry = jobs.submit(env={"STEPS": "60", "STEP_S": "0.1", "HOLD_AT": "2"})
    jobs.until(entry, lambda view: (view.progress.step or 0) >= 2)
    os.kill(entry.handle.data["pid"], signal.SIGKILL)
    jobs.end(entry)

    def go(_: int) -> str:
        try:
            resume(entry, jobs.index)
        except LauncherError as error:
            return type(error).__name__
        return "resumed"

    with ThreadPoolExecutor(4) as pool:
        answers = sorted(pool.map(go, range(4)))
    assert answers == ["PlanError", "PlanError", "PlanError", "resumed"]
    assert jobs.end(entry).attempt == 2


def test_a_run_that_another_machine_resumed_is_seen_running_and_can_be_cancelled(
    jobs, tmp_path: Path
) -> None:
    entry = jobs.submit(env={"STEPS": "100000", "STEP_S": "0.1"})
    jobs.until(entry, lambda view: (view.progress.step or 0) >= 2)
    cancel(entry)
    assert jobs.end(entry).state is State.CANCELLED  # and the index remembers it
    elsewhere = Index(tmp_path / "other-home" / "runs")
    resumed = resume(entry_of_url(entry.store.url), elsewhere)
    jobs.until(entry, lambda view: view.state is State.RUNNING and view.attempt == 2)
    with pytest.raises(PlanError, match="only a run that has ended"):
        resume(jobs.index.find(entry.run_id), jobs.index)
    cancel(jobs.index.find(entry.run_id))
    assert jobs.until(entry, lambda view: view.state.terminal).state is State.CANCELLED
    assert view_of(resumed, elsewhere).state is State.CANCELLED


def test_a_run_not_heard_of_can_be_taken_over(jobs, tmp_path: Path) -> None:
    entry = jobs.submit(env={"STEPS": "8", "HOLD_AT": "4"})
    files = [tmp_path / "runs" / entry.run_id / name for name in ("state.json", "status/node-0.json")]
    jobs.until(entry, lambda view: (view.safe_step or 0) >= 2 and all(file.exists() for file in files))
    os.kill(entry.handle.data["pid"], signal.SIGKILL)
    jobs.end(entry)
    then = time.time() - 3600
    for file in files:  # as if that had been an hour ago, on another machine
        os.utime(file, (then, then))
    elsewhere = Index(tmp_path / "other-home" / "runs")
    shutil.rmtree(entry.run_dir.root)  # the other machine has nothing of it
    there = entry_of_url(entry.store.url)
    assert view_of(there).state is State.UNKNOWN
    with pytest.raises(PlanError, match="UNKNOWN"):
        resume(there, elsewhere)
    taken = resume(there, elsewhere, force=True)
    jobs.until(taken, lambda _: view_of(taken, elsewhere).state.terminal)
    view = view_of(taken, elsewhere)
    assert view.state is State.SUCCEEDED
    assert view.results == {"last": sum(range(9)) / 1000}
