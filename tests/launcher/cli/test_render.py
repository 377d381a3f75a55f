"""`launcher render`: the request alone on stdout, and with --write the run's folder that it needs."""

import sys
from pathlib import Path

import pytest
import yaml

from launcher.cli import main
from launcher.runs.index import Index


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher_home: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("print(1)\n")
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump({"name": "sample", "program": [sys.executable, "train.py"]}))
    return path


def test_the_request_alone_is_on_stdout(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", str(job), "--backend", "slurm"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("#!/bin/bash\n#SBATCH --job-name=sample-")
    assert "nothing was written" in shown.err
    assert not Path("runs").exists()
    assert list(Index().entries()) == []


def test_write_makes_the_folder_that_the_request_needs(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", str(job), "--backend", "slurm", "--write"]) == 0
    shown = capsys.readouterr()
    (entry,) = Index().entries()
    assert f"#SBATCH --job-name={entry.run_id}\n" in shown.out
    assert {"plan.json", "code.zip", "state.json", "record.json"} <= {
        each.key for each in entry.store.open().list()
    }
    assert "is not started yet" in shown.err


def test_an_error_leaves_stdout_empty(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ["--set", "slurm.time=60s"]
    assert main(["render", str(job), "--backend", "slurm", *wrong]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "SL010" in shown.err
