"""Programs that know nothing of the launcher resume from the newest whole checkpoint file, here and on another machine."""

import shutil
import sys
from pathlib import Path

import pytest

from launcher.runfolder.states import State
from launcher.submission.resume import resume

SAVER = [sys.executable, str(Path(__file__).parents[2] / "programs" / "saver.py")]
RESUME_ARGS = ["--resume", "{resume}"]
ONCE = {"max_restarts": 1, "backoff": "0s", "on": [{"exit_code": 1, "do": "restart"}]}


def log_of(jobs, run_id: str, attempt: int, rank: int = 0) -> str:
    return (
        jobs.folder / "runs" / run_id / "logs" / f"attempt-{attempt}" / "node-0" / f"rank-{rank}.log"
    ).read_text()


@pytest.mark.parametrize("extra", [{}, {"CUT": "1"}], ids=["whole", "cut off"])
def test_a_restart_resumes_from_the_newest_whole_file(jobs, extra: dict[str, str]) -> None:
    view = jobs.run(program=SAVER, resume_args=RESUME_ARGS, retry=ONCE, env={"FAIL_AT": "2", **extra})
    assert view.state is State.SUCCEEDED, view.reason
    assert "starts after epoch 0, from nothing" in log_of(jobs, view.run_id, 1)
    assert "starts after epoch 2" in log_of(jobs, view.run_id, 2)


def test_the_word_is_empty_at_the_first_start(jobs) -> None:
    view = jobs.run(program=[*SAVER, "--resume", "{resume}"], retry=ONCE, env={"FAIL_AT": "3"})
    assert view.state is State.SUCCEEDED, view.reason
    assert "from nothing" in log_of(jobs, view.run_id, 1)
    assert "starts after epoch 3" in log_of(jobs, view.run_id, 2)


def test_the_variable_has_the_same_path(jobs) -> None:
    code = "import os; print('resume:', os.environ['LAUNCHER_RESUME'], flush=True); open('a-1.ckpt', 'w').write('x')"
    failing = f"{code}; raise SystemExit(os.environ['LAUNCHER_ATTEMPT'] == '1')"
    view = jobs.run(program=[sys.executable, "-c", failing], retry=ONCE)
    assert view.state is State.SUCCEEDED, view.reason
    assert log_of(jobs, view.run_id, 1).startswith("resume: \n")
    assert log_of(jobs, view.run_id, 2).endswith("work/rank-0/a-1.ckpt\n")


@pytest.mark.parametrize("sharded", ["", "1"], ids=["rank 0 saves", "sharded"])
def test_two_ranks_get_their_file(jobs, sharded: str) -> None:
    env = {"FAIL_AT": "2", "SHARDED": sharded}
    view = jobs.run(program=SAVER, resume_args=RESUME_ARGS, retry=ONCE, devices=2, env=env, requires=["json"])
    assert view.state is State.SUCCEEDED, view.reason
    for rank in range(2):
        log = log_of(jobs, view.run_id, 2, rank)
        assert f"rank {rank} starts after epoch" in log
        assert "from nothing" not in log


def test_another_machine_brings_the_file_back(jobs) -> None:
    """The disk of the first machine is lost; the newest file in the store had been cut off before it was uploaded."""
    view = jobs.run(program=SAVER, resume_args=RESUME_ARGS, env={"FAIL_AT": "3", "CUT": "1"})
    assert view.state is State.FAILED
    entry = jobs.index.find(view.run_id)
    work, store = entry.run_dir.root / "work", entry.store.open()
    for path in sorted((work / "rank-0" / "ckpt").iterdir()):
        store.put_file(f"work/rank-0/ckpt/{path.name}", path)
    shutil.rmtree(entry.run_dir.root)
    view = jobs.end(resume(entry, jobs.index))
    assert view.state is State.SUCCEEDED, view.reason
    assert "starts after epoch 3" in log_of(jobs, view.run_id, 2)


def test_a_run_starts_from_the_file_of_an_earlier_one(jobs) -> None:
    first = jobs.run(program=SAVER, env={"FAIL_AT": "2"})
    entry = jobs.index.find(first.run_id)
    path = entry.run_dir.work / "rank-0" / "ckpt" / "net-2_1.ckpt"
    entry.store.open().put_file("work/rank-0/ckpt/net-2_1.ckpt", path)
    view = jobs.run(program=SAVER, resume_args=RESUME_ARGS, model={"checkpoint": entry.store.url})
    assert view.state is State.SUCCEEDED, view.reason
    assert "starts after epoch 2" in log_of(jobs, view.run_id, 1)
    empty = jobs.run(program=SAVER, model={"checkpoint": str(jobs.folder / "nothing-here")})
    assert empty.state is State.FAILED
    assert "no checkpoint file in" in empty.reason


def test_new_files_count_as_progress_between_restarts(jobs) -> None:
    """Restarts go on while each attempt saves a newer file, beyond the two that may be fruitless."""
    code = (
        "import os, time; n = int(os.environ['LAUNCHER_ATTEMPT'])\n"
        "open(f'net-{n}.ckpt', 'w').write('x')\n"
        "raise SystemExit(n < 5)\n"
    )
    retry = {**ONCE, "max_restarts": 9}
    view = jobs.run(program=[sys.executable, "-c", code], resume_args=["{resume}"], retry=retry)
    assert view.state is State.SUCCEEDED, view.reason
    assert view.attempt == 5
