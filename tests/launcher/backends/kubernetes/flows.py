"""Whole runs on the stand-in: job files whose pods are processes of this machine, and waiting for what a user sees."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from launcher.runs.index import Index, RunEntry
from launcher.runs.view import RunView, view_of
from tests.conftest import COUNTER
from tests.fakes.kubernetes_cluster import FakeCluster
from tests.waiting import wait_until

ROOT = Path(__file__).parents[4]


def job(
    folder: Path,
    cluster: FakeCluster,
    nodes: int,
    *,
    kind: str = "vcjob",
    env: dict[str, str] | None = None,
    options: dict[str, Any] | None = None,
    places: Sequence[Path] = (),
    **sections: Any,
) -> Path:
    """A job of the counter, unless `sections` name another program. `options` are more of the back end's. Pods have the folder, that of the counter and `places` as volumes."""
    volumes = [{"host_path": str(place), "mount": str(place)} for place in (folder, COUNTER.parent, *places)]
    section = {"kind": kind, "namespace": cluster.namespace, "image": "launcher:1", "python": sys.executable}
    spec: dict[str, Any] = {
        "name": "counter",
        "program": ["python", str(COUNTER)],
        "resources": {"backend": "kubernetes", "nodes": nodes},
        "output": {"url": str(folder / "runs"), "work_dir": str(folder / "work"), "upload_every": "1s"},
        "data": {"cache_dir": str(folder / "cache")},
        "watch": {"grace": "120s"},
        "env": env or {},
        "kubernetes": {**section, "volumes": volumes, **(options or {})},
        **sections,
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in spec.items() if value is not None}))
    return path


def view(entry: RunEntry) -> RunView:
    return view_of(Index().find(entry.run_id), Index())


def until(entry: RunEntry, condition: Callable[[RunView], object]) -> RunView:
    """The run once `condition` holds. A look costs what `launcher status` costs, so it is not repeated at once."""

    def look() -> RunView | None:
        if condition(seen := view(entry)):
            return seen
        assert not seen.state.terminal, f"{seen.state}: {seen.reason}"
        return None

    def words() -> str:
        seen = view(entry)
        return f"{seen.state}: {seen.reason or seen.detail}"

    found = wait_until(look, words, poll_s=0.2)
    assert found is not None
    return found


def ended(entry: RunEntry) -> RunView:
    return until(entry, lambda seen: seen.state.terminal)
