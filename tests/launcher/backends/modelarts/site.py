"""A whole place to work for tests of the ModelArts back end: a bucket on a real S3 server, the fake service, an index of runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.backends.modelarts import backend as modelarts
from launcher.runs.index import Index, RunEntry
from launcher.runs.view import RunView, view_of
from launcher.submission.launch import submit
from launcher.submission.prepare import prepare
from tests.fakes.modelarts import FakeModelArts, account_of, exports, fake_modelarts
from tests.fakes.modelarts_jobs import Job, Times
from tests.servers.process import Unavailable
from tests.servers.rotation import PAIRS
from tests.servers.s3 import S3Server, rclone_server
from tests.waiting import PATIENCE_S

PROGRAMS = Path(__file__).parents[3] / "programs"
TOTAL = 0.021  # 1 + 2 + ... + 6 steps, as the counter program writes it
QUICK = Times(creating=0.05, pending=0.05, grace=PATIENCE_S)


@dataclass
class Site:
    """What a test asks for. Jobs run the counter program on two machines unless it says otherwise."""

    folder: Path
    bucket: Path
    fake: FakeModelArts
    env: Mapping[str, str]
    index: Index
    entries: list[RunEntry] = field(default_factory=list)
    look_s: float = 0.2

    def file(self, modelarts_only: dict[str, Any] | None = None, **sections: Any) -> Path:
        """`modelarts_only` takes the place of the whole section; other sections are merged."""
        job: dict[str, Any] = {
            "name": "counter",
            "program": ["python", str(PROGRAMS / "counter.py")],
            "resources": {"backend": "modelarts", "device": "cpu", "nodes": 2, "time_limit": "1h"},
            "output": {"url": "obs://bucket/runs", "upload_every": "1s"},
            "watch": {"grace": "120s", "nodes_timeout": "400s"},
            "modelarts": {
                "region": "cn-north-4",
                "image": "org/launcher:1",
                "flavor": "modelarts.vm.cpu.8u",
                "code": [str(PROGRAMS)],
            },
        }
        for key, value in sections.items():
            merged = isinstance(value, dict) and isinstance(job.get(key), dict)
            job[key] = {**job[key], **value} if merged else value
            if value is None:
                del job[key]
        if modelarts_only is not None:
            job["modelarts"] = modelarts_only
        path = self.folder / "job.yaml"
        path.write_text(yaml.safe_dump(job))
        return path

    def submit(self, **sections: Any) -> RunEntry:
        entry = submit(prepare(self.file(**sections)), self.index)
        self.entries.append(entry)
        return entry

    def view(self, entry: RunEntry) -> RunView:
        return view_of(self.index.find(entry.run_id), self.index)

    def until(
        self, entry: RunEntry, condition: Callable[[RunView], bool], timeout_s: float = PATIENCE_S
    ) -> RunView:
        deadline = time.monotonic() + timeout_s
        while not condition(view := self.view(entry)):
            assert time.monotonic() < deadline, f"still {view.state} {view.platform}: {self.console(entry)}"
            time.sleep(self.look_s)
        return view

    def end(self, entry: RunEntry, timeout_s: float = PATIENCE_S) -> RunView:
        return self.until(entry, lambda view: view.state.terminal, timeout_s)

    def jobs(self, entry: RunEntry, attempt: int = 1) -> list[Job]:
        return self.fake.named(f"{entry.run_id}-a{attempt}")

    def job(self, entry: RunEntry, attempt: int = 1) -> Job:
        (job,) = self.jobs(entry, attempt)
        return job

    def run_dir(self, entry: RunEntry) -> Path:
        return self.bucket / "runs" / entry.run_id

    def result(self, entry: RunEntry) -> float:
        """What the counter program counted to."""
        return float(json.loads((self.run_dir(entry) / "eval" / "last.json").read_text())["top1"])

    def console(self, entry: RunEntry) -> str:
        """The end of what the containers printed."""
        logs = [
            m.log
            for job in self.fake.cloud.jobs.values()
            if job.name.startswith(entry.run_id)
            for m in job.machines
        ]
        return "\n".join(log.read_text()[-3000:] for log in logs if log.exists())


def well(site: Site, entry: RunEntry) -> None:
    """The run went well: the count is whole, every result is there and the platform has one job that ended."""
    view = site.end(entry)
    assert view.state == "SUCCEEDED", f"{view.reason}\n{site.console(entry)}"
    assert site.result(entry) == TOTAL
    listed = json.loads((site.run_dir(entry) / "MANIFEST.json").read_text())["files"]
    assert {"eval/last.json", "checkpoints/step-6/manifest.json"} <= {file["name"] for file in listed}
    assert not [file["name"] for file in listed if file["name"].startswith(("launches/", "platform-logs/"))]


@contextmanager
def served_bucket(folder: Path) -> Iterator[tuple[S3Server, Path]]:
    """A server, and the folder of its bucket. Skips the test where there can be none."""
    bucket = folder / "bucket"
    bucket.mkdir()
    try:
        with rclone_server(folder, more_keys=PAIRS) as server:
            yield server, bucket
    except Unavailable as error:
        pytest.skip(f"NOT TESTED, no S3 server: {error}")


@contextmanager
def site_on(
    s3: S3Server,
    bucket: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    times: Times = QUICK,
    run: bool = True,
    token: str = "",
) -> Iterator[Site]:
    account = account_of(s3, token)
    with fake_modelarts(account, folder / "containers", times=replace(times), run=run) as fake:
        env = {**exports(fake, account), "LAUNCHER_HOME": str(folder / "home"), "LAUNCHER_NO_AGENCY": "1"}
        for key, value in env.items():
            monkeypatch.setenv(key, value)
        (folder / "desk").mkdir(exist_ok=True)
        monkeypatch.chdir(folder / "desk")  # the folder of the submission, which a snapshot holds
        monkeypatch.setattr(modelarts, "PAUSE_S", 0.0)
        yield Site(folder, bucket, fake, env, Index())
