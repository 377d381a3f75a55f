"""What happens to a run when the terminal it was started from goes away."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.runfolder.states import State
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.system


def test_a_run_survives_its_terminal(jobs, tmp_path: Path) -> None:
    """A pseudo-terminal whose master side is closed hangs up: SIGHUP goes to everything that belongs to it."""
    job = jobs.file(env={"HOLD_AT": "2", "RELEASE": str(tmp_path / "go")})
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "launcher", "submit", str(job), "--follow"]
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # below nohup, the tests ignore it
    shell = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, cwd=tmp_path
    )
    signal.signal(signal.SIGHUP, before)
    os.close(slave)
    seen = b""
    while b"training" not in seen:
        seen += os.read(master, 4096)
    os.close(master)
    os.killpg(shell.pid, signal.SIGHUP)
    assert shell.wait(timeout=PATIENCE_S) != 0
    (tmp_path / "go").touch()
    entry = jobs.index.find("last")
    jobs.entries.append(entry)
    view = jobs.end(entry)
    assert view.state is State.SUCCEEDED
    assert view.attempt == 1
    assert view.results == {"last": sum(range(7)) / 1000}
