"""Real processes that would outlive their run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launcher.ranks.orphans import MARK, Keeper, gang_mark, marked, node_mark, sweep
from tests.waiting import PATIENCE_S, wait_until

SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")

RUN = f"run-{os.getpid()}"  # what somebody else tests at the same time has other marks


def ignores(pid: int, number: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith("SigIgn:"))
    return bool(mask >> (number - 1) & 1)


def start(mark: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(SLEEP, env={**os.environ, MARK: mark}, start_new_session=True)


def test_marks_of_one_node_differ_from_those_of_others() -> None:
    mine, other = start(gang_mark(RUN, 1, 2)), start(gang_mark(RUN, 11, 2))
    try:
        wait_until(lambda: marked(node_mark(RUN, 1)) == [mine.pid])
        assert sweep(node_mark(RUN, 1)) == [mine.pid]
        assert mine.wait() == -signal.SIGKILL
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_sweep_of_nothing_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"it waits {seconds} s"))
    assert sweep("no-such-run:0:") == []


def test_the_keeper_ends_what_a_killed_program_leaves_behind(tmp_path: Path) -> None:
    """The program dies by SIGKILL; its rank's worker leads a session of its own and knows of nothing."""
    script = (
        "import os, subprocess, sys, time\nfrom launcher.ranks.orphans import MARK, Keeper\n"
        "keeper = Keeper(sys.argv[1]); keeper.ensure()\n"
        "code = \"import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], "
        'start_new_session=True); print(p.pid, flush=True); time.sleep(600)"\n'
        "subprocess.Popen([sys.executable, '-c', code], env={**os.environ, MARK: sys.argv[1]}, start_new_session=True)\n"
        "print(keeper.pid, flush=True); time.sleep(600)"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", script, f"{RUN}-2:0:1:9"], stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    with program.stdout:
        program.stdout.readline(), program.stdout.readline()
    wait_until(lambda: len(marked(f"{RUN}-2:0:")) == 2)  # one that has just begun has no environment yet
    program.kill()
    program.wait()
    wait_until(lambda: not marked(f"{RUN}-2:0:"))


def test_a_killed_keeper_is_replaced_and_goes_when_dismissed() -> None:
    keeper = Keeper(f"{RUN}-3:0:1:9")
    keeper.ensure()
    first = keeper.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    keeper.ensure()
    second = keeper.pid
    assert second is not None
    assert second != first
    wait_until(lambda: ignores(second, signal.SIGTERM))
    os.kill(second, signal.SIGTERM)  # meant for the run, which will end it
    worker = start(f"{RUN}-3:0:1:9")
    keeper.dismiss()
    assert worker.wait(PATIENCE_S) == -signal.SIGKILL
    assert not Path(f"/proc/{second}").exists()
