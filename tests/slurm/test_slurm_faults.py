"""What happens to nodes and jobs of a cluster, and that a run goes on from its checkpoint, with nothing lost.

Most of the time of these stories is waiting, for Slurm to find out or to start again; so they happen all at once, each
on nodes of its own, and every test looks at how one of them ended.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest

from launcher.api import submit_points
from launcher.runs.index import RunEntry
from launcher.runs.view import RunView
from launcher.submission.resume import resume
from launcher.submission.sweeps import Axis, prepare_points
from tests.servers.faults import Answer, fault_proxy
from tests.slurm.cluster import Cluster, processes_of
from tests.slurm.jobs import SlurmJobs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
Story = Callable[[SlurmJobs], RunView]


def total(steps: int) -> float:
    """The result of the counter program when every step was counted once."""
    return steps * (steps + 1) / 2 / 1000


HOLD = {"HOLD_AT": "10"}
"""The first attempt waits for what happens to it, so that it can't end before on a busy machine."""


def held_until_released(jobs: SlurmJobs, name: str) -> tuple[Path, dict[str, str]]:
    """A file, and the variables with which the first attempt waits for it after step 10.

    The ranks don't wait for one another: without this one may fail before the other has saved anything.
    """
    release = jobs.folder / f"{name}.release"
    return release, {**HOLD, "RELEASE": str(release)}


def begun(jobs: SlurmJobs, name: str, *, steps: int = 40, nodes: int = 2, **more: object) -> RunEntry:
    """A run that has a checkpoint in the store; its first attempt ends only when something ends it."""
    env = {"STEPS": str(steps), "STEP_S": "0.5", **HOLD}
    entry = jobs.submit(name, env=env, nodes=nodes, **more)
    jobs.safe(entry, 4)
    return entry


def a_node_fails(jobs: SlurmJobs) -> RunView:
    entry = begun(jobs, "node-fails")
    host = jobs.cluster.hosts(jobs.number(entry))[0]
    jobs.cluster.node("fail", host)
    view = jobs.end(entry)
    assert host not in [node.host for node in view.nodes]
    return view


def a_node_fails_while_results_go_up(jobs: SlurmJobs) -> RunView:
    gone = threading.Event()

    def held(_answer: Answer) -> None:
        gone.wait(1000.0)

    with fault_proxy(jobs.endpoint, jobs.cluster.address) as faults:
        faults.add(held, method="PUT", path="eval/last.json")
        release, hold = held_until_released(jobs, "node-fails-late")
        env = {"STEPS": "40", "STEP_S": "0.1", **hold}
        entry = jobs.submit("node-fails-late", env=env, nodes=1, output={"endpoint": faults.endpoint})
        jobs.safe(entry, 4)
        release.touch()
        Cluster.until(lambda: faults.count("PUT", "eval/last.json"), "it uploads")
        jobs.cluster.node("fail", jobs.cluster.hosts(jobs.number(entry))[0])
        gone.set()
        view = jobs.end(entry)
        assert "eval/last.json" in jobs.names(entry)
    return view


def a_node_is_cut_off_and_comes_back(jobs: SlurmJobs) -> RunView:
    entry = begun(jobs, "node-is-cut", steps=60)
    host = jobs.cluster.hosts(jobs.number(entry))[0]
    jobs.cluster.node("cut", host)
    jobs.training(entry, 5, attempt=2)
    zombies = [
        pid for pid in map(int, jobs.cluster.node("pids", host).split()) if pid in processes_of(entry.run_id)
    ]
    assert zombies, "the old attempt lives on where nobody can reach it"
    jobs.cluster.node("heal", host)
    view = jobs.end(entry)
    Cluster.until(lambda: not set(zombies) & set(processes_of(entry.run_id)), "the zombies are gone", 600.0)
    assert view.state == "SUCCEEDED", f"{view.reason}\n{view.attempts}\n{jobs.log(entry)}"
    assert json.loads(jobs.store(entry).read("state.json"))["state"] == "SUCCEEDED", (
        "the old attempt wrote over it"
    )
    return view


def an_administrator_requeues_it(jobs: SlurmJobs) -> RunView:
    entry = begun(jobs, "requeued")
    jobs.cluster.call("scontrol", "requeue", jobs.number(entry))
    seen = jobs.until(entry, lambda view: view.state == "PENDING", "it waits again")
    assert "is started again in a moment" in seen.detail
    return jobs.end(entry)


def command_of(pid: str) -> bytes:
    """Empty for a process that has ended meanwhile."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def a_node_program_is_killed(jobs: SlurmJobs) -> RunView:
    entry = begun(jobs, "killed")
    victim = next(node for node in jobs.view(entry).nodes if node.node == 1)
    inside = jobs.cluster.node("pids", victim.host).split()
    programs = [pid for pid in inside if b"launcher.node\0" in command_of(pid)]
    assert len(programs) == 1
    os.kill(int(programs[0]), signal.SIGKILL)
    return jobs.end(entry)


LIMITS = {"time": "1h", "stop_before": "75s"}


def bring_the_limit_near(jobs: SlurmJobs, entry: RunEntry) -> None:
    """Once there is a checkpoint, however long that took: in one or two minutes the time is over, and Slurm says so before."""
    jobs.safe(entry, 4)
    job = jobs.cluster.job(jobs.number(entry))
    minutes = int((time.time() - datetime.fromisoformat(job["StartTime"]).timestamp()) // 60) + 2
    jobs.cluster.call("scontrol", "update", f"JobId={job['JobId']}", f"TimeLimit={minutes}")


def the_time_limit_is_near(jobs: SlurmJobs) -> RunView:
    """Of both runs of a sweep, which are tasks of one array."""
    env = {"STEP_S": "0.5", "STEPS": "120", **HOLD}
    file = jobs.file("time-limit", env=env, slurm=LIMITS)
    runs = submit_points(prepare_points(file, [Axis("env.SEED", ("'1'", "'2'"))]), "limited")
    jobs.entries += [run.entry for run in runs]
    for run in runs:
        bring_the_limit_near(jobs, run.entry)
    for run in runs:
        jobs.until(run.entry, lambda view: view.state == "PENDING" or view.attempt > 1, "it is queued again")
        jobs.cluster.call("scontrol", "update", f"JobId={jobs.number(run.entry)}", "TimeLimit=60")
    first, second = (jobs.end(run.entry) for run in runs)
    assert [view.state for view in (first, second)] == ["SUCCEEDED"] * 2, f"{first.reason}\n{second.reason}"
    assert second.results == first.results
    assert "the time limit of the allocation is near" in first.attempts[0].outcome
    return first


def the_time_limit_ends_it(jobs: SlurmJobs) -> RunView:
    """Where the job is not queued again, somebody has to resume it."""
    limits = {**LIMITS, "requeue": False}
    env = {"STEP_S": "0.5", "STEPS": "120", **HOLD}
    entry = jobs.submit("ended-by-limit", nodes=1, env=env, slurm=limits)
    bring_the_limit_near(jobs, entry)
    view = jobs.end(entry)
    assert (view.state, jobs.cluster.job(jobs.number(entry))["ExitCode"]) == ("FAILED", "75:0")
    assert "the time limit of the allocation is near" in view.reason
    again = resume(jobs.index.find(entry.run_id), jobs.index)
    jobs.entries.append(again)
    return jobs.end(again)


def a_more_urgent_job_takes_its_node(jobs: SlurmJobs) -> RunView:
    entry = begun(jobs, "preempted", nodes=1)
    host = jobs.cluster.hosts(jobs.number(entry))[0]
    jobs.cluster.call(
        "sbatch", "-p", "urgent", "-w", host, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 3"
    )
    return jobs.end(entry)


def a_bad_node_is_left_out(jobs: SlurmJobs) -> RunView:
    release, hold = held_until_released(jobs, "bad-node")
    env = {"STEPS": "20", "STEP_S": "0.3", "FAIL_AT": "11:1:exit 9", **hold}
    retry = {"max_restarts": 1, "on": [{"exit_code": 9, "do": "restart", "exclude_node": True}]}
    entry = jobs.submit("bad-node", env=env, retry=retry)
    jobs.safe(entry, 4)
    release.touch()
    view = jobs.end(entry)
    first = view.attempts[0].first_failure
    assert first is not None
    assert jobs.cluster.job(jobs.number(entry))["ExcNodeList"] == first.host
    return view


STORIES: dict[Story, int] = {
    a_node_fails: 40,
    a_node_fails_while_results_go_up: 40,
    a_node_is_cut_off_and_comes_back: 60,
    an_administrator_requeues_it: 40,
    a_node_program_is_killed: 40,
    the_time_limit_is_near: 120,
    the_time_limit_ends_it: 120,
    a_more_urgent_job_takes_its_node: 40,
    a_bad_node_is_left_out: 20,
}


@pytest.fixture(scope="module")
def stories(jobs: SlurmJobs, request: pytest.FixtureRequest) -> Iterator[dict[Story, Future[RunView]]]:
    """All stories that were asked for, under way. Nodes that were harmed take jobs again at the end."""
    asked = [item for item in request.session.items if item.path == request.path]
    stories = [item.callspec.params["story"] for item in asked if hasattr(item, "callspec")]
    with ThreadPoolExecutor(len(STORIES)) as pool:
        yield {story: pool.submit(story, jobs) for story in stories}
    for k in range(1, int(jobs.cluster.settings["nodes"]) + 1):
        jobs.cluster.bring_back(f"node{k}")


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_a_run_goes_on_after(story: Story, stories: dict[Story, Future[RunView]], jobs: SlurmJobs) -> None:
    view = stories[story].result(1700)
    assert view.state == "SUCCEEDED", view.reason
    assert view.attempt >= 2, view.attempts
    assert view.results == {"last": pytest.approx(total(STORIES[story]))}
    resumed = [attempt.resumed_step or 0 for attempt in view.attempts]
    assert resumed == sorted(resumed), "each goes on where the one before was, or later"
    assert all(resumed[1:]), f"from the beginning: {resumed}"
    Cluster.until(lambda: not processes_of(view.run_id), f"{view.run_id} left processes")
