"""A cluster that a platform has formed: whole and fitting it is adopted, whole and other it is refused, else it is dropped."""

import json
import os
import sys
from pathlib import Path

import pytest

from launcher.errors import PlanError
from launcher.jobfile.spec import JobSpec
from launcher.node.platformset import PlatformSet, platform_set, words_on
from launcher.plan.model import Plan
from launcher.runfolder.states import State
from launcher.submission.prepare import plan_of

ASCENDJOB = {
    "MS_SCHED_HOST": "10.0.0.9",
    "MS_SCHED_PORT": "2222",
    "MS_ROLE": "MS_WORKER",
    "MS_LOCAL_WORKER": "4",
    "MS_WORKER_NUM": "8",
    "MS_NODE_RANK": "1",
}
TORCH_JOB = {
    "MASTER_ADDR": "10.0.0.8",
    "MASTER_PORT": "2222",
    "WORLD_SIZE": "8",
    "LOCAL_WORLD_SIZE": "4",
    "RANK": "1",
    "LOCAL_RANK": "0,1,2,3",
}
SHOW = """
import json, os, pathlib
folder = pathlib.Path(os.environ["LAUNCHER_RUN_DIR"], "eval")
folder.mkdir(exist_ok=True)
name = "scheduler" if os.environ.get("MS_ROLE") == "MS_SCHED" else "rank-" + os.environ["RANK"]
(folder / f"{name}.json").write_text(json.dumps(dict(os.environ)))
"""


def plan(nodes: int = 2, devices: int = 4, tmp_path: Path = Path("/nowhere")) -> Plan:
    job = {"name": "a", "program": ["true"], "resources": {"nodes": nodes, "devices_per_node": devices}}
    return plan_of(JobSpec.model_validate(job), None, run_id="a", env={}, cwd=tmp_path)


def test_a_set_that_fits_takes_the_place_of_ours() -> None:
    found = platform_set(plan(), 1, ASCENDJOB)
    assert found.env == {"MS_SCHED_HOST": "10.0.0.9", "MS_SCHED_PORT": "2222", "MS_WORKER_NUM": "8"}
    assert not found.scheduler
    assert platform_set(plan(), 0, {**ASCENDJOB, "MS_NODE_RANK": "0", "MS_ROLE": "MS_SCHED"}).scheduler
    assert platform_set(plan(), 1, TORCH_JOB) == PlatformSet(
        {"MASTER_ADDR": "10.0.0.8", "MASTER_PORT": "2222"}
    )


def test_the_log_says_which_cluster_counts() -> None:
    assert words_on(platform_set(plan(), 1, {}), {}) == ""
    adopted = words_on(platform_set(plan(), 1, ASCENDJOB), ASCENDJOB)
    assert adopted.startswith("adopted")
    assert "MS_SCHED_HOST=10.0.0.9 MS_SCHED_PORT=2222" in adopted
    assert "scheduler runs elsewhere" in adopted
    leader = {**ASCENDJOB, "MS_NODE_RANK": "0", "MS_ROLE": "MS_SCHED"}
    assert "scheduler runs here" in words_on(platform_set(plan(), 0, leader), leader)
    assert "MASTER_ADDR=10.0.0.8" in words_on(platform_set(plan(), 1, TORCH_JOB), TORCH_JOB)
    part = {key: value for key, value in ASCENDJOB.items() if key != "MS_SCHED_PORT"}
    overridden = words_on(platform_set(plan(), 1, part), part)
    assert overridden.startswith(
        "overridden: MS_SCHED_HOST, MS_WORKER_NUM, MS_ROLE, MS_NODE_RANK of the platform"
    )


def test_a_process_per_rank_as_msrun_starts_it() -> None:
    msrun = {key: ASCENDJOB[key] for key in ("MS_SCHED_HOST", "MS_SCHED_PORT", "MS_ROLE", "MS_WORKER_NUM")}
    assert platform_set(plan(8, 1), 5, {**msrun, "MS_NODE_ID": "5"}).env["MS_SCHED_PORT"] == "2222"


@pytest.mark.parametrize("name", ASCENDJOB)
def test_a_set_that_is_not_whole_is_dropped(name: str) -> None:
    rest = {key: value for key, value in ASCENDJOB.items() if key != name}
    assert platform_set(plan(), 1, rest).scheduler is (name != "MS_LOCAL_WORKER")
    assert platform_set(plan(1, 1), 0, ASCENDJOB) == PlatformSet()


@pytest.mark.parametrize(
    "changes", [{"MS_WORKER_NUM": "16"}, {"MS_NODE_RANK": "0"}, {"MS_LOCAL_WORKER": "8"}]
)
def test_another_cluster_than_the_jobs_is_refused_with_both_shown(changes: dict[str, str]) -> None:
    with pytest.raises(PlanError) as error:
        platform_set(plan(), 1, {**ASCENDJOB, **changes})
    text = str(error.value)
    for name, value in changes.items():
        assert f"{name}={value}" in text
        assert f"{name}={ASCENDJOB[name]}" in text
    assert "MS_SCHED_HOST=10.0.0.9" in text


@pytest.mark.parametrize("changes", [{"WORLD_SIZE": "2"}, {"RANK": "7"}, {"LOCAL_WORLD_SIZE": "1"}])
def test_another_set_of_torch_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(PlanError, match="another cluster"):
        platform_set(plan(), 1, {**TORCH_JOB, **changes})


def test_ranks_meet_where_the_platform_says(jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    fitting = {"MS_LOCAL_WORKER": "2", "MS_WORKER_NUM": "2", "MS_NODE_RANK": "0"}
    for name, value in {**ASCENDJOB, **fitting}.items():
        monkeypatch.setenv(name, value)
    view = jobs.run(program=[sys.executable, "-c", SHOW], devices=2)
    assert view.state is State.SUCCEEDED, view.reason
    seen = {
        path.stem: json.loads(path.read_text())
        for path in (jobs.folder / "runs" / view.run_id / "eval").glob("*.json")
    }
    assert sorted(seen) == ["rank-0", "rank-1"]  # the platform runs the scheduler
    for rank in range(2):
        env = seen[f"rank-{rank}"]
        assert (env["MS_SCHED_HOST"], env["MS_SCHED_PORT"]) == ("10.0.0.9", "2222")
        assert (env["MS_ROLE"], env["MS_NODE_ID"], env["MS_WORKER_NUM"]) == ("MS_WORKER", str(rank), "2")


def test_a_run_in_another_cluster_fails_before_its_data_are_staged(
    jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ASCENDJOB.items():
        monkeypatch.setenv(name, value)
    view = jobs.run(program=[sys.executable, "-c", SHOW], devices=2)
    assert view.state is State.FAILED
    assert "MS_WORKER_NUM=8" in view.reason
    assert "MS_WORKER_NUM=2" in view.reason
    assert os.environ["MS_NODE_RANK"] == "1"
