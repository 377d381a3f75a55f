"""`launcher init --program`: a job file that fits what the script's text shows, and that `check` accepts."""

from pathlib import Path

import pytest
import yaml

from launcher.cli import main
from launcher.errors import UsageError
from launcher.jobfile.load import load_job
from launcher.submission.programfile import program_job

ROOT = Path(__file__).parents[3]
SCRIPT = """
import argparse
from mindspore.communication import init
from mindspore.train import LossMonitor
p = argparse.ArgumentParser()
p.add_argument("-d", "--data_dir", default="./my data")
p.add_argument("--resume", action="store_true")
p.add_argument("--ckpt-path", default=None)
p.add_argument("--epoch_size", type=int, default=7)
p.add_argument("--distribute", action="store_true")
init()
"""


@pytest.fixture
def folder(tmp_path: Path, launcher_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my data" / "one").mkdir(parents=True)
    (tmp_path / "my data" / "one" / "a.jpg").touch()
    return tmp_path


def job_for(text: str, name: str = "train.py") -> dict[str, object]:
    Path(name).write_text(text)
    job = program_job(name, name=None, backend="local", cwd=Path.cwd())
    Path("job.yaml").write_text(job)
    load_job("job.yaml", env={})
    return yaml.safe_load(job)


def test_what_the_script_shows_is_in_the_job(folder: Path) -> None:
    assert job_for(SCRIPT, "my train.py") == {
        "name": "my-train",
        "program": ["python", "my train.py", "--data_dir", "{data}"],
        "resume_args": ["--ckpt-path", "{resume}"],
        "requires": ["mindspore"],
        "data": {"url": "./my data"},
        "resources": {"backend": "local", "device": "cpu", "devices_per_node": 1},
        "output": {"url": "runs"},
        "retry": {"max_restarts": 1},
        "progress": {"total_epochs": 7},
    }
    assert "add --distribute to program" in Path("job.yaml").read_text()
    assert main(["check", "job.yaml"]) == 0


def test_a_script_that_shows_nothing_gives_a_job_that_runs(folder: Path) -> None:
    job = job_for("print('hello')\n")
    assert job["program"] == ["python", "train.py"]
    assert not {"resume_args", "requires", "data", "retry", "progress"} & job.keys()
    assert "forms no group" in Path("job.yaml").read_text()
    assert main(["check", "job.yaml"]) == 0
    assert job_for("print 'python 2'\n")["program"] == ["python", "train.py"]


def test_positional_data(folder: Path) -> None:
    text = "import argparse\np = argparse.ArgumentParser()\np.add_argument('data', help='x')\n"
    assert job_for(text)["program"] == ["python", "train.py", "{data}"]


def test_the_examples_get_a_job(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("plain_mindspore.py", "plain_torch.py"):
        assert main(["init", "--program", str(ROOT / "examples" / name), "-"]) == 0
        job = yaml.safe_load(capsys.readouterr().out)
        assert job["resume_args"] == ["--resume", "{resume}"]


def test_a_script_that_is_not_there(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.py: the script can't be read"):
        program_job("nothing.py", name=None, backend="local", cwd=folder)
    assert main(["init", "--program", "nothing.py"]) == 2
    assert not Path("job.yaml").exists()
