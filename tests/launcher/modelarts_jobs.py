"""Jobs for ModelArts as tests need them: plans without a service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from launcher.plan import Plan
from launcher.submission import prepare

IMAGE = {"region": "cn-north-4", "image": "org/launcher:1", "pool_id": "pool-x"}


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
