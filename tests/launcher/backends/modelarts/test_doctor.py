"""What doctor says of ModelArts: without a job, and with one whose service answers or refuses."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.doctor.machine import machine_checks
from launcher.doctor.platform import job_checks
from launcher.doctor.store import store_checks
from launcher.storage.address import StoreAddress
from tests.fakes.modelarts import FakeModelArts
from tests.fakes.modelarts_wire import Account
from tests.launcher.backends.modelarts.jobs import IMAGE, make, service_here

ACCOUNT = Account("ak-of-tests", "sk-of-tests", "project-1")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModelArts]:
    with service_here(ACCOUNT, tmp_path, monkeypatch) as fake:
        yield fake


def test_a_job_whose_service_answers(fake: FakeModelArts, tmp_path: Path) -> None:
    assert {(check.rule, check.severity) for check in job_checks(make(tmp_path))} == {
        ("modelarts: rules", "ok"),
        ("modelarts: platform", "ok"),
    }


def test_keys_that_are_refused_and_a_rule_that_is_broken(
    fake: FakeModelArts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUAWEICLOUD_SDK_SK", "another")
    plan = make(tmp_path, modelarts={**IMAGE, "restarts": {"jobs": 200}})
    found = {(check.rule, check.where): check for check in job_checks(plan)}
    assert {check.severity for check in found.values()} == {"error"}
    assert "clock" in found["MA051", "modelarts"].fix
    assert found["MA012", "modelarts.restarts.jobs"].fix


def test_keys_that_open_the_service_open_the_buckets_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for key in ("AWS_ACCESS_KEY_ID", "HUAWEICLOUD_SDK_AK", "ACCESS_KEY_ID"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("HUAWEICLOUD_SDK_CREDENTIALS_FILE", str(tmp_path / "credentials"))

    def credentials_check(url: str) -> str:
        address = StoreAddress(url=url, endpoint="http://127.0.0.1:1")
        monkeypatch.setattr("launcher.doctor.store.PATIENCE_S", 0.1)
        return store_checks("data.url", address, write=False)[0].message

    assert "neither in the environment" in credentials_check("obs://bucket/x")
    (tmp_path / "credentials").write_text("[basic]\nak = a\nsk = b\n")
    assert credentials_check("obs://bucket/x") == f"from {tmp_path / 'credentials'}"
    monkeypatch.setenv("HUAWEICLOUD_SDK_AK", "ak-of-tests")
    monkeypatch.setenv("HUAWEICLOUD_SDK_SK", "sk-of-tests")
    assert credentials_check("obs://bucket/x") == "from HUAWEICLOUD_SDK_AK in the environment"
    assert "neither in the environment" in credentials_check("s3://bucket/x")


def test_a_machine_with_credentials_in_the_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def credentials_check() -> str:
        return next(check.message for check in machine_checks(home=tmp_path) if check.rule == "ModelArts")

    monkeypatch.delenv("HUAWEICLOUD_SDK_AK", raising=False)
    monkeypatch.setenv("HUAWEICLOUD_SDK_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    assert "no HUAWEICLOUD_SDK_AK" in credentials_check()
    (tmp_path / "credentials").write_text("[basic]\n")
    assert str(tmp_path / "credentials") in credentials_check()
