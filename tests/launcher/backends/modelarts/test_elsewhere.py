"""A run on ModelArts, named by the URL of its folder on a machine that did not submit it."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.cli import main
from launcher.runs import adopt
from launcher.runs.index import Index, RunEntry
from tests.launcher.backends.modelarts.site import Site, site_on
from tests.servers.s3 import S3Server

pytestmark = pytest.mark.system


@pytest.fixture
def site(s3: tuple[S3Server, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(adopt, "KEPT_S", 0.0)
    with site_on(*s3, tmp_path, monkeypatch, run=False) as site:
        yield site


@pytest.fixture
def entry(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunEntry:
    """Submitted; then this is another machine of the same team."""
    monkeypatch.setenv("LAUNCHER_SIGNING_KEY", "the key of the whole team")
    entry = site.submit(resources={"nodes": 1})
    monkeypatch.setenv("LAUNCHER_HOME", str(tmp_path / "another-home"))
    return entry


def status(capsys: pytest.CaptureFixture[str], entry: RunEntry) -> dict[str, Any]:
    assert main(["status", entry.store.url, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_platform_is_asked_and_the_run_stays_out_of_the_index(
    site: Site, entry: RunEntry, capsys: pytest.CaptureFixture[str]
) -> None:
    job = site.job(entry)
    job.phase = "Pending"
    job.stage("scheduling", "the job is number 3 in the queue")
    found = status(capsys, entry)
    assert (found["state"], found["platform"]) == (
        "PENDING",
        "the job waits for machines; waiting for machines: the job is number 3 in the queue",
    )
    job.phase = "Failed"
    job.ends = [{"task": "worker-0", "exit_code": 127}]
    found = status(capsys, entry)
    assert found["state"] == "FAILED"
    assert "worker-0 ended with 127" in found["reason"]
    assert Index().ids() == []
    job.event("image pull failed", "Error")
    assert main(["explain", entry.store.url]) == 0
    assert "Error: image pull failed" in capsys.readouterr().out
    assert main(["delete", entry.store.url]) == 0
    assert site.fake.cloud.jobs == {}


def test_the_newest_job_of_a_run_that_was_resumed_is_meant(
    site: Site, entry: RunEntry, capsys: pytest.CaptureFixture[str]
) -> None:
    first = site.job(entry)
    again = site.fake.cloud.create(
        {**first.body, "metadata": {**first.body["metadata"], "name": f"{entry.run_id}-a2"}}
    )
    first.phase, again.phase = "Failed", "Running"
    assert "NPU 93 %" in status(capsys, entry)["platform"]


def test_cancel_ends_a_job_that_waits(
    site: Site, entry: RunEntry, capsys: pytest.CaptureFixture[str]
) -> None:
    site.job(entry).phase = "Pending"
    assert main(["cancel", entry.store.url]) == 0
    assert site.job(entry).phase == "Terminated"
    assert status(capsys, entry)["state"] == "CANCELLED"


def test_a_run_is_resumed_from_another_machine(site: Site, entry: RunEntry) -> None:
    job = site.job(entry)
    job.phase = "Running"
    assert main(["resume", entry.store.url]) == 2  # it lives
    job.phase = "Failed"
    assert main(["resume", entry.store.url]) == 0
    assert [each.phase for each in site.jobs(entry, 2)] == ["Creating"]
    assert Index().ids() == [entry.run_id]


def test_following_a_run_shows_why_a_job_waits(
    site: Site, entry: RunEntry, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = site.job(entry)
    job.phase = "Pending"
    job.stage("scheduling", "the job is number 3 in the queue")
    looks = iter(range(6))

    def sleep(seconds: float) -> None:
        job.phase = "Terminated" if next(looks) == 2 else job.phase

    monkeypatch.setattr("launcher.cli.follow.time", SimpleNamespace(sleep=sleep, time=time.time))
    assert main(["attach", entry.store.url]) == 100
    assert capsys.readouterr().err.count("waiting for machines: the job is number 3 in the queue") == 1


def test_without_credentials_or_when_the_job_is_gone_the_status_says_so(
    site: Site,
    entry: RunEntry,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    with monkeypatch.context() as patch:
        account = site.fake.cloud.account
        patch.setenv("AWS_ACCESS_KEY_ID", account.s3_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", account.s3_secret)
        patch.delenv("HUAWEICLOUD_SDK_AK")
        patch.setenv("HUAWEICLOUD_SDK_CREDENTIALS_FILE", str(tmp_path / "none"))
        found = status(capsys, entry)
        assert found["platform"] == "the platform can't be asked: no credentials for ModelArts"
        assert found["state"] == "PENDING"
        assert main(["delete", entry.store.url]) == 2
        assert "no credentials for ModelArts" in capsys.readouterr().err
    site.fake.cloud.delete(site.job(entry).id)
    assert status(capsys, entry)["platform"] == "the platform knows no job of this run"


def test_logs_console_follow_prints_new_lines_until_the_run_has_ended(
    site: Site, entry: RunEntry, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page by page: each look brings what is new, once."""
    job = site.job(entry)
    job.phase = "Running"
    lines = site.fake.service.logs.given.setdefault("worker-0", [])
    answer = site.fake.service.logs.answer

    def grow(task: str, query: dict[str, str], printed: Callable[[], list[str]]) -> dict[str, Any]:
        lines.extend(f"line {number}" for number in range(len(lines), min(len(lines) + 700, 1500)))
        if len(lines) == 1500:
            site.job(entry).phase = "Failed"
        return answer(task, query, printed)

    monkeypatch.setattr("launcher.runs.consoles.PAUSE_S", 0.05)
    monkeypatch.setattr(site.fake.service.logs, "answer", grow)
    assert main(["logs", entry.store.url, "--console", "-f"]) == 0
    printed = [line.partition("| ")[2] for line in capsys.readouterr().out.splitlines()]
    assert printed == [f"line {number}" for number in range(1500)]


@pytest.mark.parametrize("why", ["cleared", pytest.param("deleted", marks=pytest.mark.slow)])
def test_logs_console_come_from_the_runs_folder_when_the_platform_has_them_no_more(
    site: Site, entry: RunEntry, capsys: pytest.CaptureFixture[str], why: str
) -> None:
    """modelarts.export_logs put them there. Those of another node or another job are not among them."""
    job = site.job(entry)
    store = entry.store.open()
    for name, text in (
        (f"modelarts-job-{job.id}-worker-0.log", "one\ntwo\n"),
        (f"modelarts-job-{job.id}-worker-0.log.1", "three\n"),
        (f"modelarts-job-{job.id}-worker-10.log", "of another node\n"),
        ("modelarts-job-1234-worker-0.log", "of another job\n"),
    ):
        store.put(f"platform-logs/{name}", text.encode())
    job.phase = "Failed"
    if why == "cleared":
        site.fake.faults.add("logs", *["refuse 400 ModelArts.2819"] * 9)
        site.fake.faults.add("preview", *["refuse 400 ModelArts.2819"] * 9)
    else:
        site.fake.faults.add("logs", *["refuse 400 ModelArts.2775"] * 1000)
    assert main(["logs", entry.store.url, "--console", "-f"]) == 0
    out, err = capsys.readouterr()
    assert sorted(line.partition("| ")[2] for line in out.splitlines()) == ["one", "three", "two"]
    assert "does not answer" not in err, "an endless wait for a job that is gone"
