"""Credentials for ModelArts: environment, profile file, a cloud machine's agency; and the error when there are none."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huaweicloudsdkcore.auth.internal import MetadataAccessor

from launcher.backends.modelarts.client import Service
from launcher.backends.modelarts.errors import ServiceError
from launcher.backends.modelarts.login import Project
from launcher.errors import BackendError, UsageError
from tests.fakes.metadata import MetadataServer, metadata_service
from tests.fakes.modelarts import FakeModelArts
from tests.fakes.modelarts_wire import Account
from tests.launcher.backends.modelarts.jobs import service_here
from tests.waiting import PATIENCE_S

ACCOUNT = Account("access-key-of-tests", "secret-key-of-tests", "project-1", token="token-of-tests")
KEYS = ("AK", "SK", "SECURITY_TOKEN", "PROJECT_ID")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModelArts]:
    with service_here(ACCOUNT, tmp_path, monkeypatch) as fake:
        monkeypatch.setenv("HUAWEICLOUD_SDK_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        yield fake


@pytest.fixture
def without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(f"HUAWEICLOUD_SDK_{name}", raising=False)


def ask(project: str | None = "project-1", **options: Any) -> None:
    """The region's address is that of the fake."""
    assert Service(Project("cn-north-4", None, project), patience_s=1.0, **options).find("x") is None


@pytest.mark.usefixtures("fake", "without_keys")
def test_without_credentials_or_project_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no credentials") as caught:
        ask()
    assert "HUAWEICLOUD_SDK_AK" in caught.value.hint
    monkeypatch.setenv("HUAWEICLOUD_SDK_AK", ACCOUNT.ak)
    monkeypatch.setenv("HUAWEICLOUD_SDK_SK", ACCOUNT.sk)
    with pytest.raises(UsageError, match="no project id"):
        ask(None)


@pytest.mark.usefixtures("fake", "without_keys")
def test_credentials_from_the_profile_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = f"ak = {ACCOUNT.ak}\nsk = {ACCOUNT.sk}\nsecurity_token = {ACCOUNT.token}\n"
    (tmp_path / "credentials").write_text(f"[basic]\n{keys}project_id = project-1\n")
    ask(None)
    (tmp_path / "credentials").write_text(f"[basic]\n{keys}")
    monkeypatch.setenv("HUAWEICLOUD_SDK_PROJECT_ID", "project-1")
    ask(None)
    (tmp_path / "credentials").write_text(keys)
    with pytest.raises(UsageError, match="no sections") as caught:
        ask(None)
    assert ACCOUNT.ak not in str(caught.value)


@pytest.fixture
def agency(monkeypatch: pytest.MonkeyPatch, without_keys: None) -> Iterator[MetadataServer]:
    with metadata_service(ACCOUNT) as server:
        monkeypatch.setattr(MetadataAccessor, "_METADATA_ENDPOINT", server.address)
        monkeypatch.setattr(MetadataAccessor, "_DEFAULT_TIME_OUT", (PATIENCE_S, PATIENCE_S))
        yield server


def test_the_agency_of_a_cloud_machine_opens_the_service_and_its_keys_are_renewed(
    fake: FakeModelArts, agency: MetadataServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="no credentials"):
        ask()  # LAUNCHER_NO_AGENCY is set
    assert agency.asked == 0
    monkeypatch.delenv("LAUNCHER_NO_AGENCY")
    with pytest.raises(UsageError, match="no project id"):
        ask(None)
    monkeypatch.setenv("HUAWEICLOUD_SDK_PROJECT_ID", "project-1")
    ask(None)
    assert [name for name, _ in fake.service.requests] == ["search"]
    agency.lives_s, agency.asked = 1.0, 0
    service = Service(Project("cn-north-4", None, "project-1"), patience_s=1.0)
    for _ in range(3):
        assert service.find("x") is None
    assert agency.asked >= 3


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    "answer", [(401, "Please configure Cloud Service Agency first"), (200, "<html>"), (200, "[]")]
)
def test_a_machine_without_an_agency_has_no_credentials(
    agency: MetadataServer, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, str]
) -> None:
    monkeypatch.delenv("LAUNCHER_NO_AGENCY")
    agency.status, agency.text = answer
    with pytest.raises(UsageError, match="no credentials"):
        ask()


@pytest.mark.parametrize(
    "wrong", ["HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK", "HUAWEICLOUD_SDK_SECURITY_TOKEN"]
)
def test_wrong_credentials_are_refused_by_the_signature_and_never_repeated_in_words(
    fake: FakeModelArts, monkeypatch: pytest.MonkeyPatch, wrong: str, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(wrong, "not-the-one-of-the-account")
    with pytest.raises(ServiceError) as caught:
        ask()
    assert caught.value.code == "APIGW.0301"
    assert fake.service.requests == []
    shown = f"{caught.value}{capfd.readouterr()}"
    assert not re.search(r"not-the-one|secret-key|token-of", shown)


def test_a_clock_that_is_wrong_is_named(fake: FakeModelArts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signature's date is twenty minutes off, by the clock of the service."""
    monkeypatch.setattr("tests.fakes.modelarts_wire.CLOCK_S", 1200.0)
    with pytest.raises(ServiceError, match="date out of range") as caught:
        ask()
    assert "clock of this machine" in caught.value.hint


@pytest.mark.usefixtures("fake")
def test_an_unknown_region_and_a_missing_sdk_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no region 'cn-nowhere-9'"):
        Service(Project("cn-nowhere-9", None, "project-1")).find("x")
    monkeypatch.setattr("launcher.backends.modelarts.login.sdk_missing", lambda: True)
    with pytest.raises(BackendError, match="not installed") as caught:
        ask()
    assert "pip install huaweicloudsdkmodelarts" in caught.value.hint


@pytest.mark.usefixtures("fake")
def test_another_project_is_refused() -> None:
    with pytest.raises(ServiceError, match="no project other"):
        ask("other")
