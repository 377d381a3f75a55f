"""`make demo` in a folder of its own, as often as a user likes, with a short job in place of the training."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

MAKEFILE = Path(__file__).parents[1] / "Makefile"
JOB = "name: short\nprogram: [sh, -c, 'echo done > model.txt']\noutput: {url: demo/runs}\n"


def demo(folder: Path) -> str:
    """The id of the run that one `make demo` started and fetched. Blocks until it has ended."""
    before = set((folder / "demo" / "results").glob("*"))
    programs = Path(sys.executable).parent
    command = ["make", "-f", str(MAKEFILE), "-o", "install", "demo", f"BIN={programs}", "DEMO_JOB=job.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (new,) = set((folder / "demo" / "results").glob("*")) - before
    assert f"files fetched to demo/results/{new.name}:" in done.stdout
    return new.name


def test_make_demo_works_again_and_removes_nothing(tmp_path: Path, launcher_home: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    first = demo(tmp_path)
    mine = tmp_path / "demo" / "results" / first / "mine.txt"
    mine.write_text("a user's own file")
    assert demo(tmp_path) != first
    assert mine.read_text() == "a user's own file"
