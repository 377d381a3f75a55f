"""The variables by which torch.distributed finds its peers, with real processes that meet through them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.errors import PlanError
from launcher.node.environment import check_environment
from launcher.runfolder.states import State
from launcher.submission.launch import submit
from launcher.submission.prepare import prepare

PROGRAMS = Path(__file__).parents[2] / "programs"
TORCH = os.environ.get("LAUNCHER_TEST_TORCH", sys.executable)
"""A Python that has torch."""


def test_ranks_meet_through_the_variables_of_torch(jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE"):
        monkeypatch.setenv(name, "99")  # those of another gang don't reach ours
    view = jobs.run(program=[sys.executable, str(PROGRAMS / "ring.py")], devices=3, requires=["json"])
    assert view.state is State.SUCCEEDED, view.reason
    found = json.loads((jobs.folder / "runs" / view.run_id / "eval" / "ring.json").read_text())
    common = {"WORLD_SIZE": 3, "LOCAL_WORLD_SIZE": 3, "NODE_RANK": 0, "GROUP_RANK": 0}
    assert found["ranks"] == [{"RANK": rank, "LOCAL_RANK": rank, **common} for rank in range(3)]
    assert (found["agents"], found["cluster"]) == ([], [])


def test_a_missing_package_is_named_by_submit_and_by_every_machine_before_a_rank_starts(jobs) -> None:
    path = jobs.file(program=[sys.executable, "-c", "0"], requires=["json", "no_such_package"])
    job = prepare(path)
    with pytest.raises(PlanError, match="can't import no_such_package"):
        submit(job, jobs.index)
    with pytest.raises(PlanError, match="no_such_package is not installed"):
        check_environment(job.plan)


def test_torch_adds_up_over_two_ranks(jobs) -> None:
    if subprocess.run([TORCH, "-c", "import torch"], capture_output=True, check=False).returncode:
        pytest.skip(
            "torch is not installed: pip install torch, or name a Python that has it in LAUNCHER_TEST_TORCH"
        )
    view = jobs.run(
        program=[TORCH, str(PROGRAMS / "ddp.py")], devices=2, requires=["torch"], local={"python": TORCH}
    )
    assert view.state is State.SUCCEEDED, view.reason
    logs = sorted(jobs.folder.glob(f"runs/{view.run_id}/logs/attempt-1/node-0/rank-*.log"))
    assert [f"rank {rank} of 2 has 3" in log.read_text() for rank, log in enumerate(logs)] == [True, True]
