"""Jobs for ModelArts as tests need them, and a service that takes them without running any."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.backends.base import Handle
from launcher.backends.modelarts.jobs import SeenJob
from launcher.plan.model import Plan
from launcher.submission.prepare import prepare
from tests.fakes.modelarts import FakeModelArts, exports, fake_modelarts
from tests.fakes.modelarts_jobs import Job
from tests.fakes.modelarts_wire import Account

IMAGE = {"region": "cn-north-4", "image": "org/launcher:1", "pool_id": "pool-x"}
MORE: dict[str, Any] = {
    **IMAGE,
    "ssh": {"key_pairs": ["my-key"]},
    "experiment": "tnt sizes",
    "keep_hours": 2,
    "retention": "disabled",
    "part": {"cpu": 24.0, "memory": 192.0, "cards": 8.0},
}
PULL = "Back-off pulling image org/x:1: ImagePullBackOff"


def write_job(folder: Path, *, modelarts: dict[str, Any] | None = None, **sections: Any) -> Path:
    """A job of two machines with eight cards each, and whatever a test wants to differ."""
    job: dict[str, Any] = {
        "name": "tnt",
        "program": ["python", "-m", "mine"],
        "resources": {
            "backend": "modelarts",
            "device": "ascend910",
            "nodes": 2,
            "devices_per_node": 8,
            "time_limit": "23h",
        },
        "output": {"url": "obs://bucket/runs"},
        "retry": {"max_restarts": 3},
        "modelarts": IMAGE if modelarts is None else modelarts,
    }
    for key, value in sections.items():
        merged = isinstance(value, dict) and isinstance(job.get(key), dict)
        job[key] = {**job[key], **value} if merged else value
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


def make(folder: Path, **sections: Any) -> Plan:
    return prepare(write_job(folder, **sections), cwd=folder).plan


@contextmanager
def service_here(account: Account, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModelArts]:
    """The fake service; its address and the account's keys are in the environment."""
    with fake_modelarts(account, folder / "containers", run=False) as fake:
        for key, value in {**exports(fake, account), "LAUNCHER_NO_AGENCY": "1"}.items():
            monkeypatch.setenv(key, value)
        monkeypatch.setenv("LAUNCHER_HOME", str(folder / "home"))
        yield fake


def handle_of(job: Job | SeenJob, **data: Any) -> Handle:
    made = {"created_ms": job.created_ms, "submitted_at": time.time() - 1000, "id": job.id, "name": job.name}
    return Handle(backend="modelarts", data={**made, **data})
