"""Jobs for Kubernetes as tests need them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from launcher.plan.model import Plan
from launcher.submission.prepare import prepare

SECTION = {
    "namespace": "vision",
    "image": "registry.example.com/launcher:1",
    "schedule_policy": "chip8-node8",
    "secret": "obs-keys",
}


def write_job(folder: Path, *, kubernetes: dict[str, Any] | None = None, **sections: Any) -> Path:
    """A job of two nodes with eight cards each, and whatever a test wants to differ. `kubernetes` is added to `SECTION`."""
    job: dict[str, Any] = {
        "name": "tnt",
        "program": ["python", "-m", "mine"],
        "resources": {"backend": "kubernetes", "device": "ascend910b", "nodes": 2, "devices_per_node": 8},
        "output": {"url": "obs://bucket/runs"},
        "retry": {"max_restarts": 3},
        "kubernetes": {**SECTION, **(kubernetes or {})},
    }
    for key, value in sections.items():
        merged = isinstance(value, dict) and isinstance(job.get(key), dict)
        job[key] = {**job[key], **value} if merged else value
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


def make(folder: Path, **sections: Any) -> Plan:
    return prepare(write_job(folder, **sections), cwd=folder).plan
