"""Hangs and early leavers, over real files and a gang whose processes are made up."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.jobfile.spec_failures import WatchSpec
from launcher.ranks import watchdog as module
from launcher.ranks.gang import Exit, Process
from launcher.ranks.watchdog import Watchdog
from tests.waiting import state_of, wait_until


class Scene:
    """Two ranks, their progress files, and a clock that tests move."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **limits: Any) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        self.files = {rank: folder / f"rank-{rank}.jsonl" for rank in (0, 1)}
        self.heard = 0.0
        processes = [Process(f"rank {r}", r, ("true",), {}, folder, folder / "log") for r in (0, 1)]
        self.pids: dict[str, int] = {}
        self.gang = SimpleNamespace(
            processes=processes,
            alive=list(processes),
            exits=[],
            pids=lambda: self.pids,
            pump=SimpleNamespace(last_output_at=lambda name: self.heard),
        )
        self.watchdog = Watchdog(self.gang, self.files, WatchSpec(**{"hang_after": 60, **limits}), 10)  # type: ignore[arg-type]

    def write(self, rank: int, **event: Any) -> None:
        with self.files[rank].open("a") as file:
            file.write(json.dumps({"t": 0.0, **event}) + "\n")

    def pass_time(self, seconds: float) -> Any:
        """Second by second, as the supervisor asks; the first end_order."""
        end = self.now + seconds
        while self.now < end:
            self.now += 1.0
            if end_order := self.watchdog.check():
                return end_order
        return None

    def ends(self, rank: int, code: int) -> None:
        process = self.gang.processes[rank]
        self.gang.alive.remove(process)
        self.gang.exits.append(Exit(process, code, 0.0))


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def test_silence_is_a_hang_and_the_rank_behind_is_named(scene: Scene) -> None:
    scene.write(0, event="step", step=7, steps=9)
    scene.write(1, event="step", step=3, steps=9)
    assert scene.pass_time(55) is None
    end_order = scene.pass_time(10)
    assert (end_order.kind, end_order.how) == ("hang", "dump")
    assert "no progress and no log line for 1 min" in end_order.reason
    assert "rank 1 stands at step 3, others at step 7" in end_order.reason


def test_progress_or_log_lines_prove_life(scene: Scene) -> None:
    for _ in range(5):
        scene.write(1, event="phase", phase="compiling")
        assert scene.pass_time(50) is None
        scene.heard = scene.now
        assert scene.pass_time(50) is None


def test_log_lines_without_progress_are_believed_for_a_while(scene: Scene) -> None:
    scene.write(0, event="phase", phase="starting")
    end_order = None
    for _ in range(500):
        scene.heard = scene.now
        if end_order := scene.pass_time(1):
            break
    assert end_order is not None
    assert "log lines, but no progress for 4 min" in end_order.reason


def test_a_program_without_progress_files_is_judged_by_its_log_alone(scene: Scene) -> None:
    for _ in range(500):
        scene.heard = scene.now
        assert scene.pass_time(1) is None


def test_a_log_that_moves_while_the_step_of_its_lines_does_not_is_a_hang(scene: Scene) -> None:
    """The lines of a program that writes no progress file: the step was read from them."""
    scene.write(0, event="step", step=7, steps=9, **{"from": "lines"})
    end_order = None
    for _ in range(500):
        scene.heard = scene.now
        if end_order := scene.pass_time(1):
            break
    assert end_order is not None
    assert "log lines, but no progress for 4 min" in end_order.reason


def test_lines_that_counted_to_their_end_are_no_measure_of_what_follows(scene: Scene) -> None:
    scene.write(0, event="step", step=9, steps=9, **{"from": "lines"})
    for _ in range(500):
        scene.heard = scene.now
        assert scene.pass_time(1) is None


def test_a_rank_whose_steps_come_from_its_lines_may_end_before_others(scene: Scene) -> None:
    """Nothing tells whether it was its last step: LossMonitor prints some steps only."""
    scene.write(0, event="step", step=7, steps=9, **{"from": "lines"})
    assert scene.pass_time(5) is None
    scene.ends(0, 0)
    assert scene.pass_time(5) is None


def test_hang_after_0_watches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Scene(tmp_path, monkeypatch, hang_after=0).pass_time(10_000) is None


def test_the_sleep_of_a_machine_is_not_a_hang(scene: Scene) -> None:
    assert scene.pass_time(30) is None
    scene.now += 7200
    assert scene.pass_time(50) is None
    assert scene.pass_time(30).kind == "hang"


@pytest.fixture
def frozen() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: state_of(process.pid) == "T")
    yield process.pid
    process.kill()
    process.wait()


def test_a_stopped_rank_is_named_although_the_others_go_on(scene: Scene, frozen: int) -> None:
    scene.pids["rank 1"] = frozen
    end_order = None
    for step in range(200):
        scene.write(0, event="step", step=step, steps=999)
        if end_order := scene.pass_time(1):
            break
    assert end_order is not None
    assert "rank 1 has been stopped (SIGSTOP) for 1 min" in end_order.reason


def test_the_stopped_process_is_named_when_all_wait(scene: Scene, frozen: int) -> None:
    """MindSpore's scheduler, too; and a rank that was stopped a moment after the last progress."""
    scene.pids = {"scheduler": frozen}
    end_order = scene.pass_time(70)
    assert "no log line for 1 min" in end_order.reason
    assert "(scheduler has been stopped (SIGSTOP))" in end_order.reason


@pytest.mark.parametrize("phase", ["compiling", "training"])
def test_a_rank_that_leaves_early_is_a_failure(scene: Scene, phase: str) -> None:
    scene.write(1, event="phase", phase=phase)
    scene.write(1, event="step", step=3, steps=9)
    scene.ends(1, 0)
    end_order = scene.pass_time(2)
    assert (end_order.kind, end_order.how) == ("left-early", "kill")
    assert f"rank 1 ended with exit code 0 in the middle of {phase} (step 3 of 9)" in end_order.reason


@pytest.mark.parametrize("phase", ["done", "evaluating", "exporting"])
def test_a_rank_that_is_done_before_the_others_is_fine(scene: Scene, phase: str) -> None:
    scene.write(1, event="phase", phase=phase)
    scene.ends(1, 0)
    assert scene.pass_time(30) is None


def test_events_of_an_earlier_attempt_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rank-1.jsonl").write_text('{"event": "phase", "phase": "training"}\n')
    scene = Scene(tmp_path, monkeypatch)
    scene.ends(1, 0)
    assert scene.pass_time(5) is None


@pytest.mark.parametrize(("guard", "found"), [("stop", True), ("warn", False), ("off", False)])
def test_the_guard_stops_warns_or_sleeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guard: str, found: bool
) -> None:
    scene = Scene(tmp_path, monkeypatch, guard=guard)
    for step in range(5):
        scene.write(0, event="step", step=step, loss="nan")
    end_order = scene.pass_time(3)
    assert (end_order is not None) is found
    assert bool(scene.watchdog.warning) is (guard == "warn")
    if end_order:
        assert (end_order.kind, end_order.how) == ("not-learning", "kill")


@pytest.mark.parametrize(("guard", "found"), [("stop", True), ("warn", False), ("off", False)])
def test_the_guard_judges_the_end_of_a_program_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guard: str, found: bool
) -> None:
    scene = Scene(tmp_path, monkeypatch, guard=guard)
    scene.write(0, event="step", step=44, steps=44, loss="nan")
    assert scene.pass_time(3) is None, "another step may show that it was one overflow"
    for rank in (0, 1):
        scene.write(rank, event="phase", phase="done")
    end_order = scene.watchdog.judge_end()
    assert (end_order is not None) is found
    assert bool(scene.watchdog.warning) is (guard == "warn")
    if end_order:
        assert (end_order.kind, end_order.rule) == ("not-learning", "not-finite")
        assert "the loss is nan at step 44" in end_order.reason


def test_a_guess_from_a_plain_line_fails_no_run_at_its_end(scene: Scene) -> None:
    scene.write(0, **{"event": "step", "from": "plain lines", "step": 9, "steps": 9, "loss": "nan"})
    assert scene.watchdog.judge_end() is None


def test_a_guess_from_a_plain_line_ends_no_run(scene: Scene) -> None:
    for step in (1, 2):
        scene.write(0, **{"event": "step", "from": "plain lines", "step": step, "steps": 9, "loss": "nan"})
        assert scene.pass_time(10) is None
    for _ in range(8):
        scene.heard = scene.now
        assert scene.pass_time(55) is None
    assert scene.pass_time(70).kind == "hang", "silence is one all the same"
