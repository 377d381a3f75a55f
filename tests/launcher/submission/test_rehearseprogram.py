"""A program's rehearsal: its first steps or seconds with real processes, results apart, never `last`."""

import json
import sys
from pathlib import Path

import pytest

from launcher.cli import main
from launcher.errors import NoSuchRun, PlanError, UsageError
from launcher.jobfile.load import load_job
from launcher.runs.index import Index
from launcher.submission.rehearseprogram import Length, parse_length, program_rehearsal

COUNTER = Path(__file__).parents[2] / "programs" / "counter.py"
LONG = {"STEPS": "100000", "STEP_S": "0.02"}


@pytest.mark.parametrize("length", ["5", "1s"])
def test_a_program_runs_a_while_and_is_asked_to_stop(
    jobs, capsys: pytest.CaptureFixture[str], length: str
) -> None:
    path = jobs.file(env=LONG, devices=2)
    assert main(["submit", str(path), "--rehearse", "--rehearse-for", length, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    home = jobs.index.root.parent
    assert answer["url"].startswith((home / "rehearsal").as_uri())
    assert not (jobs.folder / "runs").exists()
    results = Path(answer["results"])
    logs = sorted(path.name for path in results.glob("logs/attempt-1/node-0/rank-*.log"))
    assert logs == ["rank-0.log", "rank-1.log"]
    assert list(results.glob("checkpoints/step-*/manifest.json"))  # saved when it was asked to stop
    assert Index().ids() == [answer["run_id"]]
    with pytest.raises(NoSuchRun):
        Index().find("last")
    assert Index().find(answer["run_id"]).rehearsal


def test_last_is_the_real_run_before_the_rehearsal(jobs) -> None:
    real = jobs.run()
    assert main(["submit", str(jobs.file(env=LONG)), "--rehearse", "--rehearse-for", "3"]) == 0
    assert Index().find("last").run_id == real.run_id


def test_a_program_that_ends_by_itself(jobs, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", str(jobs.file()), "--rehearse"]) == 0
    assert "the program ran to its end" in capsys.readouterr().out


def test_a_program_that_fails_has_failed(jobs, capsys: pytest.CaptureFixture[str]) -> None:
    path = jobs.file(program=[sys.executable, "-c", "raise SystemExit(3)"], retry={"max_restarts": 5})
    assert main(["submit", str(path), "--rehearse"]) == 100


def test_ranks_are_those_of_the_job_as_far_as_cores_allow(
    jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    job = load_job(jobs.file(resources={"backend": "slurm", "nodes": 2, "devices_per_node": 8}), env={})
    plan = program_rehearsal(job, {"HOME": str(tmp_path)}, tmp_path, Length())
    assert (plan.backend, plan.nodes, plan.world_size, plan.rehearsal) == ("local", 1, 4, True)
    assert plan.retry.max_restarts == 0
    npus = load_job(jobs.file(resources={"backend": "slurm", "device": "ascend910"}), env={})
    with pytest.raises(PlanError, match="ascend910"):
        program_rehearsal(npus, {"HOME": str(tmp_path)}, tmp_path, Length())


def test_lengths(jobs, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", str(jobs.file()), "--rehearse-for", "3"]) == 2
    assert "add --rehearse" in capsys.readouterr().err
    assert parse_length("20") == Length(steps=20, seconds=None)
    assert parse_length("2min") == Length(steps=None, seconds=120.0)
    with pytest.raises(UsageError, match="--rehearse-for"):
        parse_length("soon")
