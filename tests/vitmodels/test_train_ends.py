"""Trainings that are stopped, interrupted or refused: their exit codes and what they say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vitmodels.trainings import RECIPE, ROOT, start, wait_for_event
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.system


def test_sigterm_saves_and_asks_to_be_resumed(data: Path, tmp_path: Path) -> None:
    run = start(tmp_path / "stopped", data, epochs=400, eval_every=50, save_every=50, save_every_steps=0)
    wait_for_event(run, "step")
    run.ranks[0].send_signal(signal.SIGTERM)
    assert run.wait() == [75], run.output(0)
    assert "start again to resume" in run.output(0)
    assert 0 < run.newest().step < 3200


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "epoch=3"], "epoch: unknown key"),
        (["--set", "batch_size=big"], "batch_size: expected a whole number ≥ 1, found 'big'"),
        (["--data", "/does/not/exist"], "does not exist"),
    ],
)
def test_wrong_usage_is_one_message_and_exit_code_2(
    data: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    command = [sys.executable, "-m", "vitmodels.train", "--config", str(recipe), "--data", str(data)]
    command += ["--run-dir", str(tmp_path / "run"), "--device", "cpu", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=PATIENCE_S)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_training_in_the_folder_is_refused(data: Path, tmp_path: Path) -> None:
    first = start(tmp_path / "run", data, epochs=400)
    wait_for_event(first, "phase", phase="starting")
    try:
        second = subprocess.run(
            first.ranks[0].args, env={**os.environ, "PYTHONPATH": str(ROOT), "LAUNCHER_RUN_DIR": str(first.folder)},
            capture_output=True, text=True, check=False, timeout=PATIENCE_S,
        )  # fmt: skip
    finally:
        first.kill()
    assert second.returncode == 1
    assert second.stderr.startswith(f"another training uses {first.folder}")


@pytest.mark.parametrize("phase", ["starting", "compiling"])
def test_ctrl_c_before_the_first_step_is_one_line_and_exit_code_130(
    data: Path, tmp_path: Path, phase: str
) -> None:
    run = start(tmp_path / "run", data, cache=False)
    wait_for_event(run, "phase", phase=phase)
    run.ranks[0].send_signal(signal.SIGINT)
    assert run.wait() == [130], run.output(0)
    *lines, last = run.output(0).splitlines()
    assert last == "interrupted"
    assert all(line.startswith(("CPU kernels: ", "train: ", "val: ")) for line in lines), lines
