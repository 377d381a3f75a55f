"""What a starter does to the objects of a real API server, round by round; tests set the states of jobs as a controller would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from launcher.backends import get_backend
from launcher.backends.base import Handle, Life
from launcher.backends.kubernetes import backend as module
from launcher.backends.kubernetes import seen
from launcher.backends.kubernetes.starter import BAD, GOOD, Api, Starter, outcome
from launcher.errors import BackendError
from launcher.plan.model import Plan
from tests.launcher.backends.kubernetes.jobs import make
from tests.servers.kube import KubeServer
from tests.waiting import wait_until

JOBS = "/apis/batch.volcano.sh/v1alpha1/namespaces/vision/jobs"
MAPS = "/api/v1/namespaces/vision/configmaps"


@pytest.fixture
def api(here: KubeServer, tmp_path: Path) -> Api:
    """The server, with an administrator's token in place of the pod's."""
    folder = tmp_path / "account"
    folder.mkdir()
    (folder / "token").write_text(here.token)
    (folder / "ca.crt").write_text(here.kubeconfig.with_name("cert.pem").read_text())
    host, port = here.address.removeprefix("https://").split(":")
    return Api(folder, host, port)


def plan_of(folder: Path, number: int = 0, **kubernetes: Any) -> Plan:
    place = folder / str(number)
    place.mkdir(exist_ok=True)
    volume = {"host_path": str(place), "mount": str(place)}
    options = {"volumes": [volume], "starter_account": "starter", **kubernetes}
    return make(place, output={"url": str(place / "runs")}, kubernetes=options)


def follower(folder: Path, first: Plan, handle: Handle) -> Plan:
    job = get_backend("kubernetes").job_id(handle)
    return plan_of(folder, 9).model_copy(update={"after_runs": (first.run_id,), "after_jobs": (job,)})


def starter_of(api: Api, handles: list[Handle], most: int = 0) -> Starter:
    return Starter(api, MAPS, f"ascend-launcher/line={handles[0].data['name']}", most)


def end(kube: KubeServer, handle: Handle, word: str) -> None:
    kube.call("PATCH", f"{JOBS}/{handle.data['name']}/status", {"status": {"state": {"phase": word}}})


def life(handle: Handle) -> Life:
    return module._ask_for([handle])[0]


def found(kube: KubeServer, path: str) -> dict[str, Any] | None:
    try:
        return kube.call("GET", path)
    except HTTPError as error:
        assert error.code == 404
        return None


def test_a_run_begins_after_the_one_that_it_follows(api: Api, here: KubeServer, tmp_path: Path) -> None:
    first = plan_of(tmp_path)
    before = get_backend("kubernetes").submit(first, 1)
    handle = get_backend("kubernetes").submit(follower(tmp_path, first, before), 1)
    starter, path = starter_of(api, [handle]), f"{JOBS}/{handle.data['name']}"
    assert starter.look()
    assert found(here, path) is None
    assert f"waits for {first.run_id} to succeed" in life(handle).detail
    assert (life(handle).alive, life(handle).waiting) == (True, True)
    end(here, before, "Completed")
    assert starter.look()
    job = found(here, path)
    assert job is not None
    wait = found(here, f"{MAPS}/{handle.data['name']}-waits")
    assert wait is not None
    assert wait["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    table = found(here, f"{MAPS}/rings-config-{handle.data['name']}")
    assert table is not None
    assert table["metadata"]["ownerReferences"][0]["uid"] == wait["metadata"]["uid"]
    assert not starter.look()
    assert "waits for the scheduler" in life(handle).detail


@pytest.mark.parametrize(
    ("word", "reason"),
    [("Aborted", "has ended Aborted"), ("", "was deleted"), ("refused", "was never started")],
)
def test_a_run_that_can_not_begin_any_more_says_why(
    word: str, reason: str, api: Api, here: KubeServer, tmp_path: Path
) -> None:
    first = plan_of(tmp_path)
    before = get_backend("kubernetes").submit(first, 1)
    handle = get_backend("kubernetes").submit(follower(tmp_path, first, before), 1)
    if word == "Aborted":
        end(here, before, word)
    else:
        here.call("DELETE", f"{JOBS}/{before.data['name']}")
    if word == "refused":
        wait = {"metadata": {"name": f"{before.data['name']}-waits"}, "data": {"state": "refused"}}
        here.call("POST", MAPS, wait)
    assert starter_of(api, [handle]).look()
    seen_life = life(handle)
    assert seen_life.alive is False
    assert seen_life.cause == f"was never started: it was to follow {first.run_id}, which {reason}"
    assert not starter_of(api, [handle]).look(), "nothing waits any more"


def test_so_many_jobs_at_a_time_also_for_a_starter_that_was_interrupted(
    api: Api, here: KubeServer, tmp_path: Path
) -> None:
    plans = [plan_of(tmp_path, number, max_parallel=2) for number in range(4)]
    handles = get_backend("kubernetes").submit_all(plans)  # type: ignore[attr-defined]
    starter = starter_of(api, handles, 2)

    def there() -> list[bool]:
        return [found(here, f"{JOBS}/{handle.data['name']}") is not None for handle in handles]

    wait = found(here, f"{MAPS}/{handles[0].data['name']}-waits")
    assert wait is not None
    here.call("POST", JOBS, json.loads(wait["data"]["job"]))  # and then it was interrupted
    assert starter.look()
    assert there() == [True, True, False, False]
    assert starter.look()
    assert there() == [True, True, False, False]
    assert plans[0].run_id in life(handles[3]).detail
    end(here, handles[1], "Failed")
    assert starter.look()
    assert there() == [True, True, True, False]
    here.call("DELETE", f"{JOBS}/{handles[0].data['name']}")
    assert starter.look()
    assert there() == [False, True, True, True]


def test_a_run_that_is_cancelled_while_it_is_started_has_no_job(
    api: Api, here: KubeServer, tmp_path: Path
) -> None:
    handles = get_backend("kubernetes").submit_all(  # type: ignore[attr-defined]
        [plan_of(tmp_path, number, max_parallel=1) for number in range(2)]
    )
    whole_call = api.call

    def call(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if method == "POST":
            module.KubernetesBackend().terminate(handles[0])
        return whole_call(method, path, body)

    api.call = call  # type: ignore[method-assign]
    starter_of(api, handles, 1).look()
    job = found(here, f"{JOBS}/{handles[0].data['name']}")
    assert job is None or job["metadata"]["deletionTimestamp"]


def test_a_job_that_the_server_refuses_for_now_is_tried_again(
    api: Api, here: KubeServer, tmp_path: Path
) -> None:
    handles = get_backend("kubernetes").submit_all(  # type: ignore[attr-defined]
        [plan_of(tmp_path, number, max_parallel=1) for number in range(2)]
    )
    whole_call, refusals = api.call, [403]

    def call(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if method == "POST" and refusals:
            raise HTTPError(path, refusals.pop(), "exceeded quota", {}, None)  # type: ignore[arg-type]
        return whole_call(method, path, body)

    api.call = call  # type: ignore[method-assign]
    starter = starter_of(api, handles, 1)
    starter.look()
    assert "was refused, and is tried again: HTTP 403" in life(handles[0]).detail
    assert found(here, f"{JOBS}/{handles[1].data['name']}"), "the next one takes its place"
    end(here, handles[1], "Completed")
    starter.look()
    assert found(here, f"{JOBS}/{handles[0].data['name']}")


def test_a_job_that_the_server_never_takes_is_given_up(api: Api, here: KubeServer, tmp_path: Path) -> None:
    handles = get_backend("kubernetes").submit_all(  # type: ignore[attr-defined]
        [plan_of(tmp_path, number, max_parallel=1) for number in range(2)]
    )
    path = f"{MAPS}/{handles[0].data['name']}-waits"
    wait = found(here, path)
    assert wait is not None
    job = json.loads(wait["data"]["job"])
    job["metadata"]["labels"]["team"] = "no label's value!"
    here.call("PATCH", path, {"data": {"job": json.dumps(job)}})
    starter_of(api, handles, 1).look()
    assert "was never started: the server refuses its job" in life(handles[0]).cause
    assert "no label's value!" in life(handles[0]).cause
    assert found(here, f"{JOBS}/{handles[1].data['name']}"), "the others are not affected"


def test_nothing_is_left_of_a_submission_that_is_refused(here: KubeServer, tmp_path: Path) -> None:
    first = plan_of(tmp_path)
    handle = Handle(backend="kubernetes", data={"kind": "vcjob", "namespace": "vision", "name": "gone-a1"})
    plan = follower(tmp_path, first, handle)
    with pytest.raises(BackendError, match="no run can follow it"):
        get_backend("kubernetes").submit(plan, 1)
    plans = [plan_of(tmp_path, 1, max_parallel=1), plan_of(tmp_path, 2, max_parallel=2)]
    with pytest.raises(BackendError, match="differ in max_parallel"):
        get_backend("kubernetes").submit_all(plans)  # type: ignore[attr-defined]
    runs = {f"{each.run_id}-a1-waits" for each in (plan, *plans)}
    assert not runs & {each["metadata"]["name"] for each in here.call("GET", MAPS)["items"]}


def test_deleting_the_runs_of_a_line_deletes_its_starter(here: KubeServer, tmp_path: Path) -> None:
    plans = [plan_of(tmp_path, number, max_parallel=1) for number in range(2)]
    handles = get_backend("kubernetes").submit_all(plans)  # type: ignore[attr-defined]
    path = f"/apis/batch/v1/namespaces/vision/jobs/{handles[0].data['name']}-starter"
    assert found(here, path)
    again = get_backend("kubernetes").find(plans[1], trusted=True)  # type: ignore[attr-defined]
    assert again is not None
    assert again.data | {"submitted_at": 0} == handles[1].data | {"submitted_at": 0}
    for handle in (handles[0], again):
        get_backend("kubernetes").cancel(handle)
    wait_until(lambda: not found(here, path), "the starter is gone, since no run needs it")
    assert life(handles[0]).alive is False


def test_a_line_without_a_starter_never_starts(here: KubeServer, tmp_path: Path) -> None:
    plans = [plan_of(tmp_path, number, max_parallel=1) for number in range(2)]
    handles = get_backend("kubernetes").submit_all(plans)  # type: ignore[attr-defined]
    assert f"waits for its starter {handles[0].data['name']}-starter" in life(handles[1]).detail
    here.call("DELETE", f"/apis/batch/v1/namespaces/vision/jobs/{handles[0].data['name']}-starter")
    wait_until(lambda: "will never start" in life(handles[1]).cause, "its starter is gone")


def test_the_words_of_ends_are_those_that_the_launcher_knows() -> None:
    ends = {
        word
        for table in (seen._VOLCANO, seen._CONDITIONS)
        for word, phase in table.items()
        if phase == "ended"
    }
    assert ends == {*GOOD, *BAD}
    assert outcome({"status": {"conditions": [{"type": "Failed", "status": "False"}]}}) == "open"
    assert outcome({"status": {"state": {"phase": "Completed"}}}) == "good"
    assert outcome({}) == "open"
