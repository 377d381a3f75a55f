"""Gangs of real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from launcher.ranks.cores import usable_cores
from launcher.ranks.gang import EndOrder, Gang, Outcome, Process, supervise

GRACE_S = 3.0


def process(tmp_path: Path, rank: int, code: str, **env: str) -> Process:
    return Process(
        name=f"rank {rank}",
        rank=rank,
        argv=(sys.executable, "-c", code),
        env={**os.environ, **env},
        cwd=tmp_path / "work",
        log=tmp_path / f"rank-{rank}.log",
    )


def watch(gang: Gang, *, stop: str = "", end_order: EndOrder | None = None) -> Outcome:
    start = time.time()
    gang.start()
    return supervise(
        gang,
        grace_s=GRACE_S,
        stop_requested=lambda: stop if time.time() - start > 0.6 else "",
        check=lambda: end_order if time.time() - start > 0.6 else None,
    )


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for(condition, timeout_s: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_all_ranks_end_well(tmp_path: Path) -> None:
    outcome = watch(Gang([process(tmp_path, r, "print('hello', flush=True)") for r in range(3)]))
    assert outcome.ok
    assert [e.code for e in outcome.exits] == [0, 0, 0]
    assert (tmp_path / "rank-2.log").read_text() == "hello\n"


def test_the_first_failure_decides_and_stops_the_others_at_once(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    gang = Gang(
        [
            process(tmp_path, 0, stubborn),
            process(tmp_path, 1, "import time, sys; time.sleep(0.5); sys.exit(7)"),
        ]
    )
    begun = time.monotonic()
    outcome = watch(gang)
    assert outcome.failure is not None
    assert (outcome.failure.process.name, outcome.failure.code) == ("rank 1", 7)
    assert time.monotonic() - begun < 4.5
    assert gang.alive == []


def test_a_stop_gives_ranks_time_to_save(tmp_path: Path) -> None:
    saving = (
        "import signal, sys, time\n"
        "def save(*_):\n    time.sleep(0.3); print('saved', flush=True); sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, save)\ntime.sleep(60)"
    )
    outcome = watch(Gang([process(tmp_path, 0, saving)]), stop="cancelled")
    assert outcome.stopped == "cancelled"
    assert [e.code for e in outcome.exits] == [75]
    assert "saved" in (tmp_path / "rank-0.log").read_text()


def test_a_stopped_process_does_not_outlive_the_stop(tmp_path: Path) -> None:
    frozen = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
    outcome = watch(Gang([process(tmp_path, 0, frozen)]), stop="cancelled")
    assert outcome.exits[0].code != 0 or outcome.ok  # SIGCONT lets it end by itself or by SIGTERM


def test_stacks_are_dumped_before_the_end_of_a_hang_even_of_a_stopped_rank(tmp_path: Path) -> None:
    code = "import time\ndef waiting_for_godot():\n    time.sleep(60)\nwaiting_for_godot()"
    frozen = code.replace("time.sleep(60)", "__import__('os').kill(0, 19)")
    gang = Gang([process(tmp_path, r, c, PYTHONFAULTHANDLER="1") for r, c in enumerate((code, frozen))])
    outcome = watch(gang, end_order=EndOrder("hang", "it hangs", "dump"))
    assert outcome.end_order is not None
    assert not outcome.ok
    assert "waiting_for_godot" in (tmp_path / "rank-1.log").read_text()
    assert "waiting_for_godot" in (tmp_path / "rank-0.log").read_text()


def test_grandchildren_die_with_their_rank(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
        "sys.exit(3)"
    )
    watch(Gang([process(tmp_path, 0, code)]))
    grandchild = int((tmp_path / "rank-0.log").read_text().split()[0])
    assert wait_for(lambda: not alive(grandchild))


def test_ranks_die_with_the_program_that_started_them(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom launcher.ranks.gang import Gang, Process\nimport os\n"
        "sleep = (sys.executable, '-c', 'import time; time.sleep(60)')\n"
        f"gang = Gang([Process('rank 0', 0, sleep, os.environ, Path({str(tmp_path)!r}), Path({str(tmp_path / 'log')!r}))])\n"
        "gang.start(); time.sleep(0.5); print(gang.pids()['rank 0'], flush=True); time.sleep(60)"
    )
    node = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert node.stdout is not None
    with node.stdout:
        rank = int(node.stdout.readline())
    assert alive(rank)
    node.send_signal(signal.SIGKILL)
    node.wait()
    assert wait_for(lambda: not alive(rank))


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


def test_a_keeper_that_was_killed_is_replaced_while_the_gang_runs(tmp_path: Path) -> None:
    gang = Gang([process(tmp_path, 0, "import time; time.sleep(2.5)")])
    pids: set[int] = set()

    def check() -> None:
        assert gang.keeper.pid is not None
        pids.add(gang.keeper.pid)
        if len(pids) == 1:
            os.kill(gang.keeper.pid, signal.SIGKILL)

    gang.start()
    assert supervise(gang, grace_s=GRACE_S, stop_requested=lambda: "", check=check).ok
    assert len(pids) == 2
    assert not any(alive(pid) for pid in pids)
