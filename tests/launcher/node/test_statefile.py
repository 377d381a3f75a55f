"""What node 0 writes down of a run."""

from pathlib import Path

import pytest

from launcher.node.statefile import StateFile, read_results
from launcher.runfolder.paths import RunDir
from launcher.runfolder.states import State
from launcher.submission.prepare import prepare
from tests.launcher.samples import write_job


def test_a_result_that_is_no_number_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = {"last": "NaN", "best": "1e999", "other": '"nan"', "MINDIR": "0.5"}
    for name, top1 in texts.items():
        (tmp_path / f"{name}.json").write_text(f'{{"top1": {top1}}}')
    assert read_results(tmp_path) == {"MINDIR": 0.5}
    assert "last.json: top1 is nan" in caplog.text
    assert len(caplog.records) == 3


def test_an_attempt_that_was_killed_is_closed_by_the_next_one(tmp_path: Path) -> None:
    plan, run_dir = prepare(write_job(tmp_path), cwd=tmp_path).plan, RunDir(tmp_path / "run")
    StateFile(plan, run_dir, 0, 1).save(State.RUNNING)
    second = StateFile(plan, run_dir, 0, 2)
    killed, now = second.value.attempts
    assert killed.outcome == "its node program was gone without a word"
    assert killed.ended_at is not None
    assert now.ended_at is None
