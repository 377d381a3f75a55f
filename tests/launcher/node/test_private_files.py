"""Files of a run are for their owner alone, whatever the umask of the shell that submits."""

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from launcher.cli import main
from tests.living import each_path

PROGRAM = """
import os, pathlib
run = pathlib.Path(os.environ["LAUNCHER_RUN_DIR"])
(run / "eval").mkdir(exist_ok=True)
(run / "eval" / "last.json").write_text('{"top1": 0.5}')
pathlib.Path("weights.bin").write_text("x")
"""


@pytest.fixture
def umask() -> Iterator[int]:
    """A shell that hides nothing."""
    before = os.umask(0)
    yield 0
    os.umask(before)


def open_to_others(*roots: Path) -> list[str]:
    modes = each_path(lambda path: path.lstat().st_mode, *roots)
    return [f"{path}: {stat.filemode(mode)}" for path, mode in modes if mode & 0o077]


@pytest.mark.system
def test_a_run_from_submit_to_its_end(
    umask: int, launcher_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(PROGRAM)
    job = {
        "name": "private",
        "program": [sys.executable, str(tmp_path / "train.py")],
        "requires": [],
        "output": {"url": str(tmp_path / "runs")},
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    assert main(["submit", str(path), "--follow"]) == 0
    assert main(["cancel", "last"]) == 0
    assert os.umask(umask) == umask
    made = [each for each in (launcher_home, tmp_path / "runs") if each.exists()]
    assert len(list(launcher_home.rglob("*"))) > 10
    assert open_to_others(*made) == []


def test_other_commands_obey_the_umask(umask: int, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    assert main(["init", str(path)]) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
