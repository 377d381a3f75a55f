"""What is left to ask when the controller has forgotten a job: the accounts, and the list of jobs that have ended."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from launcher.api import submit_points
from launcher.backends.slurm.query import accounted, look_up
from launcher.submission.cancel import cancel
from launcher.submission.sweeps import Axis, prepare_points
from tests.slurm.cluster import Cluster
from tests.slurm.jobs import SlurmJobs


@pytest.fixture(scope="module")
def ended(jobs: SlurmJobs) -> dict[str, str]:
    """The state in the queue of jobs that have ended, by id: tasks of an array, a failure, a cancelled one."""
    file = jobs.file("accounts", nodes=1, env={"STEPS": "2"}, slurm={"exclusive": False})
    entries = [
        run.entry
        for run in submit_points(prepare_points(file, [Axis("env.SEED", ("'1'", "'2'"))]), "accounts")
    ]
    entries.append(jobs.submit("accounts-fails", nodes=1, env={"STEPS": "2", "FAIL_AT": "1:0:raise"}))
    entries.append(jobs.submit("accounts-held", nodes=1, slurm={"extra": ["--hold"]}))
    cancel(entries[-1])
    jobs.entries += entries
    states = {jobs.number(entry): jobs.end(entry).state for entry in entries}
    assert sorted(states.values()) == ["CANCELLED", "FAILED", "SUCCEEDED", "SUCCEEDED"]
    found = look_up(list(states))
    return {number: found[number].state for number in states}


@pytest.mark.slow
def test_jobs_that_the_controller_forgot_are_found_in_the_accounts(
    ended: dict[str, str], cluster: Cluster
) -> None:
    if cluster.settings["dbd"] != "1":
        pytest.skip("NOT TESTED, no accounts: slurmdbd and MariaDB are not installed (.ci/install-servers)")
    Cluster.until(
        lambda: {number: job.state for number, job in accounted(list(ended)).items()} == ended,
        "the accounts say what the queue says",
    )
    queue = {number: job.comment for number, job in look_up(list(ended)).items()}
    assert {number: job.comment for number, job in accounted(list(ended)).items()} == queue, "whose they were"


@pytest.mark.slow
def test_where_there_are_no_accounts_the_list_of_ended_jobs_is_asked(
    ended: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That list knows no tasks of arrays."""
    refuses = tmp_path / "sacct"
    refuses.write_text(f'#!/bin/sh\n[ "$1" = -X ] && exit 1\nexec {shutil.which("sacct")} "$@"\n')
    refuses.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    single = {number: state for number, state in ended.items() if "_" not in number}
    found = accounted(list(single))
    assert {number: job.state for number, job in found.items()} == single
    assert {job.comment.partition("-2")[0] for job in found.values()} == {
        "launcher:accounts-fails",
        "launcher:accounts-held",
    }


@pytest.mark.usefixtures("cluster")
def test_a_job_that_nobody_knows_is_not_found() -> None:
    assert look_up(["99999"]) == {}
