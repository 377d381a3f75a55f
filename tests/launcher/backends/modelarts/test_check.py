"""What is asked before a job is sent: each rule with a case that breaks it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.backends.modelarts.backend import ModelArtsBackend
from launcher.backends.modelarts.code import MANY_BYTES, MOST_BYTES, make_archive
from launcher.backends.modelarts.request import job_request
from launcher.errors import BackendError, PlanError
from launcher.findings import Finding
from launcher.plan.model import Plan
from launcher.submission.refuse import refuse_errors
from tests.fakes.modelarts import FakeModelArts
from tests.fakes.modelarts_wire import Account
from tests.launcher.backends.modelarts.jobs import IMAGE, make, service_here

ACCOUNT = Account("ak-of-tests", "sk-of-tests", "project-1")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModelArts]:
    with service_here(ACCOUNT, tmp_path, monkeypatch) as fake:
        yield fake


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "train.py").write_text("")
    return folder


def with_code(tmp_path: Path) -> Plan:
    return make(tmp_path, modelarts={**IMAGE, "code": ["src"]})


def found(plan: Plan) -> list[tuple[str, str, str]]:
    return [_short(finding) for finding in ModelArtsBackend().check(plan)]


def _short(finding: Finding) -> tuple[str, str, str]:
    assert finding.fix
    return finding.rule, finding.severity, finding.where


@pytest.mark.usefixtures("fake", "source")
def test_a_job_that_can_be_sent_has_no_finding(tmp_path: Path) -> None:
    assert found(with_code(tmp_path)) == []


def test_ma050_the_sdk_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.backends.modelarts.check.sdk_missing", lambda: True)
    assert found(make(tmp_path)) == [("MA050", "error", "resources.backend")]
    with pytest.raises(PlanError, match=r"not installed .*MA050.*\n.*pip install huaweicloudsdkmodelarts"):
        refuse_errors(ModelArtsBackend().check(make(tmp_path)))


def test_ma051_the_service_refuses_or_gives_no_answer(
    fake: FakeModelArts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.faults.add("search", *["503"] * 500)
    monkeypatch.setattr("launcher.backends.modelarts.wire.FIRST_PAUSE_S", 900.0)
    with pytest.raises(BackendError, match=r"internal error .*MA051.*\n.*in trouble; try again later"):
        refuse_errors(ModelArtsBackend().check(make(tmp_path)))
    fake.cloud.account = Account("another", "key", "project-1")
    assert found(make(tmp_path)) == [("MA051", "error", "modelarts")]
    monkeypatch.delenv("HUAWEICLOUD_SDK_AK")
    monkeypatch.setenv("HUAWEICLOUD_SDK_CREDENTIALS_FILE", str(tmp_path / "none"))
    assert found(make(tmp_path)) == [("MA051", "error", "modelarts")]


@pytest.mark.usefixtures("fake")
def test_ma052_a_folder_of_code_that_is_not_there_or_can_not_be_read(tmp_path: Path, source: Path) -> None:
    plan = with_code(tmp_path)
    (source / "odd").symlink_to("/proc/self/mem")  # a file that says it can be read, and can not
    with pytest.raises(PlanError, match=r"modelarts\.code.*odd can't be read"):
        make_archive(plan, tmp_path)
    shutil.rmtree(source)
    assert found(plan) == [("MA052", "error", "modelarts.code")]


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(("size", "severity"), [(MANY_BYTES, "warning"), (MOST_BYTES, "error")])
def test_ma053_code_that_is_too_large(tmp_path: Path, source: Path, size: int, severity: str) -> None:
    """The file has holes: it takes no room on this disk."""
    with (source / "weights.bin").open("wb") as file:
        file.truncate(size)
    assert found(with_code(tmp_path)) == [("MA053", severity, "modelarts.code")]


def test_ma054_a_live_job_that_writes_to_the_same_channel(
    fake: FakeModelArts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.backends.modelarts.check.STORE_S", 0.001)  # there is no store here
    channel = {**IMAGE, "outputs": {"extra": "obs://bucket/extra"}}
    job = fake.cloud.create(job_request(make(tmp_path, modelarts=channel), 1).body())
    plan = make(tmp_path, modelarts=channel)
    assert found(plan) == [("MA054", "error", "modelarts.outputs.extra")]
    job.phase = "Completed"
    assert found(plan) == []
