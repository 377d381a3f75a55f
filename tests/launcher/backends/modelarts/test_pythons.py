"""The base package, installed with pip into a fresh environment of each Python that this machine has, submits and fetches."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.corners import CONSTRAINTS, python_of
from tests.launcher.backends.modelarts.site import Site

ROOT = Path(__file__).parents[4]
CORNERS = {
    "3.10": "python3.10-mindspore2.7",
    "3.12": "python3.12-mindspore2.10",
    "3.13": "python3.13-base",
    "3.14": "python3.13-base",
}
"""Of each Python but that of `make test`, the file of constraints."""

pytestmark = [pytest.mark.system, pytest.mark.slow]


def constraints(release: str) -> str:
    """Those of the corner, and the SDK's release of `make test`."""
    own = (CONSTRAINTS / f"{CORNERS[release]}.txt").read_text()
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return own + "".join(f"{line}\n" for line in lines if line.startswith("huaweicloudsdk"))


def installed(python: str, release: str, folder: Path) -> Path:
    """The command `launcher` of a fresh environment."""
    (folder / "constraints.txt").write_text(constraints(release))
    own = folder / "venv"
    subprocess.run([python, "-m", "venv", str(own)], check=True)
    pip = [str(own / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    wanted = ["-c", str(folder / "constraints.txt"), f"{ROOT}[modelarts]"]
    done = subprocess.run([*pip, *wanted], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return own / "bin" / "launcher"


@pytest.mark.parametrize("release", CORNERS)
def test_the_base_package_does_its_work(site: Site, tmp_path: Path, release: str) -> None:
    if not (python := python_of(f"python{release}-base")):
        pytest.skip(f"NOT TESTED: no Python {release} here")
    launcher = installed(python, release, tmp_path)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    job, table, results = str(site.file()), str(tmp_path / "table.json"), tmp_path / "results"
    machines = tmp_path / "machines.yaml"
    machines.write_text("10.0.0.5: {0: 192.168.100.101}\n10.0.0.6: {0: 192.168.100.103}\n")

    def call(*words: str) -> str:
        done = subprocess.run(
            [str(launcher), *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done.stdout

    call("check", job)
    assert "modelarts" in call("submit", job, "--dry-run")
    call("rank-table", "generate", "--addresses", str(machines), "-o", table)
    call("rank-table", "lint", table)
    run = call("submit", job).strip()
    call("wait", run)
    assert json.loads(call("status", run, "--json"))["state"] == "SUCCEEDED"
    call("fetch-results", run, "--to", str(results))
    assert json.loads((results / "eval" / "last.json").read_text())["top1"] == 0.021
