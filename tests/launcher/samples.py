"""Runs as they lie on the disk, written in one go instead of being run: for tests of what people are shown."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from launcher.api import Run
from launcher.runfolder.states import Attempt, NodeStatus, RunState, State
from launcher.runs.index import Index, RunEntry
from launcher.runs.view import RunView
from launcher.submission.prepare import prepare

NOW = 1_795_300_000.0


def write_job(folder: Path, **sections: Any) -> Path:
    """A job with a program of its own, so that neither images nor MindSpore are needed."""
    job = {
        "name": "sample",
        "program": [sys.executable, "train.py"],
        "output": {"url": str(folder / "store")},
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump({**job, **sections}))
    return path


class Sample:
    """One run in a folder. It counts as one of this machine whose node program ended."""

    def __init__(self, folder: Path, *, index: Index | None = None, **sections: Any) -> None:
        self.index = index or Index()
        prepared = prepare(write_job(folder, **sections), cwd=folder)
        self.plan = prepared.plan
        self.root = self.plan.run_dir.root
        self.write("plan.json", self.plan.model_dump_json())
        self.write("job.yaml", prepared.job.source_text)
        origins = {key: str(origin) for key, origin in prepared.job.origins.items()}
        self.write(
            "record.json", json.dumps({"origins": origins, "command": ["launcher", "submit", "job.yaml"]})
        )
        self.entry = RunEntry(
            run_id=self.plan.run_id,
            name=self.plan.name,
            backend="local",
            submitted_at=NOW,
            store=self.plan.store,
            work_dir=self.plan.work_dir,
        )
        self.index.put(self.entry)
        self.state(State.SUCCEEDED)

    @property
    def run(self) -> Run:
        return Run(self.entry, self.index)

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def state(self, state: State, reason: str = "", **values: Any) -> None:
        attempts = (Attempt(attempt=1, started_at=NOW, ended_at=NOW + 60, outcome=reason or "done"),)
        usual = {
            "submitted_at": NOW,
            "updated_at": time.time(),
            "ended_at": NOW + 60 if state.terminal else None,
            "attempts": attempts,
        }
        value = RunState(
            run_id=self.plan.run_id,
            name=self.plan.name,
            backend="local",
            state=state,
            reason=reason,
            url=self.plan.store.url,
            **{**usual, **values},
        )
        self.write("state.json", value.model_dump_json())

    def log(self, process: str, text: str, *, attempt: int = 1, node: int = 0) -> Path:
        return self.write(f"logs/attempt-{attempt}/node-{node}/{process}.log", text)

    def node(self, **values: Any) -> None:
        status = NodeStatus(
            **{
                "node": 0,
                "host": "m1",
                "pid": 7,
                "attempt": 1,
                "phase": "training",
                "phase_since": NOW,
                "updated_at": time.time(),
                **values,
            }
        )
        self.write(f"status/node-{status.node}.json", status.model_dump_json())

    def metrics(self, *rows: dict[str, Any]) -> None:
        self.write("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def make_view(**values: Any) -> RunView:
    """A view with what a test does not care about filled in."""
    return RunView(
        **{
            "run_id": "sample-20261121-120000-abcd",
            "name": "sample",
            "backend": "local",
            "state": State.RUNNING,
            "phase": "training",
            "attempt": 1,
            "reason": "",
            "progress": {},
            "submitted_at": NOW,
            "url": "obs://bucket/runs/sample-20261121-120000-abcd",
            **values,
        }
    )
