"""Runs on ModelArts as a whole: submitted, run by containers on two machines that meet in the bucket, fetched."""

import json
import os
import re
import shlex
import subprocess
import time
from pathlib import Path

import pytest

from launcher.backends import get_backend
from launcher.cli import main
from launcher.errors import BackendError, PlanError
from launcher.runs.explain import explain_run
from launcher.runs.folder import RunFolder
from launcher.submission.cancel import cancel
from launcher.submission.resume import resume
from tests.fakes.modelarts_jobs import ENDED
from tests.fakes.modelarts_nodes import s3_client
from tests.launcher.backends.modelarts.site import Site, site_on, well
from tests.servers.s3 import S3Server
from tests.waiting import PATIENCE_S, wait_until
from vitmodels.digits import write_digits

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[4]
ONE = {"nodes": 1}


def test_two_machines_count_together_and_the_results_come_back(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = site.submit(env={"STEP_S": "0.05"})
    well(site, entry)
    plan = RunFolder.of(entry).plan()
    assert json.loads(get_backend("modelarts").render(plan, 1)) == site.job(entry).body
    assert main(["fetch-results", entry.run_id, "--to", str(tmp_path / "results")]) == 0
    assert (tmp_path / "results" / "eval" / "last.json").exists()
    assert main(["logs", entry.run_id, "--console"]) == 0
    shown = capsys.readouterr().out
    assert "node-0/console" in shown
    assert "machine 1 of 2, start 1" in shown
    site.until(entry, lambda view: site.job(entry).phase == "Completed")
    assert main(["delete", entry.run_id]) == 0
    assert site.fake.cloud.jobs == {}
    assert main(["status", entry.run_id]) == 0
    exported = list((site.run_dir(entry) / "platform-logs").iterdir())
    assert len(exported) == 2


@pytest.mark.slow
def test_a_machine_is_lost_and_the_platform_starts_the_job_again(site: Site) -> None:
    """From the newest checkpoint, as attempt 2, although one container is new and the other restarts in place."""
    restarts = {"restarts": {"jobs": 2}}
    entry = site.submit(modelarts=restarts, env={"HOLD_AT": "4"})
    site.until(entry, lambda view: view.safe_step is not None)
    site.fake.cloud.lose(site.job(entry), 1)
    well(site, entry)
    view = site.view(entry)
    assert view.attempt == 2
    assert [m.schedule_count for m in site.job(entry).machines] == [1, 2]
    assert "starts after step 0" not in (site.run_dir(entry) / "logs/attempt-2/node-0/rank-0.log").read_text()
    story = "\n".join(explain_run(entry, view).platform)
    assert "a machine failed (worker-1); started the whole job again, without the faulty machine" in story


def test_a_job_in_the_queue_is_cancelled_at_once(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.fake.cloud.times.pending = 3600.0
    entry = site.submit(resources=ONE)
    view = site.until(entry, lambda view: "queue" in view.platform)
    assert (view.state, view.phase) == ("PENDING", "queued")
    assert main(["status", entry.run_id]) == 0
    assert "the job is number 1 in the queue" in capsys.readouterr().out
    cancel(entry)
    assert site.end(entry).state == "CANCELLED"
    assert site.job(entry).starts == 0


def test_a_running_job_saves_a_checkpoint_when_it_is_cancelled_and_goes_on_after_a_resume(site: Site) -> None:
    entry = site.submit(resources=ONE, env={"HOLD_AT": "1"})
    site.until(entry, lambda view: view.progress.step == 1)
    cancel(entry)
    view = site.end(entry)
    assert (view.state, view.reason) == ("CANCELLED", "cancelled on request")
    assert view.safe_step is not None
    site.fake.cloud.times.pending = 0.0
    resumed = resume(site.index.find(entry.run_id), site.index)
    well(site, resumed)
    assert site.view(resumed).attempt == 2
    assert len(site.jobs(entry, 1)) == len(site.jobs(entry, 2)) == 1


def test_a_job_that_may_have_been_made_is_kept_and_found_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost, and nobody can be asked: the run stays in the index, and its job is taken when it shows up."""
    monkeypatch.setattr("launcher.backends.modelarts.wire.FIRST_PAUSE_S", 900.0)  # nothing is asked twice
    site.fake.faults.add("create", "dark")
    entry = site.submit(resources=ONE)
    assert entry.handle is not None
    assert entry.handle.data["id"] == ""
    site.fake.faults.clear()
    well(site, entry)
    assert len(site.jobs(entry)) == 1


def test_a_run_that_is_cancelled_before_its_job_shows_up_trains_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Creation gets no answer, the run is cancelled, and only then the service makes the job."""
    monkeypatch.setattr("launcher.backends.modelarts.wire.FIRST_PAUSE_S", 900.0)  # nothing is asked twice
    site.fake.faults.add("create", "dark 3600")
    entry = site.submit(resources=ONE)
    assert site.jobs(entry) == []
    cancel(entry)
    site.fake.faults.clear()
    site.fake.service.hasten()
    view = site.until(entry, lambda view: view.state.terminal and bool(site.jobs(entry)))
    assert view.state == "CANCELLED"
    assert "ending: cancelled on request" in site.console(entry)
    assert not list(site.run_dir(entry).glob("logs/*/*/rank-0.log"))


def test_a_job_that_does_not_stop_is_ended_from_outside_when_it_is_asked_again(
    s3: tuple[S3Server, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site_on(*s3, tmp_path, monkeypatch, run=False) as site:
        entry = site.submit(resources=ONE)
        site.job(entry).phase = "Running"
        monkeypatch.setattr("launcher.submission.cancel.AGAIN_S", 3600.0)
        monkeypatch.setattr("launcher.submission.cancel.GLANCE_S", PATIENCE_S)
        cancel(entry)
        cancel(entry)
        assert site.job(entry).phase == "Running"
        monkeypatch.setattr("launcher.submission.cancel.AGAIN_S", 0.0)
        cancel(entry)
        assert site.job(entry).phase == "Terminated"
        assert site.end(entry).state == "CANCELLED"


def test_a_job_that_fails_before_anything_of_ours_runs_is_explained_by_the_platform(site: Site) -> None:
    entry = site.submit(resources=ONE, modelarts={"python": "no-such-python"})
    view = site.end(entry)
    assert view.state == "FAILED"
    assert "worker-0 ended with 127" in view.reason
    found = explain_run(entry, view)
    assert any("The job failed: job_failed of worker-0" in line for line in found.platform)


def test_nothing_is_left_behind_by_a_submission_that_is_refused(site: Site) -> None:
    site.fake.cloud.capacity = 0
    before = {path for path in (site.bucket / "runs").rglob("*") if path.is_file()}
    with pytest.raises(BackendError, match=r"quota .*ModelArts\.0116"):
        site.submit()
    left = {path for path in (site.bucket / "runs").rglob("*") if path.is_file()} - before
    assert [path for path in left if ".code" not in path.parts] == []
    assert list(site.index.entries()) == []


def test_an_output_channel_that_a_live_job_writes_to_is_refused(site: Site) -> None:
    site.fake.cloud.times.pending = 3600.0
    channel = {"outputs": {"extra": "obs://bucket/extra"}}
    site.submit(resources=ONE, modelarts=channel)
    with pytest.raises(PlanError, match="MA054"):
        site.submit(resources=ONE, modelarts=channel)


def test_channels_arrive_as_variables_and_what_is_written_there_is_uploaded(site: Site) -> None:
    s3_client(site.fake.cloud.account).put_object(Bucket="bucket", Key="weights/w.txt", Body=b"41")
    code = "import os, pathlib as p; e = os.environ; n = int(p.Path(e['weights'], 'w.txt').read_text()); p.Path(e['extra'], 'n').write_text(str(n + 1))"
    channels = {
        "inputs": {"weights": "obs://bucket/weights"},
        "outputs": {"extra": "obs://bucket/extra-of-test"},
    }
    entry = site.submit(program=["python", "-c", code], resources=ONE, modelarts=channels)
    assert site.end(entry).state == "SUCCEEDED", site.console(entry)
    site.until(entry, lambda view: (site.bucket / "extra-of-test" / "n").exists())
    assert (site.bucket / "extra-of-test" / "n").read_text() == "42"


def test_a_container_without_keys_goes_through_the_platforms_moxing(site: Site, tmp_path: Path) -> None:
    """A stand-in with the documented functions over the bucket's folder; the PyPI package of its name is refused."""
    real, foreign = tmp_path / "real" / "moxing", tmp_path / "foreign" / "moxing"
    for folder in (real, foreign):
        folder.mkdir(parents=True)
    names = ("exists", "is_directory", "list_directory", "stat", "make_dirs", "remove", "copy", "File")
    lines = ["from pathlib import Path", "from tests.fakes.moxing_file import MoxingFile"]
    lines += [f"_box = MoxingFile(Path({str(site.bucket.parent)!r}))"]
    (real / "file.py").write_text("\n".join([*lines, *(f"{name} = _box.{name}" for name in names)]) + "\n")
    (real / "__init__.py").write_text("from moxing import file\n")
    (foreign / "__init__.py").write_text("")
    without = {"ACCESS_KEY_ID": "", "SECRET_ACCESS_KEY": ""}
    site.fake.cloud.extra_env = {**without, "PYTHONPATH": f"{real.parent}{os.pathsep}{ROOT}"}
    entry = site.submit(resources=ONE)
    well(site, entry)
    assert "obs:// goes through moxing" in site.console(entry)
    site.fake.cloud.extra_env = {**without, "PYTHONPATH": str(foreign.parent)}
    refused = site.submit(resources=ONE, modelarts={"obs_client": "moxing"})
    assert site.end(refused).state == "FAILED"
    assert "is not Huawei's" in site.console(refused)


def test_the_profile_file_of_the_sdk_opens_service_and_buckets(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = site.fake.cloud.account
    for name in ("AK", "SK", "PROJECT_ID"):
        monkeypatch.delenv(f"HUAWEICLOUD_SDK_{name}")
    text = f"[basic]\nak = {account.ak}\nsk = {account.sk}\nproject_id = {account.project_id}\n"
    (tmp_path / "credentials").write_text(text)
    monkeypatch.setenv("HUAWEICLOUD_SDK_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    site.fake.cloud.times.pending = 3600.0
    entry = site.submit(resources=ONE)
    assert site.until(entry, lambda view: bool(view.platform)).state == "PENDING"
    cancel(entry)


def test_no_secret_is_in_anything_that_a_run_leaves_behind(
    s3: tuple[S3Server, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Bucket, containers, index, requests, what was printed, and the arguments of every process meanwhile."""
    with site_on(*s3, tmp_path, monkeypatch, token="token-of-this-test-0123") as site:
        account = site.fake.cloud.account
        secrets = [text.encode() for text in (account.sk, account.ak, account.token)]
        entry = site.submit(resources=ONE, env={"STEP_S": "0.2"})
        seen = b""
        while not site.view(entry).state.terminal:
            seen += subprocess.run(["ps", "-eo", "args"], capture_output=True, check=False).stdout
            main(["status", entry.run_id])
            time.sleep(0.2)
        main(["explain", entry.run_id])
        well(site, entry)
        bodies = json.dumps(site.fake.service.requests).encode()
        printed = str(capfd.readouterr()).encode()
        ours = b"\n".join(line for line in seen.splitlines() if b"rclone" not in line)
        files = {
            path: path.read_bytes()
            for folder in (site.run_dir(entry), site.bucket / "runs" / ".code", tmp_path)
            for path in folder.rglob("*")
            if path.is_file() and path.stat().st_size < 5_000_000
        }
    assert len(files) > 50
    for secret in secrets:
        assert [str(path) for path, data in files.items() if secret in data] == []
        assert secret not in bodies
        assert secret not in printed
        assert secret not in ours


@pytest.mark.slow
def test_mindspore_trains_on_two_machines_from_a_bucket_into_a_bucket(
    site: Site,
    s3: tuple[S3Server, Path],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Submit, stage, train data-parallel, evaluate, upload, fetch: the commands of the documentation, as they stand there."""
    write_digits(site.bucket / "digits")
    wait_until(lambda: s3[0].shows(site.bucket.name, "digits/val/"), "the server shows the images")
    for name in ("jobs", "vitmodels"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "modelarts.md").read_text().partition("## Try it without an account")[2]
    lines = re.findall(r"^    \.venv/bin/launcher (.*)$", page, re.MULTILINE)
    assert len(lines) > 6
    for line in lines:
        words = shlex.split(line)
        words += ["--set", "epochs=1", "--set", "warmup_length=0"] if "--follow" in words else []
        if words[0] == "delete":
            wait_until(
                lambda: all(job.phase in ENDED for job in site.fake.cloud.jobs.values()),
                "the platform's job ends",
            )
        code = main(words)
        console = "\n".join(site.console(entry) for entry in site.index.entries())
        assert code == 0, f"{line}\n{capsys.readouterr().err}\n{console}"
    entry = next(site.index.entries())
    view = site.view(entry)
    assert set(view.results) == {"last", "checkpoint"}
    assert view.results["last"] == view.results["checkpoint"] > 0.15  # one epoch; chance is 0.1
    assert list((tmp_path / "fake" / "results" / "checkpoints").glob("step-*/model.safetensors"))
    assert site.fake.cloud.jobs == {}
    logs = [p.read_text() for p in site.run_dir(entry).glob("logs/attempt-1/node-*/node.log")]
    assert all("staged" in text for text in logs)
    assert len(logs) == 2
