"""The disk of $LAUNCHER_HOME fills up or becomes read-only while a run goes on elsewhere: only what has to write there fails."""

import contextlib
import json
import subprocess
from pathlib import Path

import pytest

from launcher.cli import main
from launcher.runfolder.states import State
from launcher.runs.index import Index, RunEntry
from tests.conftest import Jobs
from tests.waiting import wait_until

TROUBLES = {"full": "no space left", "read-only": "read-only file system"}


@pytest.fixture
def home(launcher_home: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """$LAUNCHER_HOME on a disk of its own."""
    monkeypatch.setenv("LAUNCHER_HOME", str(small_disk / "home"))
    return small_disk / "home"


def spoil(disk: Path, how: str) -> None:
    if how == "read-only":
        remount = ["mount", "-o", "remount,ro", str(disk)]  # busy while somebody has a file open to write
        wait_until(lambda: subprocess.run(remount, check=False, capture_output=True).returncode == 0)
        return
    with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def held(jobs: Jobs, **env: str) -> RunEntry:
    """A run that waits after its fourth step; its folders are not on the disk of the home."""
    places = {"url": str(jobs.folder / "runs"), "work_dir": str(jobs.folder / "work"), "upload_every": "1s"}
    entry = jobs.submit(env={"HOLD_AT": "4", "RELEASE": str(jobs.folder / "go"), **env}, output=places)
    jobs.until(entry, lambda view: view.progress.step == 4)
    return entry


def answer(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> str:
    capsys.readouterr()
    assert main(list(words)) == code, capsys.readouterr()
    out, err = capsys.readouterr()
    return out + err


@pytest.mark.parametrize("how", TROUBLES)
def test_a_run_ends_well_without_its_home(
    how: str, home: Path, jobs: Jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = held(jobs)
    spoil(home.parent, how)
    assert "RUNNING" in answer(capsys, 0, "status", entry.run_id)
    (jobs.folder / "go").touch()
    assert "SUCCEEDED" in answer(capsys, 0, "wait", entry.run_id)
    jobs.end(entry)
    for words in (["status"], ["status", entry.run_id], ["explain", entry.run_id]):
        assert entry.run_id in answer(capsys, 0, *words)
    target = jobs.folder / "fetched"
    answer(capsys, 0, "fetch-results", entry.run_id, "--to", str(target))
    assert json.loads((target / "eval" / "last.json").read_text())["images"] == 1


@pytest.mark.parametrize("how", TROUBLES)
def test_a_run_is_cancelled_without_its_home(
    how: str, home: Path, jobs: Jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = held(jobs)
    spoil(home.parent, how)
    answer(capsys, 0, "cancel", entry.run_id)
    assert "CANCELLED" in answer(capsys, 103, "wait", entry.run_id)
    jobs.end(entry)
    latest = json.loads((jobs.folder / "runs" / entry.run_id / "checkpoints" / "LATEST").read_text())
    assert latest["step"] == 5, "it saves once more before it ends"


@pytest.mark.parametrize("how", TROUBLES)
def test_nothing_starts_that_the_home_can_t_note(
    how: str, home: Path, jobs: Jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else a run would go on of which no command knows."""
    places = {"url": str(jobs.folder / "runs"), "work_dir": str(jobs.folder / "work")}
    entry = jobs.submit(env={"FAIL_AT": "2:0:exit 2"}, output=places)
    assert jobs.end(entry).state is State.FAILED
    before = sorted(path.name for path in (jobs.folder / "runs").iterdir())
    spoil(home.parent, how)
    for words in (
        ["submit", str(jobs.folder / "job.yaml")],
        ["resume", entry.run_id],
        ["retry", entry.run_id],
    ):
        shown = answer(capsys, 4, *words)
        assert (TROUBLES[how] in shown, str(home) in shown, "defect" in shown) == (True, True, False), shown
    assert sorted(path.name for path in (jobs.folder / "runs").iterdir()) == before
    assert [path.name for path in (jobs.folder / "runs" / entry.run_id / "attempts").glob("*")] == ["1"]
    assert Index().ids() == [entry.run_id]
    assert "FAILED" in answer(capsys, 0, "status", entry.run_id)
