"""Who watches a run may be asleep for hours, as a laptop whose lid is closed: what happened meanwhile is then told as it is."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.api import Run
from launcher.backends.base import Handle
from launcher.backends.local import process_identity
from launcher.cli import main
from launcher.dashboard.streams import event, live_events, log_events
from launcher.runfolder.states import State
from tests.conftest import Jobs
from tests.launcher.samples import Sample
from tests.waiting import PATIENCE_S, state_of, wait_until

HOURS_S = 9 * 3600.0


def handle_of(pid: int) -> Handle:
    return Handle(
        backend="local", host=socket.gethostname(), data={"pid": pid, "started": process_identity(pid)}
    )


class Laptop:
    """At the first pause of a command the lid is closed: `meanwhile` happens, and both clocks jump."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.meanwhile: Callable[[], None] = lambda: None
        self._asleep_s = 0.0
        self._later: list[Callable[[], None]] = []
        wall, running = time.time, time.monotonic
        monkeypatch.setattr(time, "time", lambda: wall() + self._asleep_s)
        monkeypatch.setattr(time, "monotonic", lambda: running() + self._asleep_s)
        monkeypatch.setattr(time, "sleep", self._sleep)

    def does(self, *meanwhile: Callable[[], None]) -> None:
        """One at each pause."""
        self._later = list(meanwhile)

    def _sleep(self, seconds: float) -> None:
        if self._later:
            self._asleep_s += HOURS_S
            self._later.pop(0)()


class Watched:
    """A run of this machine that is under way. Another program counts as its node program, and this one as that of a resume."""

    def __init__(self, folder: Path) -> None:
        self.sample = Sample(folder)
        self.run_id = self.sample.entry.run_id
        self.program = subprocess.Popen(["sleep", "3600"])
        self._begin(1, self.program.pid)
        self.sample.log("rank-0", "one\n")
        self.sample.node()

    def _begin(self, attempt: int, pid: int) -> None:
        """As a submission or a resume does."""
        changes = {"handle": handle_of(pid), "claim": f"{attempt}"}
        self.sample.entry = self.sample.entry.model_copy(update=changes)
        self.sample.index.put(self.sample.entry)
        self.sample.state(State.RUNNING, attempt=attempt)

    def end(self, state: State, reason: str = "", attempt: int = 1) -> None:
        self.stop()
        self.sample.log("rank-0", "one\ntwo\n")
        self.sample.state(state, reason, attempt=attempt)
        shutil.copytree(self.sample.root, self.stored, dirs_exist_ok=True)

    @property
    def stored(self) -> Path:
        return Path(self.sample.plan.store.url.removeprefix("file://"))

    def stop(self) -> None:
        self.program.kill()
        self.program.wait()

    def resume(self) -> None:
        """The first attempt has failed, and another command has begun the second, which goes on."""
        self.end(State.FAILED, "rank 0 failed")
        self._begin(2, os.getpid())

    def prune(self) -> None:
        self.end(State.SUCCEEDED)
        shutil.rmtree(self.sample.root)
        self.sample.index.remove(self.run_id)


@pytest.fixture
def laptop(monkeypatch: pytest.MonkeyPatch) -> Laptop:
    return Laptop(monkeypatch)


@pytest.fixture
def watched(launcher_home: Path, tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    yield watched
    watched.stop()


COMMANDS = ("wait RUN", "wait RUN --timeout 60", "attach RUN", "logs RUN -f")
CODES = {State.SUCCEEDED: 0, State.FAILED: 100, State.CANCELLED: 103}


def code_of(command: str, state: State) -> int:
    return 0 if command.startswith("logs") else CODES[state]


@pytest.mark.parametrize("state", CODES)
@pytest.mark.parametrize("command", COMMANDS)
def test_the_run_has_ended_meanwhile(
    command: str, state: State, watched: Watched, laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop.does(lambda: watched.end(state, "why"))
    assert main(command.replace("RUN", watched.run_id).split()) == code_of(command, state)
    out, err = capsys.readouterr()
    assert "two" in out if command.startswith("logs") else state in err


@pytest.mark.parametrize("command", COMMANDS)
def test_the_run_has_been_pruned_meanwhile(
    command: str, watched: Watched, laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop.does(watched.prune)
    assert main(command.replace("RUN", watched.run_id).split()) == 0
    out, err = capsys.readouterr()
    assert "two" in out if command.startswith("logs") else "SUCCEEDED" in err
    assert watched.sample.index.ids() == [], "what was removed stays removed"


@pytest.mark.parametrize("command", ["wait RUN", "attach RUN", "logs RUN -f"])
def test_the_run_has_been_resumed_meanwhile(
    command: str, watched: Watched, laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second attempt is the one that counts, and its entry in the index stays that of the resume."""
    laptop.does(watched.resume, lambda: watched.end(State.SUCCEEDED, attempt=2))
    assert main(command.replace("RUN", watched.run_id).split()) == 0
    out, err = capsys.readouterr()
    assert "two" in out if command.startswith("logs") else "SUCCEEDED" in err
    kept = watched.sample.index.find(watched.run_id)
    assert (kept.claim, kept.final and kept.final.state) == ("2", State.SUCCEEDED)


def test_the_page_of_a_run_that_was_resumed_and_then_pruned(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step happens while the dashboard is asleep between two events."""
    run, closing = Run(watched.sample.entry, watched.sample.index), threading.Event()
    pages = live_events(run, lambda report, now: str(report.view.state), closing)
    lines = log_events(run, None, "", closing)
    assert (next(pages), next(lines)) == (event("live", "RUNNING"), event("lines", '["rank-0: one"]'))
    monkeypatch.setattr(closing, "wait", lambda timeout: False)
    watched.resume()
    assert [next(pages), next(pages)] == [": alive\n\n"] * 2
    watched.prune()
    assert [*pages][-2:] == [event("live", "SUCCEEDED"), event("end", "")]
    assert event("end", "") == [*lines][-1]


class Watchers:
    """Real commands that watch one run. Each has said, or shown by a pause, that it has seen the run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs: dict[str, subprocess.Popen[bytes]] = {}
        site = folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(MARK_OF_A_PAUSE)
        self._env = {**os.environ, "PYTHONPATH": str(site), "PAUSED": str(folder)}

    def start(self, *words: str, seen: str = "") -> None:
        command = [sys.executable, "-m", "launcher", *words]
        with self._output(words[0]).open("wb") as output:
            program = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=None if seen else self._env
            )
        self._programs[words[0]] = program
        mark = self._folder / f"paused-{program.pid}"
        wait_until(lambda: seen in self.text(words[0]) if seen else mark.exists(), words[0])

    def text(self, name: str) -> str:
        return self._output(name).read_text()

    def _output(self, name: str) -> Path:
        return self._folder / f"{name}.output"

    def suspend(self) -> None:
        for program in self._programs.values():
            program.send_signal(signal.SIGSTOP)
            wait_until(lambda program=program: state_of(program.pid) == "T")  # type: ignore[misc]

    def codes(self) -> dict[str, int]:
        """They wake up, and end."""
        for program in self._programs.values():
            program.send_signal(signal.SIGCONT)
        return {name: program.wait(PATIENCE_S) for name, program in self._programs.items()}

    def kill(self) -> None:
        for program in self._programs.values():
            program.kill()
            program.wait()


MARK_OF_A_PAUSE = """
import os, time
pause = time.sleep

def sleep(seconds):
    open(os.path.join(os.environ["PAUSED"], f"paused-{os.getpid()}"), "w").close()
    pause(seconds)

time.sleep = sleep
"""


@pytest.fixture
def watchers(tmp_path: Path) -> Iterator[Watchers]:
    watchers = Watchers(tmp_path)
    yield watchers
    watchers.kill()


def test_commands_that_were_stopped_while_the_run_ended_and_was_pruned(
    jobs: Jobs, watchers: Watchers
) -> None:
    job = jobs.file(env={"HOLD_AT": "2", "RELEASE": str(jobs.folder / "go")})
    watchers.start("submit", str(job), "--follow", seen="training")
    entry = jobs.index.find("last")
    jobs.entries.append(entry)
    watchers.start("attach", entry.run_id, seen="training")
    watchers.start("logs", entry.run_id, "-f", seen="starts after step 0")
    watchers.start("wait", entry.run_id)
    watchers.suspend()
    (jobs.folder / "go").touch()
    assert jobs.end(entry).state is State.SUCCEEDED
    assert main(["prune", "--older-than", "0", "--index", "--yes"]) == 0
    assert (jobs.index.ids(), entry.run_dir.root.exists()) == ([], False)
    assert watchers.codes() == dict.fromkeys(("submit", "attach", "logs", "wait"), 0)
    for name in ("submit", "attach", "wait"):
        assert "SUCCEEDED" in watchers.text(name)
    assert "all programs ended well" in watchers.text("logs")
    assert jobs.index.ids() == []
    jobs.entries.clear()
