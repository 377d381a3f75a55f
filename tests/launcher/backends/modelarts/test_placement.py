"""Which machines of a pool a job gets: by its job file, by the queue, and past those that failed an earlier attempt."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.backends.modelarts.backend import ModelArtsBackend
from launcher.backends.modelarts.client import tags_body
from launcher.backends.modelarts.request import job_request
from launcher.errors import BackendError
from launcher.jobfile.problems import JobFileError
from launcher.plan.model import Plan
from launcher.runfolder import paths
from launcher.runfolder.states import Attempt, FirstFailure, RunState, State
from launcher.runs.index import RunEntry
from launcher.submission.resume import resume
from tests.fakes.modelarts import FakeModelArts
from tests.fakes.modelarts_hosts import HOST, Hosts
from tests.fakes.modelarts_jobs import Job
from tests.fakes.modelarts_wire import Account, round_trip
from tests.launcher.backends.modelarts.jobs import IMAGE, make, service_here
from tests.launcher.backends.modelarts.site import TOTAL, Site
from tests.waiting import wait_until

ACCOUNT = Account("access-key-of-tests", "secret-key-of-tests", "project-1")
POOL = {"pool_id": "pool-1", "flavor": None}
"""Of CPU machines."""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModelArts]:
    with service_here(ACCOUNT, tmp_path, monkeypatch) as fake:
        yield fake


def plan_of(folder: Path, **options: Any) -> Plan:
    """A plan with its run's folder on this disk."""
    plan = make(folder, modelarts={**IMAGE, **options})
    local = plan.store.model_copy(update={"url": (folder / "runs" / plan.run_id).as_uri()})
    plan = plan.model_copy(update={"store": local})
    plan.store.open().put(paths.PLAN, plan.model_dump_json().encode())
    return plan


def policy_of(plan: Plan, *avoid: str) -> Any:
    body = job_request(plan, 1, avoid=avoid).body()
    assert round_trip("Job", body) == body
    return body["spec"].get("schedule_policy")


# ---- what a job file says


def test_labels_of_machines_become_an_affinity(tmp_path: Path) -> None:
    affinity = {
        "require": {"os.modelarts.node/nodepoolname": ["fast", "new"]},
        "exclude": {HOST: ["192.0.2.7"], "under-repair": []},
        "prefer": {"quiet": []},
    }
    assert policy_of(plan_of(tmp_path, node_affinity=affinity)) == {
        "required_affinity": {
            "node_affinity": {
                "nodeSelectorTerms": [
                    {
                        "matchExpressions": [
                            {
                                "key": "os.modelarts.node/nodepoolname",
                                "operator": "In",
                                "values": ["fast", "new"],
                            },
                            {"key": HOST, "operator": "NotIn", "values": ["192.0.2.7"]},
                            {"key": "under-repair", "operator": "DoesNotExist"},
                        ]
                    }
                ]
            }
        },
        "preferred_affinity": {
            "node_affinity": [
                {
                    "weight": 50,
                    "preference": {"matchExpressions": [{"key": "quiet", "operator": "Exists"}]},
                }
            ]
        },
    }


def test_machines_that_stand_together_are_chosen_by_level_and_label(tmp_path: Path) -> None:
    options = {
        "affinity": "networkTopology",
        "affinity_group_size": 2,
        "affinity_job_level": "cluster",
        "affinity_group_level": "slice",
        "node_affinity": {"require": {"quiet": ["yes"]}},
    }
    required = policy_of(plan_of(tmp_path, **options))["required_affinity"]
    assert {key: value for key, value in required.items() if key != "node_affinity"} == {
        "affinity_type": "networkTopology",
        "job_level": "cluster",
        "affinity_group_size": 2,
        "affinity_group_level": "slice",
    }
    assert len(required["node_affinity"]["nodeSelectorTerms"]) == 1


def test_no_affinity_is_sent_where_none_is_asked_for(tmp_path: Path) -> None:
    assert policy_of(plan_of(tmp_path)) is None


def test_how_the_output_is_kept(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, log_export={"version": "v1", "rotation": True})
    spec = job_request(plan, 1).body()["spec"]
    assert spec["log_export_config"] == {"version": "v1", "rotation_enabled": True}
    assert spec["log_export_path"]["obs_url"].endswith("/platform-logs/")


def test_there_is_no_limit_for_idle_logins(tmp_path: Path) -> None:
    """Neither a field of the job file, nor one of the service."""
    with pytest.raises(JobFileError, match="inactive_after"):
        plan_of(tmp_path, ssh={"key_pairs": ["my-key"], "inactive_after": "2h"})
    with pytest.raises(ValueError, match="has no"):
        round_trip("Job", {"endpoints": {"ssh": {"inactive_after": "2h"}}})


# ---- tags


def test_tags_follow_the_creation_of_a_job(
    fake: FakeModelArts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tags = {"team": "vision", "cost centre": "a/b"}
    assert round_trip("CreateTmsTagsRequest", tags_body(tags)) == tags_body(tags)
    plan = plan_of(tmp_path, tags=tags)
    handle = ModelArtsBackend().submit(plan, 1)
    assert fake.cloud.jobs[handle.data["id"]].tags == tags
    fake.faults.add("tags", "refuse 403 ModelArts.0108")
    handle = ModelArtsBackend().submit(plan, 2)
    assert fake.cloud.jobs[handle.data["id"]].tags == {}
    assert "has no tags" in caplog.text


@pytest.mark.parametrize("tags", [{"_sys_x": "1"}, {" x": "1"}, {"x": "a,b"}, {"k" * 129: ""}, {"": "x"}])
def test_tags_that_the_service_refuses(tmp_path: Path, tags: dict[str, str]) -> None:
    with pytest.raises(JobFileError, match=r"modelarts\.tags"):
        plan_of(tmp_path, tags=tags)


# ---- workspaces


@pytest.mark.system
def test_a_job_is_made_and_found_in_its_workspace(fake: FakeModelArts, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, workspace="ws-1")
    with pytest.raises(BackendError, match=r"ModelArts\.0102"):
        ModelArtsBackend().submit(plan, 1)
    fake.cloud.workspaces.add("ws-1")
    handle = ModelArtsBackend().submit(plan, 1)
    assert ModelArtsBackend().submit(plan, 1).data["id"] == handle.data["id"]
    assert len(fake.cloud.jobs) == 1
    other = plan_of(tmp_path)
    assert ModelArtsBackend().submit(other, 1).data["id"] != handle.data["id"]


# ---- machines that failed an attempt


def after_a_fault(fake: FakeModelArts, plan: Plan, recovery: dict[str, str]) -> Job:
    """The job of attempt 1 has ended. Its machines were chosen twice."""
    handle = ModelArtsBackend().submit(plan, 1)
    job = fake.cloud.jobs[handle.data["id"]]
    job.phase, job.places = "Failed", [["10.0.0.1", "10.0.0.2"], ["10.0.0.3", "10.0.0.2"]]
    first, second = {"start_type": "init_or_rescheduled"}, {"start_type": "init_or_rescheduled"}
    job.records = [{**first, "recover_records": [recovery]}, {"start_type": "restarted"}, second]
    return job


def avoided(fake: FakeModelArts, plan: Plan) -> list[str]:
    """Machines that the job of attempt 2 takes only if no others are free."""
    handle = ModelArtsBackend().submit(plan, 2)
    body = fake.cloud.jobs[handle.data["id"]].body
    assert round_trip("Job", body) == body
    terms = body["spec"].get("schedule_policy", {}).get("preferred_affinity", {}).get("node_affinity", [])
    for term in terms:
        (requirement,) = term["preference"]["matchExpressions"]
        assert (term["weight"], requirement["key"], requirement["operator"]) == (100, HOST, "NotIn")
    return [address for term in terms for address in term["preference"]["matchExpressions"][0]["values"]]


@pytest.mark.parametrize(
    ("fault", "task", "machines"),
    [
        ("node_fault", "worker-0", ["10.0.0.1"]),
        ("chip_fault", "worker-1", ["10.0.0.2"]),
        ("job_subhealth", "worker-0", ["10.0.0.1"]),
        ("job_failed", "worker-0", []),
        ("job_hanged", "worker-0", []),
        ("node_fault", "worker-7", []),
    ],
)
def test_a_machine_that_the_platform_blames_is_avoided(
    fake: FakeModelArts, tmp_path: Path, fault: str, task: str, machines: list[str]
) -> None:
    plan = plan_of(tmp_path)
    after_a_fault(fake, plan, {"fault_scenario": fault, "related_task": task})
    assert avoided(fake, plan) == machines


def test_a_machine_that_the_run_leaves_out_is_avoided(fake: FakeModelArts, tmp_path: Path) -> None:
    """By a rule of the job file (`exclude_node`), or of the table of causes. It is one of the newest schedule."""
    plan = plan_of(tmp_path)
    after_a_fault(fake, plan, {"fault_scenario": "job_failed", "related_task": "worker-1"})
    now = time.time()
    failure = FirstFailure(node=0, host="pod-0", rule="hbm-ecc")
    attempt = Attempt(attempt=1, started_at=now, first_failure=failure)
    state = RunState(
        run_id=plan.run_id,
        name="tnt",
        backend="modelarts",
        state=State.FAILED,
        submitted_at=now,
        updated_at=now,
        attempts=(attempt,),
        exclude_hosts=("pod-0",),
        url=plan.store.url,
    )
    plan.store.open().put(paths.STATE, state.model_dump_json().encode())
    assert avoided(fake, plan) == ["10.0.0.3"]


@pytest.mark.parametrize("route", ["show", "tasks"])
def test_a_job_is_made_also_when_its_machines_are_not_told(
    fake: FakeModelArts, tmp_path: Path, caplog: pytest.LogCaptureFixture, route: str
) -> None:
    plan = plan_of(tmp_path)
    after_a_fault(fake, plan, {"fault_scenario": "node_fault", "related_task": "worker-0"})
    fake.faults.add(route, "refuse 403 ModelArts.0108")
    assert avoided(fake, plan) == []
    assert "none is avoided" in caplog.text


@pytest.mark.slow
@pytest.mark.system
def test_a_resumed_run_gets_another_machine_than_the_one_that_it_lost(site: Site) -> None:
    site.fake.cloud.hosts = Hosts(2)
    entry = site.submit(resources={"nodes": 1}, modelarts=POOL, env={"HOLD_AT": "2"})
    site.until(entry, lambda view: (view.progress.step or 0) >= 2)
    site.fake.cloud.lose(site.job(entry), 0)
    assert site.end(entry).state == "FAILED"
    resumed = resume(site.index.find(entry.run_id), site.index)
    assert site.end(resumed).state == "SUCCEEDED", site.console(entry)
    assert [site.job(entry, attempt).places for attempt in (1, 2)] == [[["10.0.0.1"]], [["10.0.0.2"]]]
    assert site.result(entry) == TOTAL


def test_where_no_other_machine_is_free_the_avoided_one_is_taken() -> None:
    wish = {"key": HOST, "operator": "NotIn", "values": ["10.0.0.1"]}
    policy = {
        "preferred_affinity": {"node_affinity": [{"weight": 100, "preference": {"matchExpressions": [wish]}}]}
    }
    assert Hosts(3).place("a", 2, policy) == ["10.0.0.2", "10.0.0.3"]
    assert Hosts(1).place("a", 1, policy) == ["10.0.0.1"]
    terms = {"nodeSelectorTerms": [{"matchExpressions": [wish]}]}
    assert Hosts(1).place("a", 1, {"required_affinity": {"node_affinity": terms}}) == []


# ---- a pool that is full


@pytest.mark.system
def test_a_job_waits_while_the_pool_is_full_and_a_more_urgent_one_goes_first(site: Site) -> None:
    site.fake.cloud.hosts = Hosts(1)
    site.fake.cloud.hosts.place("a job of somebody else", 1, {})
    second = site.submit(resources={"nodes": 1}, modelarts=POOL)
    view = site.until(second, lambda view: "number 1 in the queue" in view.platform)
    assert view.state == "PENDING"
    first = site.submit(resources={"nodes": 1}, modelarts={**POOL, "priority": 2})
    site.until(first, lambda view: "number 1 in the queue" in view.platform)
    site.fake.cloud.hosts.leave("a job of somebody else")
    for entry in (first, second):
        assert site.end(entry).state == "SUCCEEDED", site.console(entry)
    begun = [site.job(entry).records[0]["start_at"] for entry in (first, second)]
    assert begun == sorted(begun)


def again(site: Site, entry: RunEntry) -> bool:
    """Whether the platform has started a container of the run again, alone."""
    return any("Back-off restarting" in event["message"] for event in site.job(entry).events)


@pytest.mark.system
@pytest.mark.slow  # a machine that fell silent counts as lost after two minutes
@pytest.mark.parametrize("node", [0, 1])
def test_one_container_that_starts_again_in_place_while_the_other_goes_on(
    site: Site, tmp_path: Path, node: int
) -> None:
    """Nobody waits for ever: the other machine misses it, the platform starts both again, and they go on from a checkpoint."""
    restarts = {"jobs": 3, "unconditional": True}
    entry = site.submit(
        modelarts={"restarts": restarts}, env={"HOLD_AT": "1", "RELEASE": str(tmp_path / "release")}
    )
    site.until(entry, lambda view: (view.progress.step or 0) >= 1)
    site.fake.cloud.crash_alone(site.job(entry), node)
    wait_until(lambda: again(site, entry), "its container starts again")
    (tmp_path / "release").touch()
    view = site.end(entry)
    assert view.state == "SUCCEEDED", f"{view.reason}\n{site.console(entry)}"
    assert view.attempt > 1
    assert site.result(entry) == TOTAL
    assert again(site, entry)
