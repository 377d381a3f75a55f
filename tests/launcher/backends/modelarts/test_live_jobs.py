"""What people do to a job while it waits or runs: change its place in the queue, log in to its containers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.backends.base import Handle
from launcher.backends.modelarts.backend import ModelArtsBackend
from launcher.backends.modelarts.request import job_request
from launcher.backends.modelarts.rules import check_modelarts
from launcher.cli.ssh import ssh_words
from launcher.errors import BackendError
from tests.fakes.modelarts import FakeModelArts
from tests.fakes.modelarts_jobs import Job
from tests.fakes.modelarts_wire import Account, round_trip
from tests.launcher.backends.modelarts.jobs import MORE, make, service_here

ACCOUNT = Account("ak-of-tests", "sk-of-tests", "project-1")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModelArts]:
    with service_here(ACCOUNT, tmp_path, monkeypatch) as fake:
        yield fake


@pytest.fixture
def running(fake: FakeModelArts, tmp_path: Path) -> Job:
    job = fake.cloud.create(job_request(make(tmp_path, modelarts=MORE), 1).body())
    job.phase = "Running"
    return job


def handle_of(job: Job, fake: FakeModelArts) -> Handle:
    data = {"id": job.id, "name": job.name, "region": "cn-north-4", "endpoint": fake.endpoint}
    return Handle(backend="modelarts", data=data)


def test_fields_of_the_job_file_are_fields_of_the_service(tmp_path: Path) -> None:
    body = job_request(make(tmp_path, modelarts=MORE), 1).body()
    assert round_trip("Job", body) == body
    assert body["endpoints"] == {"ssh": {"key_pair_names": ["my-key"]}}
    assert body["metadata"]["training_experiment_reference"] == {"name": "tnt sizes"}
    assert body["spec"]["reserved_time"] == {"time_unit": "HOURS", "duration": 2}
    assert body["spec"]["retention"] == {"policy": "disabled"}
    assert body["spec"]["resource"] == {
        "pool_id": "pool-x",
        "node_count": 2,
        "main_container_customized_flavor": {"cpu_core_num": 24.0, "mem_size": 192.0, "accelerator_num": 8.0},
    }


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"part": {"cpu": 24.0, "memory": 192.0, "cards": 4.0}}, "modelarts.part.cards"),
        ({"pool_id": None}, "modelarts.part"),
        ({"flavor": "modelarts.pool.visual.8xlarge"}, "modelarts.part"),
    ],
)
def test_ma034_a_part_of_a_machine_that_can_not_be_had(
    tmp_path: Path, change: dict[str, Any], where: str
) -> None:
    found = check_modelarts(make(tmp_path, modelarts={**MORE, **change}))
    assert where in [each.where for each in found if each.rule == "MA034"]


def test_a_job_that_lives_changes_its_place_in_the_queue(fake: FakeModelArts, running: Job) -> None:
    backend, handle = ModelArtsBackend(), handle_of(running, fake)
    backend.change(handle, priority=3, preemptible=None)
    backend.change(handle, priority=None, preemptible=False)
    assert running.body["spec"]["schedule_policy"] == {"priority": 3, "preemptible": False}
    running.phase = "Completed"
    with pytest.raises(BackendError, match="is Completed"):
        backend.change(handle, priority=1, preemptible=None)


def test_the_address_of_a_container_is_there_while_it_runs(fake: FakeModelArts, running: Job) -> None:
    backend, handle = ModelArtsBackend(), handle_of(running, fake)
    assert backend.address(handle, 1) == "ssh://ma-user@worker-1.example.com:30001"
    for node, phase in ((2, "Running"), (0, "Pending")):
        running.phase = phase
        with pytest.raises(BackendError, match="no address for ssh") as error:
            backend.address(handle, node)
        assert "modelarts.ssh.key_pairs" in error.value.hint


def test_an_address_becomes_words_of_ssh_and_nothing_else_does() -> None:
    assert ssh_words("ssh://ma-user@10.0.0.1:30001", "key") == [
        "ssh",
        "-i",
        "key",
        "-p",
        "30001",
        "ma-user@10.0.0.1",
    ]
    assert ssh_words("ma-user@host", None) == ["ssh", "ma-user@host"]
    for text in (
        "-oProxyCommand=x@host",
        "ssh://-x@host",
        "a@-b",
        "a@host;id",
        "a@host:99 x",
        "host",
        "",
        "a@h\n",
    ):
        with pytest.raises(BackendError, match="no address for ssh"):
            ssh_words(text, None)
