"""The folder of the submission and those of `modelarts.code` may change: every attempt of a run, and its retry, runs what was submitted."""

import shutil
import zipfile
from pathlib import Path

import pytest

from launcher.backends.modelarts.code import keep_code, make_archive, store_code
from launcher.backends.modelarts.request import code_url
from launcher.errors import IntegrityError
from launcher.plan.code import code_zip
from launcher.runs.index import RunEntry
from launcher.submission.resume import resume
from launcher.submission.retry import retry
from tests.launcher.backends.modelarts.jobs import IMAGE, make
from tests.launcher.backends.modelarts.site import Site

PROGRAM = """
import os, signal
from mylib import VERSION
print("script {version}, library", VERSION, flush=True)
if int(os.environ["LAUNCHER_ATTEMPT"]) < 3:
    os.kill(os.getpid(), signal.SIGKILL)  # as a machine out of memory does
"""


def write_code(site: Site, version: str) -> None:
    library = site.folder / "elsewhere" / "mylib"
    library.mkdir(parents=True, exist_ok=True)
    (library / "__init__.py").write_text(f"VERSION = {version!r}\n")
    (site.folder / "desk" / "train.py").write_text(PROGRAM.replace("{version}", version))


def first_line(site: Site, entry: RunEntry, attempt: int) -> str:
    log = site.run_dir(entry) / f"logs/attempt-{attempt}/node-0/rank-0.log"
    return log.read_text().splitlines()[0]


@pytest.mark.slow
@pytest.mark.system
def test_queued_restarted_resumed_and_retried_runs_run_what_was_submitted(site: Site) -> None:
    write_code(site, "submitted")
    site.fake.cloud.times.pending = 1.0
    entry = site.submit(
        program=["python", "train.py"],
        resources={"nodes": 1},
        retry={"max_restarts": 1, "backoff": "0s"},
        modelarts={"code": [str(site.folder / "elsewhere" / "mylib")]},
    )
    write_code(site, "edited while it waits")
    site.fake.cloud.times.pending = 0.05
    assert site.end(entry).state == "FAILED"
    submitted = "script submitted, library submitted"
    assert [first_line(site, entry, attempt) for attempt in (1, 2)] == [submitted] * 2
    shutil.rmtree(site.folder / "elsewhere")  # not even missing folders matter
    resumed = resume(site.index.find(entry.run_id), site.index)
    view = site.end(resumed)
    assert view.state == "SUCCEEDED", f"{view.reason}\n{site.console(entry)}"
    assert first_line(site, entry, 3) == submitted
    again = retry(site.index.find(entry.run_id), site.index)
    assert site.end(again).state == "FAILED"
    assert first_line(site, again, 1) == submitted


@pytest.mark.system
def test_another_launcher_replaces_its_own_code_and_keeps_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "mine"
    own.mkdir()
    (own / "train.py").write_text("print('submitted')")
    (own / "run.sh").write_text("true")
    (own / "run.sh").chmod(0o755)
    plan = make(tmp_path, modelarts={**IMAGE, "code": ["mine"], "requirements": ["einops"]})
    local = plan.store.model_copy(update={"url": (tmp_path / "runs" / plan.run_id).as_uri()})
    plan = keep_code(plan.model_copy(update={"store": local}))
    assert plan.own_code is not None
    assert keep_code(plan) == plan
    (own / "train.py").write_text("print('edited')")
    assert store_code(plan) == plan.own_code.digest != make_archive(plan, tmp_path).digest
    older = plan.model_copy(
        update={"own_code": plan.own_code.model_copy(update={"launcher": "of another version"})}
    )
    assert store_code(older) == plan.own_code.digest  # launcher has not changed in truth
    monkeypatch.setattr("launcher.plan.code._LEFT_OUT", {"__pycache__", "report"})
    monkeypatch.setattr("launcher.plan.code.code_zip", code_zip.__wrapped__)  # which this process has kept
    digest = store_code(older)
    assert digest != plan.own_code.digest
    with zipfile.ZipFile(Path(code_url(plan, digest).removeprefix("file://")) / "code.zip") as archive:
        names = archive.namelist()
        assert archive.read("code/mine/train.py") == b"print('submitted')"
        assert archive.read("requirements.txt") == b"einops\n"
        assert archive.getinfo("code/mine/run.sh").external_attr >> 16 == 0o755
    assert len(names) == len(set(names))
    assert not [name for name in names if name.startswith("launcher/report/")]


def test_code_that_is_gone_from_the_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    plan = make(tmp_path, modelarts={**IMAGE, "code": ["mine"]})
    local = plan.store.model_copy(update={"url": (tmp_path / "runs" / plan.run_id).as_uri()})
    plan = keep_code(plan.model_copy(update={"store": local}))
    shutil.rmtree(tmp_path / "runs" / ".code")
    with pytest.raises(IntegrityError, match="is not in the store any more") as error:
        store_code(plan)
    assert ".code/" in (error.value.where or "")
