"""Work is done on a machine that starts no more threads."""

import threading
from collections.abc import Callable, Iterator, KeysView
from pathlib import Path
from typing import ClassVar

import pytest

from launcher import threads
from launcher.cli import guarded
from launcher.runfolder.states import State
from launcher.storage import open_store
from launcher.storage.copy import send_tree
from launcher.threads import Workers, join, started

LIMITED = """
import os, threading
right, mark = threading._start_new_thread, os.environ["NO_THREADS_FROM"]

def limited(*args):
    if os.path.exists(mark):
        raise RuntimeError("can't start new thread")
    return right(*args)

threading._start_new_thread = limited
"""


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Called with how many more threads this process may start."""
    right = threading._start_new_thread  # type: ignore[attr-defined]

    def allow(number: int) -> None:
        left = [None] * number

        def start(*args: object) -> int:
            if not left:
                raise RuntimeError("can't start new thread")
            left.pop()
            return int(right(*args))

        monkeypatch.setattr(threading, "_start_new_thread", start)

    return allow


@pytest.mark.parametrize("number", [0, 1, 2, 9])
def test_each_piece_of_work_is_done_once(number: int, limit: Callable[[int], None]) -> None:
    done: list[int] = []

    def work(each: int) -> int:
        done.append(each)
        return each * each

    limit(number)
    with Workers(4) as pool:
        assert list(pool.map(work, range(50))) == [each * each for each in range(50)]
    assert sorted(done) == list(range(50))


def test_an_error_reaches_whoever_waits(limit: Callable[[int], None]) -> None:
    limit(0)
    with Workers(4) as pool:
        job = pool.submit(int, "x")
        with pytest.raises(ValueError, match="invalid literal"):
            job.result()
    with pytest.raises(RuntimeError, match="shutdown"):
        pool.submit(int, "1")


def test_a_thread_that_can_be_done_without(limit: Callable[[int], None]) -> None:
    limit(0)
    thread = threading.Thread(target=list)
    assert not started(thread)
    join(thread)


def test_a_command_says_which_limit_it_met(
    limit: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> int:
        limit(0)
        threading.Thread(target=list).start()
        return 0

    assert guarded(command) == 4
    shown = capsys.readouterr().err
    assert ("no more threads" in shown, "ulimit -u" in shown, "defect" in shown) == (True, True, False)


def test_files_are_copied_without_threads(limit: Callable[[int], None], tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    for number in range(40):
        (tmp_path / "from" / f"{number}.txt").write_text(str(number))
    limit(0)
    store = open_store(str(tmp_path / "to"))
    report = send_tree(open_store(str(tmp_path / "from")), tmp_path / "from", store)
    assert (report.files, store.read("7.txt")) == (40, b"7")


def limited_run(jobs, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mark that ends all new threads of the node programs that start from now on."""
    (folder / "limited").mkdir()
    (folder / "limited/sitecustomize.py").write_text(LIMITED)
    monkeypatch.setenv("PYTHONPATH", str(folder / "limited"))
    monkeypatch.setenv("NO_THREADS_FROM", str(folder / "mark"))
    return folder / "mark"


def test_a_run_that_can_t_begin_says_why(jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limited_run(jobs, tmp_path, monkeypatch).touch()
    view = jobs.run()
    assert view.state is State.FAILED
    assert "no more threads can be started" in view.reason
    assert "ulimit -u" in view.reason
    assert (tmp_path / "runs" / view.run_id / "logs/attempt-1/node-0/node.log").exists()


def test_a_run_that_ends_at_the_limit_loses_nothing(
    jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = limited_run(jobs, tmp_path, monkeypatch)
    entry = jobs.submit(env={"HOLD_AT": "3", "RELEASE": str(tmp_path / "go")})
    jobs.until(entry, lambda view: view.progress.step == 3)
    mark.touch()
    (tmp_path / "go").touch()
    view = jobs.end(entry)
    assert (view.state, view.safe_step, view.unsafe) == (State.SUCCEEDED, 6, ())
    assert view.results == {"last": 0.021}


def test_variables_are_copied_while_another_thread_changes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Changing(dict[str, str]):
        """As os.environ when a variable is removed between the look at the names and that at the values."""

        failures: ClassVar = [KeyError("A"), RuntimeError("dictionary changed size during iteration")]

        def keys(self) -> KeysView[str]:
            if self.failures:
                raise self.failures.pop()
            return super().keys()

        def __iter__(self) -> Iterator[str]:
            return iter(self.keys())

    monkeypatch.setattr(threads.os, "environ", Changing(A="1"))
    assert threads.environment() == {"A": "1"}
    assert not Changing.failures
