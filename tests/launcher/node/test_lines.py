"""Whole runs of a program that knows nothing of the launcher: its progress comes from what it prints."""

import sys
from pathlib import Path

from launcher.api import Run
from launcher.report.gather import gather
from launcher.runfolder.states import State
from tests.launcher.node.conftest import Clocks

TALKER = [sys.executable, str(Path(__file__).parents[2] / "programs" / "talker.py")]


def test_status_and_report_know_the_progress_of_an_unmodified_program(jobs) -> None:
    view = jobs.run(program=TALKER, progress={"total_epochs": 3})
    assert view.state is State.SUCCEEDED
    shown = view.progress
    assert (shown.epoch, shown.epochs, shown.step, shown.steps) == (3, 3, 12, 12)
    report = gather(Run(jobs.entries[-1], jobs.index))
    assert [point[0] for point in report.curves["loss"].points] == [4.0, 8.0, 12.0]
    assert "training" in report.phases


def test_a_phase_is_never_starting_after_a_step_was_seen(jobs) -> None:
    entry = jobs.submit(program=TALKER, env={"CHATTER": "1"})
    view = jobs.until(entry, lambda view: view.progress.step is not None)
    assert view.phase == "training"
    assert view.nodes[0].ranks[0].phase == "training"


def test_lines_of_a_program_that_stands_still_are_a_hang(jobs, clocks: Clocks) -> None:
    entry = jobs.submit(program=TALKER, env={"CHATTER": "1"}, watch={"hang_after": "60s"})
    jobs.until(entry, lambda view: view.progress.step == 12)
    clocks.pass_until(jobs, lambda view: view.state.terminal)
    view = jobs.end(entry)
    assert view.state is State.FAILED
    assert view.first_failure is not None
    assert "log lines, but no progress" in view.reason


def test_a_loss_that_is_no_number_ends_an_unmodified_program(jobs) -> None:
    view = jobs.run(program=TALKER, env={"LOSS": "nan", "EPOCHS": "2000"})
    assert view.state is State.FAILED
    assert "the loss is nan since about step" in view.reason


def test_lines_are_not_read_where_the_job_file_says_so(jobs) -> None:
    view = jobs.run(program=TALKER, progress={"from_lines": False})
    assert view.state is State.SUCCEEDED
    assert view.progress.step is None
    assert not list(jobs.folder.glob("runs/*/progress/*"))
