"""Machines of one run, each a node program with a disk of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from launcher.jobfile.load import load_job
from launcher.plan.model import Plan
from launcher.runfolder.states import RunState
from launcher.runs.index import new_run_id
from launcher.snapshot.archive import Snapshot
from launcher.storage import ObjectStore
from launcher.submission.prepare import plan_of
from launcher.threads import environment
from tests.snapshots import snapshot_of, with_snapshot
from tests.waiting import PATIENCE_S

COUNTER = Path(__file__).parents[2] / "programs" / "counter.py"


def begin_programs_with(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every Python program that is started from now on runs this first. It lies in the folder, which is made."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    return folder


class Machines:
    """Starts the node programs of one run and waits for them."""

    def __init__(self, folder: Path, url: str, **options: str) -> None:
        self.folder, self.url, self.options = folder, url, options
        self.programs: dict[int, subprocess.Popen[bytes]] = {}
        self.run_id = new_run_id("nodes")
        self.plans: dict[int, Plan] = {}

    def plan(self, *, nodes: int = 2, env: dict[str, str] | None = None, **sections: object) -> None:
        job = {
            "name": "nodes",
            **({} if "model" in sections else {"program": [sys.executable, str(COUNTER)]}),
            "resources": {"nodes": nodes, "devices_per_node": 1},
            "output": {"url": self.url, "upload_every": "1s", **self.options},
            "env": env or {},
            **sections,
            "watch": {"grace": "60s", "nodes_timeout": "400s", **sections.get("watch", {})},  # type: ignore[dict-item]
        }
        path = self.folder / "job.yaml"
        path.write_text(yaml.safe_dump(job))
        snapshot: Snapshot | None = None
        for node in range(nodes):
            work = self.folder / f"machine-{node}"
            loaded = load_job(path, overrides=[f"output.work_dir={work}"])
            plan = plan_of(loaded.spec, loaded.recipe, run_id=self.run_id, env=os.environ, cwd=self.folder)
            if plan.snapshot:
                snapshot = snapshot or snapshot_of(loaded.spec, self.folder)
                plan = with_snapshot(plan, snapshot)
            self.plans[node] = plan
            plan.run_dir.root.mkdir(parents=True, exist_ok=True)
            plan.run_dir.plan.write_text(plan.model_dump_json())

    def start(self, *nodes: int, attempt: int = 1, **env: str) -> None:
        for node in nodes:
            command = [sys.executable, "-m", "launcher.node", str(self.plans[node].run_dir.plan)]
            command += ["--node", str(node), "--attempt", str(attempt)]
            with (self.folder / f"console-{node}.log").open("ab") as console:
                self.programs[node] = subprocess.Popen(
                    command,
                    stdout=console,
                    stderr=console,
                    env={**environment(), **env},
                    start_new_session=True,
                )

    def codes(self, timeout_s: float = PATIENCE_S) -> list[int]:
        deadline = time.monotonic() + timeout_s
        try:
            return [p.wait(deadline - time.monotonic()) for _, p in sorted(self.programs.items())]
        except subprocess.TimeoutExpired:
            pytest.fail("\n".join(self.log(node) for node in self.plans))

    def log(self, node: int, attempt: int = 1) -> str:
        path = self.plans[node].run_dir.node_log(attempt, node)
        return path.read_text() if path.exists() else f"no {path}"

    @property
    def store(self) -> ObjectStore:
        return self.plans[0].store.open()

    @property
    def state(self) -> RunState:
        return RunState.model_validate_json(self.store.read("state.json"))

    def step(self, node: int) -> int:
        path = self.plans[node].run_dir.progress_of(node)
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return max((line.get("step", 0) for line in lines), default=0)

    def until(self, node: int, step: int, timeout_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + timeout_s
        while self.step(node) < step:
            assert time.monotonic() < deadline, self.log(node)
            time.sleep(0.05)

    def end(self) -> None:
        for program in self.programs.values():
            if program.poll() is None:
                os.kill(program.pid, signal.SIGTERM)
        for program in self.programs.values():
            try:
                program.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                os.kill(program.pid, signal.SIGKILL)
                program.wait()


def everything_ended_well(machines: Machines) -> None:
    assert machines.codes() == [0, 0], machines.log(0) + machines.log(1)
    assert machines.state.state == "SUCCEEDED"
    names = {info.key for info in machines.store.list()}
    assert {"logs/attempt-1/node-0/rank-0.log", "logs/attempt-1/node-1/rank-1.log"} <= names
    committed = {file["name"] for file in json.loads(machines.store.read("MANIFEST.json"))["files"]}
    assert {"logs/attempt-1/node-1/rank-1.log", "checkpoints/step-6/manifest.json"} <= committed
    assert not [name for name in committed if name.startswith("rendezvous/")]
