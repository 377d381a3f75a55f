"""Gangs of real processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from launcher.ranks.cores import usable_cores
from launcher.ranks.gang import EndOrder, Gang, Outcome, Process, supervise
from tests.waiting import is_alive, state_of, wait_until

GRACE_S = 60.0
FOREVER = "import time; time.sleep(10_000)"


def process(tmp_path: Path, rank: int, code: str, **env: str) -> Process:
    return Process(
        name=f"rank {rank}",
        rank=rank,
        argv=(sys.executable, "-c", code),
        env={**os.environ, **env},
        cwd=tmp_path / "work",
        log=tmp_path / f"rank-{rank}.log",
    )


def watch(
    gang: Gang,
    *,
    stop: str = "",
    end_order: EndOrder | None = None,
    when: Callable[[], bool] = lambda: True,
    grace_s: float = GRACE_S,
) -> Outcome:
    """Start and supervise; `stop` and `end_order` come once `when` is true."""
    gang.start()
    return supervise(
        gang,
        grace_s=grace_s,
        stop_requested=lambda: stop if stop and when() else "",
        check=lambda: end_order if end_order and when() else None,
    )


def has_said(log: Path, word: str) -> bool:
    return log.exists() and word in log.read_text()


def test_all_ranks_end_well(tmp_path: Path) -> None:
    outcome = watch(Gang([process(tmp_path, r, "print('hello', flush=True)") for r in range(3)]))
    assert outcome.ok
    assert [e.code for e in outcome.exits] == [0, 0, 0]
    assert (tmp_path / "rank-2.log").read_text() == "hello\n"


@pytest.mark.system
def test_the_first_failure_decides_and_stops_the_others_at_once(tmp_path: Path) -> None:
    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {FOREVER}"
    gang = Gang([process(tmp_path, 0, stubborn), process(tmp_path, 1, "import sys; sys.exit(7)")])
    outcome = watch(gang, grace_s=0.5)
    assert outcome.failure is not None
    assert (outcome.failure.process.name, outcome.failure.code) == ("rank 1", 7)
    assert gang.alive == []


def test_a_stop_gives_ranks_time_to_save(tmp_path: Path) -> None:
    saving = (
        "import signal, sys, time\n"
        "def save(*_):\n    time.sleep(0.3); print('saved', flush=True); sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, save)\nprint('ready', flush=True)\ntime.sleep(10_000)"
    )
    ready = partial(has_said, tmp_path / "rank-0.log", "ready")
    outcome = watch(Gang([process(tmp_path, 0, saving)]), stop="cancelled", when=ready)
    assert outcome.stopped == "cancelled"
    assert [e.code for e in outcome.exits] == [75]
    assert "saved" in (tmp_path / "rank-0.log").read_text()


def test_a_stopped_process_does_not_outlive_the_stop(tmp_path: Path) -> None:
    frozen = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
    gang = Gang([process(tmp_path, 0, frozen)])
    outcome = watch(gang, stop="cancelled", when=lambda: state_of(gang.pids()["rank 0"]) == "T")
    assert outcome.exits[0].code != 0 or outcome.ok  # SIGCONT lets it end by itself or by SIGTERM


@pytest.mark.system
def test_stacks_are_dumped_before_the_end_of_a_hang_even_of_a_stopped_rank(tmp_path: Path) -> None:
    code = "import time\ndef waiting_for_godot():\n    print('waits', flush=True); time.sleep(10_000)\nwaiting_for_godot()"
    frozen = code.replace("time.sleep(10_000)", "__import__('os').kill(0, 19)")
    gang = Gang([process(tmp_path, r, c, PYTHONFAULTHANDLER="1") for r, c in enumerate((code, frozen))])
    outcome = watch(
        gang,
        end_order=EndOrder("hang", "it hangs", "dump"),
        when=lambda: has_said(tmp_path / "rank-0.log", "waits") and state_of(gang.pids()["rank 1"]) == "T",
        grace_s=3.0,
    )
    assert outcome.end_order is not None
    assert not outcome.ok
    assert "waiting_for_godot" in (tmp_path / "rank-1.log").read_text()
    assert "waiting_for_godot" in (tmp_path / "rank-0.log").read_text()


def test_grandchildren_die_with_their_rank(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(10_000)'])\n"
        "print(child.pid, flush=True)\n"
        "sys.exit(3)"
    )
    watch(Gang([process(tmp_path, 0, code)]))
    grandchild = int((tmp_path / "rank-0.log").read_text().split()[0])
    wait_until(lambda: not is_alive(grandchild))


def test_ranks_die_with_the_program_that_started_them(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom launcher.ranks.gang import Gang, Process\nimport os\n"
        "sleep = (sys.executable, '-c', 'import time; print(\"up\", flush=True); time.sleep(10_000)')\n"
        f"log = Path({str(tmp_path / 'log')!r})\n"
        f"gang = Gang([Process('rank 0', 0, sleep, os.environ, Path({str(tmp_path)!r}), log)])\n"
        "gang.start()\nwhile not log.exists() or not log.read_text(): time.sleep(0.02)\n"
        "print(gang.pids()['rank 0'], flush=True); time.sleep(10_000)"
    )
    node = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert node.stdout is not None
    with node.stdout:
        rank = int(node.stdout.readline())
    assert is_alive(rank)
    node.send_signal(signal.SIGKILL)
    node.wait()
    wait_until(lambda: not is_alive(rank))


def test_a_program_that_does_not_exist_is_an_exit_with_words(tmp_path: Path) -> None:
    missing = Process("rank 0", 0, ("no-such-program",), dict(os.environ), tmp_path, tmp_path / "log")
    outcome = watch(Gang([missing]))
    assert outcome.failure is not None
    assert outcome.failure.code == 127
    assert "can't start no-such-program" in (tmp_path / "log").read_text()


def test_ranks_are_pinned_to_their_cores(tmp_path: Path) -> None:
    core = usable_cores()[0]
    pinned = Process(
        "rank 0",
        0,
        (sys.executable, "-c", "import os; print(sorted(os.sched_getaffinity(0)))"),
        dict(os.environ),
        tmp_path,
        tmp_path / "log",
        (core,),
    )
    assert watch(Gang([pinned])).ok
    assert (tmp_path / "log").read_text() == f"[{core}]\n"


def test_ranks_leave_no_core_dumps(tmp_path: Path) -> None:
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE)[0])"
    assert watch(Gang([process(tmp_path, 0, code)])).ok
    assert (tmp_path / "rank-0.log").read_text() == "0\n"


@pytest.mark.system
def test_a_keeper_that_was_killed_is_replaced_while_the_gang_runs(tmp_path: Path) -> None:
    replaced = tmp_path / "replaced"
    code = f"import os, time\nwhile not os.path.exists({str(replaced)!r}): time.sleep(0.02)"
    gang = Gang([process(tmp_path, 0, code)])
    pids: set[int] = set()

    def check() -> None:
        assert gang.keeper.pid is not None
        pids.add(gang.keeper.pid)
        if len(pids) == 1:
            os.kill(gang.keeper.pid, signal.SIGKILL)
        else:
            replaced.touch()

    gang.start()
    assert supervise(gang, grace_s=GRACE_S, stop_requested=lambda: "", check=check).ok
    assert len(pids) == 2
    assert not any(is_alive(pid) for pid in pids)
