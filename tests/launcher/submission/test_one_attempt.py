"""Several people and platforms start a run at once: each attempt has exactly one owner, and the others are told who."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launcher.errors import BackendError
from launcher.runfolder.states import State
from launcher.runs.index import Index
from launcher.runs.view import view_of
from launcher.storage import open_store
from launcher.submission.claim import AttemptTaken, claim_first, claim_next
from launcher.submission.resume import resume
from tests.seeds import campaign
from tests.waiting import PATIENCE_S, wait_until

RESUME = """
import sys
from launcher.cli import main
sys.stdin.readline()  # all of them are ready
sys.exit(main(["resume", sys.argv[1]]))
"""


@contextmanager
def resumers(url: str, homes: list[Path]) -> Iterator[list[subprocess.Popen[str]]]:
    """One process for each home, as if they were different people; all go at the same moment."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RESUME, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "LAUNCHER_HOME": str(home)},
        )
        for home in homes
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("pair", campaign(3, 10))
def test_of_two_people_who_resume_a_run_one_does_and_the_run_succeeds(
    jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pair: int
) -> None:
    monkeypatch.setenv("LAUNCHER_SIGNING_KEY", "the key of the whole team")
    go = tmp_path / "both-have-answered"  # else a slow one may come when the run has SUCCEEDED already
    env = {"STEPS": "6", "HOLD_AT": "4", "HOLD_RESUMED": "done", "RELEASE": str(go)}
    entry = jobs.submit(env=env)
    jobs.until(entry, lambda view: (view.safe_step or 0) >= 2)
    os.kill(entry.handle.data["pid"], signal.SIGTERM)
    assert jobs.end(entry).state is State.FAILED
    homes = [tmp_path / "anna", tmp_path / "bert"]
    with resumers(entry.store.url, homes) as processes:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        answers = [(process.communicate(timeout=PATIENCE_S), process.returncode) for process in processes]
    go.touch()
    codes = sorted(code for _, code in answers)
    assert codes == [0, 2], answers
    (_, refused), _ = next(answer for answer in answers if answer[1] == 2)
    assert "started by" in refused or "is being started by another command: " in refused
    winner = next(home for home, (_, code) in zip(homes, answers, strict=True) if code == 0)
    index = Index(winner / "runs")
    taken = index.find(entry.run_id)
    wait_until(lambda: view_of(taken, index).state.terminal, "the end of the resumed run")
    view = view_of(taken, index)
    assert (view.state, view.attempt) == (State.SUCCEEDED, 2)
    store = entry.store.open()
    assert json.loads(store.read("MANIFEST.json"))["run"]["attempt"] == 2
    assert [info.key for info in store.list("claims/")] == ["claims/1", "claims/2"]


def test_a_resume_that_could_not_start_anything_leaves_the_way_free(
    jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = jobs.submit(env={"FAIL_AT": "4:0:exit 2"})
    assert jobs.end(entry).state is State.FAILED

    def refuse(*_: object) -> None:
        raise BackendError("no")

    with monkeypatch.context() as patch:
        patch.setattr("launcher.backends.local.LocalBackend.submit", refuse)
        with pytest.raises(BackendError):
            resume(entry, jobs.index)
    again = resume(jobs.index.find(entry.run_id), jobs.index)
    assert jobs.end(again).state is State.SUCCEEDED


def test_a_resume_that_was_interrupted_elsewhere_is_taken_over_with_force_only(jobs, tmp_path: Path) -> None:
    entry = jobs.submit(env={"FAIL_AT": "4:0:exit 2"})
    assert jobs.end(entry).state is State.FAILED
    claim_next(entry.store.open(), 1, "", force=False)  # killed right after
    with pytest.raises(AttemptTaken, match=r"attempt 2 was started by \S+@\S+ \(20"):
        resume(entry, jobs.index)
    assert jobs.end(resume(entry, jobs.index, force=True)).state is State.SUCCEEDED


def test_two_runs_with_one_id_do_not_share_a_folder() -> None:
    store = open_store("memory://one-id/run")
    claim_first(store, "run")
    with pytest.raises(AttemptTaken, match="another run has the id run"):
        claim_first(store, "run")
