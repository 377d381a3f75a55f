"""Jobs of the counter program, or of a model, on the cluster."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from launcher.errors import StoreError
from launcher.runs.index import Index, RunEntry
from launcher.runs.view import RunView, view_of
from launcher.storage import ObjectStore
from launcher.submission.launch import submit
from launcher.submission.prepare import prepare
from tests.servers.stores import BUCKET
from tests.slurm.cluster import Cluster, processes_of

POLL_S = 0.5
PATIENCE_S = 600.0
"""For a test that fails: twenty nodes on a busy machine take their time."""
COUNTER = Path(__file__).parents[1] / "programs" / "counter.py"


class SlurmJobs:
    """Submits jobs of the counter program and waits for them. Its methods may be called from several threads."""

    def __init__(self, cluster: Cluster, folder: Path, endpoint: str) -> None:
        self.cluster, self.folder, self.endpoint, self.index = cluster, folder, endpoint, Index()
        self.entries: list[RunEntry] = []
        self.ended: set[str] = set()

    def file(self, name: str, *, env: dict[str, str] | None = None, nodes: int = 2, **sections: Any) -> Path:
        job = {
            "name": name,
            **({} if "model" in sections else {"program": [sys.executable, str(COUNTER)]}),
            "env": env or {},
            **sections,
            "resources": {"backend": "slurm", "nodes": nodes, **sections.get("resources", {})},
            "output": {
                "url": f"s3://{BUCKET}/runs",
                "upload_every": "1s",
                "work_dir": str(self.cluster.disk / "work"),
                **sections.get("output", {}),
            },
            "watch": {"grace": "50s", "nodes_timeout": "400s"},
            "slurm": {
                "exclusive": True,
                "log": str(self.cluster.folder / "log" / "job-%j.log"),
                **sections.get("slurm", {}),
            },
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(job))
        return path

    def submit(self, name: str, **arguments: Any) -> RunEntry:
        entry = submit(prepare(self.file(name, **arguments)), self.index)
        self.entries.append(entry)
        return entry

    def view(self, entry: RunEntry) -> RunView:
        for _ in range(5):
            with suppress(StoreError):  # this server lists an object twice while it is being replaced
                return view_of(self.index.find(entry.run_id), self.index)
            time.sleep(0.2)
        return view_of(self.index.find(entry.run_id), self.index)

    def until(
        self, entry: RunEntry, condition: Callable[[RunView], Any], what: str, timeout_s: float = PATIENCE_S
    ) -> RunView:
        deadline = time.monotonic() + timeout_s
        while not condition(view := self.view(entry)):
            assert not view.state.terminal, f"{what}: {self.story(entry, view)}"
            assert time.monotonic() < deadline, (
                f"not within {timeout_s:g} s: {what}: {self.story(entry, view)}"
            )
            time.sleep(POLL_S)
        return view

    def training(self, entry: RunEntry, step: int = 1, attempt: int = 1) -> RunView:
        return self.until(
            entry, lambda view: view.attempt >= attempt and (view.progress.step or 0) >= step, f"step {step}"
        )

    def safe(self, entry: RunEntry, step: int) -> RunView:
        return self.until(entry, lambda view: (view.safe_step or 0) >= step, f"step {step} in the store")

    def end(self, entry: RunEntry, timeout_s: float = PATIENCE_S) -> RunView:
        deadline = time.monotonic() + timeout_s
        while not (view := self.view(entry)).state.terminal:
            assert time.monotonic() < deadline, f"no end within {timeout_s:g} s: {self.story(entry, view)}"
            time.sleep(POLL_S)
        self.ended.add(entry.run_id)
        return view

    def number(self, entry: RunEntry) -> str:
        assert entry.handle is not None
        return str(entry.handle.data["job"])

    def store(self, entry: RunEntry) -> ObjectStore:
        return entry.store.open()

    def names(self, entry: RunEntry) -> set[str]:
        """What MANIFEST.json names."""
        return {file["name"] for file in json.loads(self.store(entry).read("MANIFEST.json"))["files"]}

    def log(self, entry: RunEntry) -> str:
        """The end of the logs of Slurm and the node programs."""
        path = Path(self.cluster.job(self.number(entry)).get("StdOut", "-"))
        return path.read_text()[-3000:] if path.exists() else "no log"

    def story(self, entry: RunEntry, view: RunView) -> str:
        """What is known of a run that did not do what a test waited for."""
        attempts = "\n".join(
            f"{each.started_at} {each.resumed_step} {each.outcome}" for each in view.attempts
        )
        nodes = self.cluster.call("sinfo", "-h", "-N", "-o", "%N %T %E", check=False)
        bad = [line for line in nodes.splitlines() if " idle " not in line and " allocated " not in line]
        job = self.cluster.call("scontrol", "show", "job", self.number(entry), check=False)
        state = f"{view.state} {view.phase} {view.detail} {view.reason}"
        return "\n".join((state, attempts, *bad, job, self.log(entry)))

    def nothing_is_left(self, entry: RunEntry) -> None:
        Cluster.until(lambda: not processes_of(entry.run_id), f"{entry.run_id} left processes")
