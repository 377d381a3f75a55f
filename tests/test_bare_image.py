"""In an image without rich, matplotlib, the fast libraries for images and stores, and a compiler a run goes its whole way, and says what it does without."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FEW = 8
"""Images of each class."""

pytestmark = pytest.mark.system


def digits(folder: Path) -> Path:
    """A few of scikit-learn's digits as an image folder."""
    whole, few = folder / "whole", folder / "digits"
    subprocess.run([sys.executable, "-m", "vitmodels.digits", str(whole)], cwd=ROOT, check=True)
    for kind in sorted(whole.glob("*/*")):
        target = few / kind.relative_to(whole)
        target.mkdir(parents=True)
        for image in sorted(kind.iterdir())[:FEW]:
            (target / image.name).write_bytes(image.read_bytes())
    return few


def test_a_run_without_what_an_image_may_lack(tmp_path: Path, launcher_home: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    paths = (str(ROOT / "tests" / "fakes" / "bare_image"), str(ROOT))
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PATH": str(tools),
        "XDG_CACHE_HOME": str(tmp_path),
    }
    env.pop("CXX", None)
    stores = ("--set", f"data.url={digits(tmp_path)}", "--set", f"output.url={tmp_path / 'runs'}")
    short = (
        "--set",
        "epochs=1",
        "--set",
        "warmup_length=0",
        "--set",
        "batch_size=20",
        "--set",
        "after.export=[]",
    )
    words = ["launcher", "submit", "jobs/digits_tnt_1p.yaml", "--follow", *stores, *short]
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / done.stdout.strip()
    assert set(json.loads((run / "state.json").read_text())["results"]) == {"last", "checkpoint"}
    log = (run / "logs" / "attempt-1" / "node-0" / "rank-0.log").read_text()
    assert "no plot: No module named 'matplotlib" in log
    assert "no C++ compiler" in log
    assert not list(run.rglob("curves.png"))
    assert list(run.rglob("metrics.jsonl"))
