"""The edge to the service: one job per creation whatever goes wrong, retries, pages, phases, errors in words."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.backends.agree import outdated
from launcher.backends.modelarts import wire
from launcher.backends.modelarts.backend import ModelArtsBackend
from launcher.backends.modelarts.client import Service, UnclearCreation
from launcher.backends.modelarts.codes import meaning_of
from launcher.backends.modelarts.errors import ServiceError
from launcher.backends.modelarts.jobs import metrics_words, stage_words
from launcher.backends.modelarts.login import Project
from launcher.backends.modelarts.poll import lookup
from launcher.backends.modelarts.request import job_request
from tests.fakes.modelarts import FakeModelArts
from tests.fakes.modelarts_jobs import Job
from tests.fakes.modelarts_wire import Account
from tests.launcher.backends.modelarts.jobs import PULL, handle_of, make, service_here
from tests.seeds import campaign, rng_of
from tests.waiting import PATIENCE_S

ACCOUNT = Account("access-key-of-tests", "secret-key-of-tests", "project-1", token="token-of-tests")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModelArts]:
    with service_here(ACCOUNT, tmp_path, monkeypatch) as fake:
        yield fake


def service(fake: FakeModelArts, patience_s: float = PATIENCE_S, answer_s: float = PATIENCE_S) -> Service:
    project = Project("cn-north-4", fake.endpoint, "project-1")
    return Service(project, patience_s=patience_s, answer_s=answer_s, sleep=lambda s: time.sleep(s / 20))


@pytest.fixture
def body(tmp_path: Path) -> dict[str, Any]:
    return job_request(make(tmp_path), 1).body()


def named(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {**body, "metadata": {**body["metadata"], "name": name}}


def live(fake: FakeModelArts, name: str) -> list[Job]:
    return [job for job in fake.named(name) if job.phase != "Terminated"]


def test_a_job_is_made_shown_stopped_and_deleted(fake: FakeModelArts, body: dict[str, Any]) -> None:
    edge = service(fake)
    job = edge.create(body)
    assert (job.name, job.phase) == (body["metadata"]["name"], "Creating")
    assert edge.details(job.id) == job == edge.find(job.name)
    assert edge.find(job.name[:-1]) is None
    edge.stop(job.id)
    edge.stop(job.id)
    assert edge.details(job.id).phase == "Terminated"
    edge.delete(job.id)
    edge.delete(job.id)
    edge.stop(job.id)
    assert edge.find(job.name) is None
    assert fake.service.requests[0] == ("create", body)


WORDS = ("429", "500", "503", "html", "drop", "portal", "torn", "lost", "broken", "late 0.2", "slow 0.1")


@pytest.mark.random
@pytest.mark.parametrize("seed", campaign(8, 30))
def test_whatever_goes_wrong_one_job_is_made(fake: FakeModelArts, body: dict[str, Any], seed: int) -> None:
    dice = rng_of(f"service {seed}")
    fake.cloud.unique_names = dice.random() < 0.7
    words = [dice.choice(WORDS) for _ in range(dice.randint(1, 5))]
    if not fake.cloud.unique_names:  # a service that takes a name twice must at least show what it has
        words = [word for word in words if not word.startswith("late")]
    fake.faults.add("create", *words)
    fake.faults.add("search", *[dice.choice(WORDS[:7]) for _ in range(dice.randint(0, 3))])
    fake.faults.add("show", *[dice.choice(WORDS[:7]) for _ in range(dice.randint(0, 3))])
    fake.faults.add("stop", *[dice.choice(WORDS[:8]) for _ in range(dice.randint(0, 2))])
    edge = service(fake)
    job = edge.create(body)
    fake.service.settle()
    (only,) = live(fake, body["metadata"]["name"])
    assert only.id == job.id
    assert edge.details(job.id).id == job.id
    edge.stop(job.id)
    assert live(fake, body["metadata"]["name"]) == []


def test_a_creation_without_a_clear_answer_is_unclear(fake: FakeModelArts, body: dict[str, Any]) -> None:
    fake.faults.add("create", "lost")
    fake.faults.add("search", *["503"] * 200)
    with pytest.raises(UnclearCreation, match="may have made the job"):
        service(fake, patience_s=1.0).create(body)
    assert len(live(fake, body["metadata"]["name"])) == 1


def test_a_refusal_is_not_repeated_and_comes_with_advice(fake: FakeModelArts, body: dict[str, Any]) -> None:
    body["spec"]["resource"]["flavor_id"] = "no.such.flavor"
    with pytest.raises(
        ServiceError, match=r"does not exist \(ModelArts\.2763 HTTP 400\), request fake-"
    ) as caught:
        service(fake).create(body)
    assert caught.value.meaning == meaning_of("ModelArts.2763")
    assert "look at modelarts.flavor" in caught.value.hint
    assert [name for name, _ in fake.service.requests] == ["create"]


def test_a_service_that_stays_in_trouble_is_given_up_within_the_budget(
    fake: FakeModelArts, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.faults.add("search", *["503"] * 500)
    slept: list[float] = []
    monkeypatch.setattr(wire, "monotonic", lambda: sum(slept))
    edge = Service(Project("cn-north-4", fake.endpoint, "project-1"), patience_s=15.0, sleep=slept.append)
    with pytest.raises(ServiceError, match="internal error"):
        edge.find("x")
    assert len(slept) > 1
    assert sum(slept) <= 15.0


def test_no_answer_in_time_is_an_error_of_the_tree(fake: FakeModelArts) -> None:
    fake.faults.add("search", *["slow 600"] * 3)
    with pytest.raises(ServiceError, match="no answer"):
        service(fake, patience_s=0.5, answer_s=0.4).find("x")


def test_all_pages_are_read_and_a_job_made_meanwhile_is_counted_once(
    fake: FakeModelArts, body: dict[str, Any]
) -> None:
    for number in range(120):
        fake.cloud.create(named(body, f"job-{number}"))
    edge = service(fake)
    seen = []
    for job in edge.jobs():
        seen.append(job.name)
        if len(seen) == 30:  # everything moves by one place
            fake.cloud.create(named(body, "in-between"))
    assert sorted(set(seen) - {"in-between"}) == sorted(f"job-{n}" for n in range(120))
    assert len(seen) == len(set(seen))


def test_one_search_answers_for_many_runs_and_stops_at_the_oldest(
    fake: FakeModelArts, body: dict[str, Any]
) -> None:
    jobs = [fake.cloud.create(named(body, f"job-{number}")) for number in range(120)]
    edge = service(fake)
    fake.service.requests.clear()
    handles = [handle_of(job) for job in jobs[-40:]]
    found = lookup(handles, lambda handle: edge)
    assert [found[n].name for n in range(40)] == [f"job-{n}" for n in range(80, 120)]
    assert [name for name, _ in fake.service.requests] == ["search"]
    lookup([handle_of(jobs[0])], lambda handle: edge)
    assert len(fake.service.requests) == 1 + 3


def test_events_stages_metrics_and_logs(fake: FakeModelArts, body: dict[str, Any], tmp_path: Path) -> None:
    edge = service(fake)
    job = fake.cloud.get(edge.create(body).id)
    for number in range(250):
        job.event(f"event {number}")
    assert [e["message"] for e in edge.events(job.id)] == [
        "Training job created.",
        *(f"event {number}" for number in range(250)),
    ]
    job.stage("scheduling", "the pool is full")
    assert stage_words(edge.stages(job.id)) == "waiting for machines: the pool is full"
    assert edge.metrics(job.id, "worker-0") == {}
    job.phase = "Running"
    assert metrics_words(edge.metrics(job.id, "worker-0")) == "NPU 93 %, NPU memory 71 %"
    assert edge.log_page(job.id, "worker-0").lines == ()


def test_a_job_that_can_not_begin_says_why(
    fake: FakeModelArts, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its containers are prepared, and after its end, also in a list of runs; not where the program itself ended."""
    monkeypatch.setattr("launcher.backends.modelarts.backend.PAUSE_S", 0.0)
    job, other = fake.cloud.create(body), fake.cloud.create(named(body, "other"))
    for each in (job, other):
        each.event(PULL, "Warning")
        each.phase = "Running"
        each.stage("preparing", "Pulling the image.")
    handles = [handle_of(each, region="cn-north-4", project_id="project-1") for each in (job, other)]
    (life,) = ModelArtsBackend().poll(handles[:1])
    assert (life.alive, life.phase) == (True, "starting")
    assert life.detail.startswith(f"the image can't be pulled ('{PULL}')")
    job.phase = other.phase = "Failed"
    other.ends = [{"task": "worker-0", "exit_code": 1}]
    first, second = ModelArtsBackend().poll(handles)
    assert (first.alive, first.rule, second.rule) == (False, "image-pull", "")
    fake.faults.add("events", *["503"] * 50)
    monkeypatch.setattr("launcher.backends.modelarts.backend.CLOSER_S", 0.1)
    assert [life.rule for life in ModelArtsBackend().poll(handles)] == ["", ""]


# ---- the jobs of a run


def test_a_refusal_ends_no_job_of_somebody_else(
    fake: FakeModelArts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two machines resume one run: the second is refused for want of quota, and the job of the first goes on."""
    plan = make(tmp_path)
    local = plan.store.model_copy(update={"url": (tmp_path / "runs" / plan.run_id).as_uri()})
    plan = plan.model_copy(update={"store": local})
    plan.store.open().put("plan.json", plan.model_dump_json().encode())
    job = fake.cloud.get(ModelArtsBackend().submit(plan, 2).data["id"])
    fake.cloud.capacity, fake.cloud.unique_names = 1, False
    monkeypatch.setattr(
        "launcher.backends.modelarts.backend.free_serial", lambda *_: (1, None)
    )  # it looked before
    with pytest.raises(ServiceError, match="quota"):
        ModelArtsBackend().submit(plan, 2)
    assert job.phase == "Creating"


def test_a_job_that_stays_abnormal_keeps_no_run_from_going_on(fake: FakeModelArts, tmp_path: Path) -> None:
    """The service can't stop it."""
    plan = make(tmp_path)
    local = plan.store.model_copy(update={"url": (tmp_path / "runs" / plan.run_id).as_uri()})
    plan = plan.model_copy(update={"store": local})
    store = plan.store.open()
    store.put("plan.json", plan.model_dump_json().encode())
    fake.cloud.get(ModelArtsBackend().submit(plan, 1).data["id"]).phase = "Abnormal"
    second = ModelArtsBackend().submit(plan, 2)
    assert fake.cloud.get(second.data["id"]).phase == "Creating"
    assert outdated(store, 1)  # what its containers look for when they start again


@pytest.mark.system
def test_a_submission_is_safe_to_repeat_and_a_job_that_has_ended_is_not_taken_for_a_new_one(
    fake: FakeModelArts, tmp_path: Path
) -> None:
    plan = make(tmp_path)
    local = plan.store.model_copy(update={"url": (tmp_path / "runs" / plan.run_id).as_uri()})
    plan = plan.model_copy(update={"store": local})
    plan.store.open().put("plan.json", plan.model_dump_json().encode())
    backend = ModelArtsBackend()
    first = backend.submit(plan, 1)
    assert backend.submit(plan, 1).data["id"] == first.data["id"]
    second = backend.submit(plan, 2)  # a resume by force: the first job must not go on
    assert fake.cloud.get(first.data["id"]).phase == "Terminated"
    fake.cloud.get(second.data["id"]).phase = "Failed"  # before a container began, so the attempt is the same
    third = backend.submit(plan, 2)
    assert third.data["name"] == f"{plan.run_id}-a2-2"
    assert backend.submit(plan, 2).data["id"] == third.data["id"]
    assert [job.phase for job in fake.cloud.jobs.values()] == ["Terminated", "Failed", "Creating"]
