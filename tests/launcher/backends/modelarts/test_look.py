"""What `doctor --job` and `check --ask` find by asking the service, before anything is paid for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.backends.modelarts.backend import ModelArtsBackend
from launcher.cli import main
from launcher.plan.model import Plan
from tests.fakes.modelarts import FakeModelArts
from tests.fakes.modelarts_offer import ENGINES
from tests.fakes.modelarts_wire import Account
from tests.launcher.backends.modelarts.jobs import IMAGE, make, service_here, write_job

ACCOUNT = Account("ak-of-tests", "sk-of-tests", "project-1")
PUBLIC = {"region": "cn-north-4", "image": "org/launcher:1", "flavor": "modelarts.pool.visual.8xlarge"}
ENGINE = {"region": "cn-north-4", "pool_id": "pool-x", "engine": f"Ascend-Powered-Engine:{ENGINES[0]}"}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModelArts]:
    with service_here(ACCOUNT, tmp_path, monkeypatch) as fake:
        yield fake


def found(plan: Plan) -> list[tuple[str, str, str]]:
    return [(each.rule, each.severity, each.where) for each in ModelArtsBackend().look(plan)]


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("section", [IMAGE, ENGINE], ids=["image", "engine"])
def test_a_job_that_the_service_can_run_has_no_finding(tmp_path: Path, section: dict[str, str]) -> None:
    assert found(make(tmp_path, modelarts=section)) == []


def test_ma056_a_project_without_authorisation(fake: FakeModelArts, tmp_path: Path) -> None:
    fake.service.offered.authorised = False
    assert found(make(tmp_path)) == [("MA056", "error", "modelarts")]


def test_ma057_a_quota_that_is_used_up(fake: FakeModelArts, tmp_path: Path) -> None:
    fake.cloud.capacity = 0
    (finding,) = ModelArtsBackend().look(make(tmp_path))
    assert (finding.rule, finding.message) == ("MA057", "the quota of training jobs is used up: 0 of 0")


def test_ma058_a_pool_that_is_not_there_or_does_not_take_the_job(fake: FakeModelArts, tmp_path: Path) -> None:
    plan = make(tmp_path)
    fake.cloud.pools = {"pool-y": "Running"}
    assert found(plan) == [("MA058", "error", "modelarts.pool_id")]
    fake.cloud.pools = {"pool-x": "Abnormal"}
    (finding,) = ModelArtsBackend().look(plan)
    assert finding.message == "the pool pool-x is Abnormal: machines are being repaired"
    fake.cloud.pools = None
    fake.service.offered.control = 8
    (finding,) = ModelArtsBackend().look(plan)
    assert "frozen" in finding.message
    fake.service.offered.control = 1
    fake.service.offered.trains = False
    (finding,) = ModelArtsBackend().look(plan)
    assert "does not take training jobs" in finding.message


def test_ma058_the_queue_of_a_pool_is_told(fake: FakeModelArts, tmp_path: Path) -> None:
    from launcher.backends.modelarts.request import job_request

    job = fake.cloud.create(job_request(make(tmp_path), 1).body())
    job.phase = "Pending"
    assert found(make(tmp_path)) == [("MA058", "info", "modelarts.pool_id")]


def test_ma058_machines_that_are_free_now_are_told(fake: FakeModelArts, tmp_path: Path) -> None:
    fake.cloud.hosts.place("a job of somebody else", 2, {})
    assert found(make(tmp_path)) == []  # two of four
    fake.cloud.hosts.place("and another one", 1, {})
    (finding,) = ModelArtsBackend().look(make(tmp_path))
    assert (finding.rule, finding.severity) == ("MA058", "info")
    assert finding.message == "1 of 4 machines of the pool have 8 free cards now; the job waits for 2"


def test_ma059_a_kind_of_machine_that_there_is_not_or_too_few(fake: FakeModelArts, tmp_path: Path) -> None:
    fake.service.offered.machines = 1
    fake.service.offered.pool_flavors = ("modelarts.pool.visual.xlarge",)
    assert found(make(tmp_path)) == [
        ("MA059", "error", "resources.devices_per_node"),
        ("MA059", "error", "resources.nodes"),
        ("MA058", "info", "modelarts.pool_id"),
    ]
    public = make(tmp_path, modelarts={**PUBLIC, "flavor": "modelarts.pool.visual.9xlarge"})
    (finding,) = ModelArtsBackend().look(public)
    assert finding.where == "modelarts.flavor"
    assert "modelarts.pool.visual.8xlarge" in finding.fix
    (finding,) = ModelArtsBackend().look(make(tmp_path, modelarts=PUBLIC))
    assert (finding.severity, "pool.visual.8xlarge × 1" in finding.message) == ("info", True)


@pytest.mark.usefixtures("fake")
def test_ma060_an_engine_that_there_is_not(tmp_path: Path) -> None:
    wrong = ENGINE["engine"].replace("2.7.1", "2.7.7")
    (finding,) = ModelArtsBackend().look(make(tmp_path, modelarts={**ENGINE, "engine": wrong}))
    assert (finding.rule, finding.where) == ("MA060", "modelarts.engine")
    assert ENGINE["engine"] in finding.fix


def test_ma061_an_image_that_is_not_listed_or_not_whole(fake: FakeModelArts, tmp_path: Path) -> None:
    images = fake.service.offered.images
    full = {**IMAGE, "image": "swr.cn-north-4.myhuaweicloud.com/org/launcher:1"}
    assert found(make(tmp_path, modelarts=full)) == []
    images.clear()
    assert found(make(tmp_path)) == [("MA061", "warning", "modelarts.image")]
    images["org/launcher:2"] = "ACTIVE"
    (finding,) = ModelArtsBackend().look(make(tmp_path))
    assert (finding.severity, finding.fix) == ("warning", "there are 2")
    images["org/launcher:1"] = "CREATE_FAILED"
    assert found(make(tmp_path)) == [("MA061", "error", "modelarts.image")]


def test_ma062_a_question_that_is_refused_stops_no_other(fake: FakeModelArts, tmp_path: Path) -> None:
    fake.faults.add("quotas", "refuse 403 ModelArts.0112")
    fake.service.offered.authorised = False
    assert found(make(tmp_path)) == [("MA056", "error", "modelarts"), ("MA062", "info", "modelarts")]


def test_a_service_that_is_away_is_told_once(
    fake: FakeModelArts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.backends.modelarts.wire.FIRST_PAUSE_S", 900.0)
    fake.faults.add("any", *["503"] * 100)
    backend = ModelArtsBackend()
    plan = make(tmp_path)
    assert [each.rule for each in [*backend.check(plan), *backend.look(plan)]] == ["MA051"]


def test_check_asks_only_when_it_is_told_to(
    fake: FakeModelArts,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("launcher.doctor.store.PATIENCE_S", 0.0)  # there is no bucket here
    fake.service.offered.authorised = False
    file = str(write_job(tmp_path))
    assert main(["check", file]) == 0
    assert fake.service.requests == []
    assert "MA056" not in capsys.readouterr().out
    assert main(["check", file, "--ask"]) == 2
    assert "error MA056 modelarts: ModelArts has no authorisation" in capsys.readouterr().out
