"""What the service may say instead of what it documents, and what of it is believed."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher.backends.base import Handle
from launcher.backends.modelarts.backend import ModelArtsBackend
from launcher.backends.modelarts.client import Service
from launcher.backends.modelarts.errors import ServiceError
from launcher.backends.modelarts.jobs import SeenJob
from launcher.backends.modelarts.login import Project
from launcher.backends.modelarts.poll import Unanswered, lookup
from launcher.backends.modelarts.request import job_request
from launcher.backends.recent import Recent
from tests.fakes.modelarts import FakeModelArts
from tests.fakes.modelarts_jobs import Job
from tests.fakes.modelarts_wire import Account
from tests.launcher.backends.modelarts.jobs import make, service_here
from tests.seeds import examples
from tests.waiting import PATIENCE_S

ACCOUNT = Account("access-key-of-tests", "secret-key-of-tests", "project-1")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModelArts]:
    with service_here(ACCOUNT, tmp_path, monkeypatch) as fake:
        monkeypatch.setattr("launcher.backends.modelarts.backend.PATIENCE_S", 0.5)
        monkeypatch.setattr("launcher.backends.modelarts.backend.PAUSE_S", 0.0)
        yield fake


@pytest.fixture
def body(tmp_path: Path) -> dict[str, Any]:
    return job_request(make(tmp_path), 1).body()


def named(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {**body, "metadata": {**body["metadata"], "name": name}}


def service(fake: FakeModelArts, project: str = "project-1") -> Service:
    return Service(Project("cn-north-4", fake.endpoint, project), patience_s=0.3)


def handle_of(job: Job, **data: Any) -> Handle:
    made = {"created_ms": job.created_ms, "submitted_at": time.time() - 1000, "id": job.id, "name": job.name}
    place = {"region": "cn-north-4", "project_id": "project-1"}
    return Handle(backend="modelarts", data={**made, **place, **data})


def poll(*handles: Handle) -> list[bool | None]:
    return [life.alive for life in ModelArtsBackend().poll(handles)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.sampled_from(
        ["metadata", "status", "id", "name", "create_time", "phase", "tasks", "task_statuses", "exit_code",
         "running_records", "recover_records", "reason", "algorithm", "outputs", "remote", "obs", "obs_url"]
    ), each, max_size=4),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.system
@settings(max_examples=examples(20, 600), suppress_health_check=[HealthCheck.too_slow])
@given(metadata=JSON, status=JSON, algorithm=JSON)
def test_a_job_can_be_read_from_whatever_stands_in_an_answer(
    metadata: Any, status: Any, algorithm: Any
) -> None:
    job = SeenJob.of({"metadata": metadata, "status": status, "algorithm": algorithm})
    assert isinstance("".join([job.words(), job.end_words(), *job.story()]), str)


@pytest.mark.parametrize("word", ["portal", "torn"])
def test_the_page_of_a_proxy_is_no_empty_answer(fake: FakeModelArts, body: dict[str, Any], word: str) -> None:
    """Else a job would be taken for deleted, or made again."""
    job = fake.cloud.create(body)
    edge = service(fake)
    for route, call in (
        ("search", lambda: edge.find(job.name)),
        ("show", lambda: edge.details(job.id)),
        ("stages", lambda: edge.stages(job.id)),
        ("events", lambda: edge.events(job.id)),
    ):
        fake.faults.add(route, *[word] * 20)
        with pytest.raises(ServiceError, match="nothing that can be read"):
            call()
    assert poll(handle_of(job)) == [None]


def test_a_job_that_a_list_lacks_is_asked_for_before_it_is_given_up(
    fake: FakeModelArts, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that moved while it was read, or a list that lags behind."""
    job = fake.cloud.create(body)
    gone = Job("00000000-0000", body, job.created_ms)
    monkeypatch.setattr(fake.cloud, "search", lambda wanted: {"total": 0, "count": 0, "items": []})
    assert poll(handle_of(job)) == [True]
    assert poll(handle_of(gone)) == [False]
    fake.faults.add("show", *["503"] * 20)
    assert poll(handle_of(gone)) == [None]


def test_a_project_that_refuses_says_nothing_of_the_jobs_of_others(
    fake: FakeModelArts, body: dict[str, Any]
) -> None:
    job = fake.cloud.create(body)
    found = lookup(
        [handle_of(job, project_id="other"), handle_of(job)],
        lambda handle: service(fake, handle.data["project_id"]),
    )
    assert isinstance(found[0], Unanswered)
    assert "no project other" in found[0]
    assert isinstance(found[1], SeenJob)
    assert poll(handle_of(job, project_id="other"), handle_of(job)) == [None, True]


def test_records_of_all_attempts_are_deleted_but_never_of_a_run_that_lives(
    fake: FakeModelArts, body: dict[str, Any], tmp_path: Path
) -> None:
    run_id = make(tmp_path).run_id
    jobs = [fake.cloud.create(named(body, f"{run_id}-{tail}")) for tail in ("a1", "a1-2", "a2", "a2-copy")]
    for job in jobs[:2]:
        job.phase = "Failed"
    backend = ModelArtsBackend()
    with pytest.raises(Exception, match=f"{run_id}-a2 is Creating; only a job that has ended"):
        backend.delete(handle_of(jobs[2]))
    assert len(fake.cloud.jobs) == 4
    jobs[2].phase = "Completed"
    backend.delete(handle_of(jobs[2]))
    assert [job.name for job in fake.cloud.jobs.values()] == [f"{run_id}-a2-copy"]
    backend.delete(handle_of(jobs[2]))


def test_what_a_container_printed_is_read_once_the_job_is_found_by_its_name(
    fake: FakeModelArts, body: dict[str, Any]
) -> None:
    """As when creation got no answer."""
    job = fake.cloud.create(body)
    fake.service.logs.given["worker-0"] = ["one", "two"]
    handle = handle_of(job, id="")
    first = ModelArtsBackend().console(handle, 0, "")
    assert first.lines == ("one", "two")
    assert ModelArtsBackend().console(handle, 0, first.after).lines == ()


def test_following_a_run_limits_the_requests_to_the_service(
    fake: FakeModelArts, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service counts requests; `attach` looks twice a second. What we do to a job is seen at once."""
    monkeypatch.setattr("launcher.backends.modelarts.backend.PAUSE_S", 10_000.0)
    monkeypatch.setattr("launcher.backends.modelarts.backend._recent", Recent())
    job = fake.cloud.create(body)
    handle = handle_of(job)
    assert [poll(handle) for _ in range(20)] == [[True]] * 20
    assert [name for name, _ in fake.service.requests] == ["search", "stages"]
    other = fake.cloud.create(named(body, "other"))
    assert poll(handle_of(other)) == [True]
    ModelArtsBackend().cancel(handle)
    assert poll(handle) == [False]


@pytest.mark.system
def test_a_storm_of_429_ends_within_the_budget_and_makes_one_job(
    fake: FakeModelArts, body: dict[str, Any]
) -> None:
    fake.faults.add("create", *["429"] * 6, "lost", *["429"] * 3)
    project = Project("cn-north-4", fake.endpoint, "project-1")
    edge = Service(project, patience_s=PATIENCE_S, sleep=lambda s: time.sleep(s / 50))
    job = edge.create(body)
    assert [each.id for each in fake.named(job.name)] == [job.id]
    creates = [name for name, _ in fake.service.requests if name == "create"]
    assert len(creates) <= 8
    fake.faults.clear()
    fake.faults.add("search", *["429"] * 500)
    with pytest.raises(ServiceError, match="429") as caught:
        Service(project, patience_s=1.0).find("x")
    assert [name for name, _ in fake.service.requests].count("search") < 50
    assert "too many requests" in caught.value.hint
