import errno
import json
import os
from pathlib import Path

import pytest

from launcher.cli import main
from launcher.doctor import machine as doctor
from launcher.doctor.machine import device_checks, machine_checks, worst
from launcher.doctor.store import _clock, store_checks
from launcher.findings import Finding
from launcher.storage.address import StoreAddress
from tests.launcher.samples import write_job
from tests.servers.faults import Answer, Faults, status
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET

FAKES = Path(__file__).parents[2] / "fakes"


def test_this_machine(launcher_home: Path) -> None:
    found = {check.rule: check for check in machine_checks()}
    assert found["Python"].severity == "ok"
    assert found["MindSpore"].severity == "ok"
    assert found["disk"].severity in ("ok", "warning")
    assert all(check.fix for check in found.values() if check.severity in ("warning", "error"))


def test_packages_that_don_t_fit(monkeypatch: pytest.MonkeyPatch, launcher_home: Path) -> None:
    versions = {"mindspore": "2.4.0", "numpy": "2.1.0"}
    monkeypatch.setattr(doctor, "version_of", lambda package: versions.get(package, ""))
    found = {check.rule: check for check in machine_checks()}
    assert (found["MindSpore"].severity, found["NumPy"].severity) == ("warning", "error")
    versions.clear()
    assert {check.rule: check for check in machine_checks()}["MindSpore"].fix


def test_a_machine_without_a_compiler(monkeypatch: pytest.MonkeyPatch, launcher_home: Path) -> None:
    assert {check.rule: check.severity for check in machine_checks()}["C++ compiler"] == "ok"
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    found = {check.rule: check for check in machine_checks()}["C++ compiler"]
    assert (found.severity, "twice as long" in found.message) == ("info", True)


def test_a_home_that_can_t_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refused)
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    found = {check.rule: check for check in machine_checks(home=tmp_path)}
    assert found["disk"].severity == "error"
    assert found["device locks"].severity == "error"


def test_cann_without_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASCEND_HOME_PATH", raising=False)
    monkeypatch.delenv("ASCEND_TOOLKIT_HOME", raising=False)
    toolkit = tmp_path / "ascend-toolkit" / "latest"
    toolkit.mkdir(parents=True)
    (toolkit / "version.cfg").write_text("# x\nVersion=8.0.RC3\n")
    cann = next(c for c in machine_checks(ascend=tmp_path) if c.rule == "CANN")
    assert cann.severity == "warning"
    assert "8.0.RC3" in cann.message
    assert "set_env.sh" in cann.fix
    monkeypatch.setenv("ASCEND_HOME_PATH", str(toolkit))
    assert next(c for c in machine_checks(ascend=tmp_path) if c.rule == "CANN").severity == "ok"


def test_no_npu_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert [check.severity for check in device_checks("ascend910")] == ["info"]


def test_the_npus_of_a_machine_with_their_health_and_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{FAKES}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_ASCEND", str(FAKES / "machines" / "ascend910"))
    found = device_checks("ascend910")
    assert found[0].severity == "ok"
    assert found[0].message.startswith("8 × ")
    assert found[-1].rule == "HCCN"
    assert all(check.fix for check in found if check.severity in ("warning", "error"))


def test_another_chip_than_a_job_asks_for_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{FAKES}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_ASCEND", str(FAKES / "machines" / "atlas-a3"))
    words = "which is atlas-a3, but ascend910b was asked for"
    assert any(words in each.message for each in device_checks("ascend910b", asked=True))
    assert not any(words in each.message for each in device_checks("ascend910b"))


def test_a_store_that_works(tmp_path: Path) -> None:
    found = store_checks("s", StoreAddress(url=(tmp_path / "store").as_uri()), write=True)
    assert [check.severity for check in found] == ["ok", "ok", "ok"]
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("keeps", [True, False], ids=["keeps metadata", "drops metadata"])
def test_a_store_gets_a_small_object_and_one_in_parts(
    radosgw: S3Server, faults: Faults, monkeypatch: pytest.MonkeyPatch, keeps: bool
) -> None:
    for name, value in radosgw.env.items():
        monkeypatch.setenv(name, value)

    def drop(answer: Answer) -> None:
        answer.headers = [(k, v) for k, v in answer.headers if "-meta-" not in k.lower()]

    for method in () if keeps else ("GET", "HEAD"):
        faults.add(drop, method=method)
    address = StoreAddress(url=f"s3://{BUCKET}/doctor", endpoint=faults.endpoint)
    found = {check.rule: check.severity for check in store_checks("s", address, write=True)}
    assert found["s: write"] == "ok"
    assert found["s: write in parts"] == ("ok" if keeps else "warning")
    assert faults.count("PUT", "partNumber=2") == 1
    assert list(address.open().list()) == []


def test_objects_that_may_not_be_removed_are_named(
    radosgw: S3Server, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in radosgw.env.items():
        monkeypatch.setenv(name, value)
    faults.add(status(403, "AccessDenied"), method="DELETE", passes=False)
    address = StoreAddress(url=f"s3://{BUCKET}/not-removed", endpoint=faults.endpoint)
    found = {check.rule: check for check in store_checks("s", address, write=True)}
    left = {f"s3://{BUCKET}/not-removed/{info.key}" for info in address.open().list()}
    assert len(left) == 2
    for rule in ("s: write", "s: write in parts"):
        assert found[rule].severity == "warning"
        assert any(url in found[rule].fix for url in left)


def test_a_store_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "value-of-a-secret")
    monkeypatch.setattr("launcher.doctor.store.PATIENCE_S", 0.1)
    found = store_checks("s", StoreAddress(url="s3://bucket/x", endpoint="http://127.0.0.1:9"), write=True)
    assert [check.severity for check in found] == ["ok", "error"]
    assert "127.0.0.1:9" in found[1].message
    assert "value-of-a-secret" not in "".join(check.message for check in found)


@pytest.mark.parametrize(
    ("stored", "status", "words"),
    [
        (1000, "ok", "within"),
        (1000 + 120, "warning", "2 min 00 s behind"),
        (1000 - 1000, "error", "ahead of"),
    ],
)
def test_the_clock(stored: float, status: str, words: str) -> None:
    check = _clock("s", stored, 1000.2, 1000.4)
    assert check.severity == status
    assert words in check.message


def test_the_worst_counts() -> None:
    assert worst([Finding("a", "ok", ""), Finding("b", "info", "")]) == "ok"
    assert worst([Finding("a", "warning", ""), Finding("b", "error", "")]) == "error"


def test_the_command(launcher_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = write_job(tmp_path, data={"url": str(tmp_path / "no-images")})
    assert main(["doctor", "--job", str(job), "--json"]) == 0
    found = {check["name"]: check["status"] for check in json.loads(capsys.readouterr().out)}
    assert found["output.url: write"] == "ok"
    assert main(["doctor", "--url", "s3://AK:secret@bucket"]) == 2
    text = capsys.readouterr()
    assert "secret" not in text.out + text.err
