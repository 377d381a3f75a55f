"""A job that is absent, has ended or changes meanwhile; and what else is missing, which is no absent job."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.backends.base import Handle
from launcher.backends.modelarts.backend import ModelArtsBackend
from launcher.backends.modelarts.client import Service
from launcher.backends.modelarts.errors import ServiceError
from launcher.backends.modelarts.login import Project
from launcher.plan.model import Plan
from tests.fakes.modelarts import FakeModelArts
from tests.fakes.modelarts_jobs import Job
from tests.fakes.modelarts_wire import Account
from tests.launcher.backends.modelarts.jobs import make, service_here
from tests.waiting import PATIENCE_S

ACCOUNT = Account("access-key-of-tests", "secret-key-of-tests", "project-1")
GONE = "00000000-0000-0000-0000-000000000000"
BARE = "refuse 404 -"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModelArts]:
    with service_here(ACCOUNT, tmp_path, monkeypatch) as fake:
        for name in ("PATIENCE_S", "GLANCE_S"):  # a busy machine answers late
            monkeypatch.setattr(f"launcher.backends.modelarts.backend.{name}", PATIENCE_S)
        monkeypatch.setattr("launcher.backends.modelarts.backend.PAUSE_S", 0.0)
        monkeypatch.setattr("launcher.backends.modelarts.wire.FIRST_PAUSE_S", 0.02)
        yield fake


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A plan with its run's folder on this disk."""
    plan = make(tmp_path)
    local = plan.store.model_copy(update={"url": (tmp_path / "runs" / plan.run_id).as_uri()})
    plan = plan.model_copy(update={"store": local})
    plan.store.open().put("plan.json", plan.model_dump_json().encode())
    return plan


def service(fake: FakeModelArts, patience_s: float = PATIENCE_S) -> Service:
    return Service(Project("cn-north-4", fake.endpoint, "project-1"), patience_s=patience_s)


def handle_of(job_id: str, name: str) -> Handle:
    data = {"id": job_id, "name": name, "created_ms": 1, "submitted_at": time.time() - 1000}
    return Handle(backend="modelarts", data={**data, "region": "cn-north-4", "project_id": "project-1"})


def alive(job_id: str, name: str) -> bool | None:
    return ModelArtsBackend().poll([handle_of(job_id, name)])[0].alive


# ---- absent


def test_absent_is_the_code_or_a_bare_404_of_a_job_that_no_list_has(fake: FakeModelArts, job: Job) -> None:
    edge = service(fake)
    assert edge.show(GONE) is None
    fake.faults.add("show", BARE)
    assert edge.show(GONE, "no-such-job") is None
    fake.faults.add("show", BARE)
    with pytest.raises(ServiceError, match="404"):  # a list has it
        edge.show(job.id, job.name)
    fake.faults.add("show", BARE)
    fake.faults.add("search", BARE)  # so the address is wrong
    with pytest.raises(ServiceError, match="404"):
        edge.show(job.id, job.name)


OTHERS = ["ModelArts.2786", "ModelArts.2836", "ModelArts.2890", "APIGW.0101"]


@pytest.mark.parametrize("code", OTHERS)
def test_another_404_never_ends_a_run(fake: FakeModelArts, job: Job, code: str) -> None:
    """A project that does not match, an address or a pool that is not there."""
    refuse = f"refuse 404 {code}"
    edge = service(fake)
    for route, call in (
        ("show", lambda: edge.show(job.id, job.name)),
        ("stop", lambda: edge.stop(job.id)),
        ("delete", lambda: edge.delete(job.id)),
    ):
        fake.faults.add(route, refuse)
        with pytest.raises(ServiceError) as caught:
            call()
        assert caught.value.code == code
        assert not caught.value.absent
        assert caught.value.hint
    fake.faults.add("show", refuse)
    assert alive(GONE, "gone") is None  # no list has it, and nothing proves that it is gone
    assert alive(GONE, "gone") is False
    assert job.phase == "Running"


def test_a_job_that_is_gone_is_stopped_and_deleted(fake: FakeModelArts) -> None:
    edge = service(fake)
    edge.stop(GONE)
    edge.delete(GONE)
    fake.faults.add("stop", BARE)
    fake.faults.add("delete", BARE)
    edge.stop(GONE)
    edge.delete(GONE)


# ---- ended and changed


def test_a_job_that_ends_while_it_is_stopped(fake: FakeModelArts, job: Job) -> None:
    fake.faults.add("stop", "ends")
    service(fake).stop(job.id)
    assert job.phase == "Completed"
    assert [name for name, _ in fake.service.requests] == ["stop", "show"]


def test_a_job_that_changes_is_asked_again(fake: FakeModelArts, job: Job) -> None:
    fake.faults.add("stop", *["refuse 409 ModelArts.2878"] * 2)
    service(fake).stop(job.id)
    assert job.phase == "Terminated"
    fake.faults.add("stop", *["refuse 409 ModelArts.2878"] * 500)
    job.phase = "Running"
    with pytest.raises(ServiceError, match="2878"):
        service(fake, 0.3).stop(job.id)


def test_what_the_service_shows_may_lag_behind_the_end(fake: FakeModelArts, job: Job) -> None:
    fake.faults.add("stop", "refuse 409 ModelArts.2796", "ends")
    service(fake).stop(job.id)
    assert job.phase == "Completed"
    fake.faults.add("stop", "refuse 409 ModelArts.2796")
    fake.faults.add("show", *["503"] * 100)
    service(fake, 0.2).stop(job.id)  # it can't be shown, so the refusal is believed


def test_a_job_that_lives_and_can_not_be_stopped_is_an_error(fake: FakeModelArts, job: Job) -> None:
    fake.faults.add("stop", *["refuse 409 ModelArts.2796"] * 500)
    with pytest.raises(ServiceError, match="2796"):
        service(fake, 0.2).stop(job.id)
    job.phase = "Abnormal"
    fake.faults.clear()
    fake.service.requests.clear()
    with pytest.raises(ServiceError, match="2796"):
        service(fake).stop(job.id)
    assert [name for name, _ in fake.service.requests] == ["stop", "show"]


RACES = {
    "it ends": ["ends"],
    "it changes": ["refuse 409 ModelArts.2878"],
    "it changes, then ends": ["refuse 409 ModelArts.2878", "ends"],
    "the answer is lost": ["lost"],
    "the service trips": ["broken"],
}


@pytest.mark.parametrize("race", RACES)
@pytest.mark.parametrize("action", ["cancel", "terminate", "resume"])
def test_whoever_ends_a_job_survives_the_race(
    fake: FakeModelArts, plan: Plan, race: str, action: str
) -> None:
    """A cancel of a job that waits, a second cancel, and a resume, which ends the job of the attempt before."""
    backend = ModelArtsBackend()
    handle = backend.submit(plan, 1)
    job = fake.cloud.get(handle.data["id"])
    job.phase = "Pending" if action == "cancel" else "Running"
    fake.faults.add("stop", *RACES[race])
    actions: dict[str, Callable[[], Any]] = {
        "cancel": lambda: backend.cancel(handle),
        "terminate": lambda: backend.terminate(handle),
        "resume": lambda: backend.submit(plan, 2),
    }
    actions[action]()
    assert job.phase in ("Completed", "Terminated")
    if action == "resume":
        assert [each.phase for each in fake.named(f"{plan.run_id}-a2")] == ["Creating"]


# ---- not ready


@pytest.mark.parametrize("code", ["2776", "2777", "2818", "2819", "2820"])
def test_what_is_not_ready_is_empty(fake: FakeModelArts, job: Job, code: str) -> None:
    status = 204 if code in ("2776", "2777") else 400
    fake.faults.add("logs", f"refuse {status} ModelArts.{code}")
    fake.faults.add("metrics", f"refuse {status} ModelArts.{code}")
    edge = service(fake)
    assert edge.log_page(job.id, "worker-0").lines == ()
    assert edge.metrics(job.id, "worker-0") == {}


def test_an_error_inside_a_good_status_is_an_error(
    fake: FakeModelArts, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"error_code": "ModelArts.2777", "error_msg": "not ready"}
    routes = [
        (n, m, p, (lambda *_, **__: (200, body)) if n in ("metrics", "stages") else h)
        for n, m, p, h in fake.service.routes
    ]
    monkeypatch.setattr(fake.service, "routes", routes)
    assert service(fake).metrics(job.id, "worker-0") == {}
    with pytest.raises(ServiceError, match=r"not ready .*2777"):
        service(fake).stages(job.id)
