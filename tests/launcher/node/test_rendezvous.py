"""Runs on several machines: real node programs, each with a work folder of its own, that meet only in the store."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from launcher.jobfile.load import load_job
from launcher.plan.model import Plan, Step
from launcher.runfolder.states import RunState
from launcher.runs.index import new_run_id
from launcher.storage import ObjectStore
from launcher.submission.prepare import plan_of
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET
from tests.waiting import PATIENCE_S, wait_until
from vitmodels.digits import write_digits

pytestmark = pytest.mark.system

COUNTER = Path(__file__).parents[2] / "programs" / "counter.py"


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
            "watch": {"grace": "5s", "nodes_timeout": "120s", **sections.get("watch", {})},  # type: ignore[dict-item]
        }
        path = self.folder / "job.yaml"
        path.write_text(yaml.safe_dump(job))
        for node in range(nodes):
            work = self.folder / f"machine-{node}"
            loaded = load_job(path, overrides=[f"output.work_dir={work}"])
            plan = plan_of(loaded.spec, loaded.recipe, run_id=self.run_id, env=os.environ, cwd=self.folder)
            self.plans[node] = plan
            plan.run_dir.root.mkdir(parents=True)
            plan.run_dir.plan.write_text(plan.model_dump_json())

    def start(self, *nodes: int, attempt: int = 1, **env: str) -> None:
        for node in nodes:
            command = [sys.executable, "-m", "launcher.node", str(self.plans[node].run_dir.plan)]
            command += ["--node", str(node), "--attempt", str(attempt)]
            with (self.folder / f"console-{node}.log").open("ab") as console:
                self.programs[node] = subprocess.Popen(
                    command, stdout=console, stderr=console, env={**os.environ, **env}, start_new_session=True
                )

    def codes(self, timeout_s: float = 300.0) -> list[int]:
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


@pytest.fixture
def machines(tmp_path: Path, launcher_home: Path) -> Iterator[Machines]:
    machines = Machines(tmp_path, (tmp_path / "runs").as_uri())
    yield machines
    machines.end()


def everything_ended_well(machines: Machines) -> None:
    assert machines.codes() == [0, 0], machines.log(0) + machines.log(1)
    assert machines.state.state == "SUCCEEDED"
    names = {info.key for info in machines.store.list()}
    assert {"logs/attempt-1/node-0/rank-0.log", "logs/attempt-1/node-1/rank-1.log"} <= names
    committed = {file["name"] for file in json.loads(machines.store.read("MANIFEST.json"))["files"]}
    assert {"logs/attempt-1/node-1/rank-1.log", "checkpoints/step-6/manifest.json"} <= committed
    assert not [name for name in committed if name.startswith("rendezvous/")]


def test_two_machines_meet_in_a_folder_and_finish_together(machines: Machines) -> None:
    machines.plan(env={"STEP_S": "0.1"})
    machines.start(0)
    wait_until(lambda: list(machines.store.list("rendezvous/")), "node 0 waits for node 1")
    machines.start(1)
    everything_ended_well(machines)


def test_a_program_for_rank_0_alone_runs_on_node_0_while_the_others_wait(machines: Machines) -> None:
    machines.plan()
    code = "import os; print(os.environ['RANK_SIZE'], os.environ.get('MS_ROLE'), flush=True)"
    export = Step(name="export", argv=(sys.executable, "-c", code), ranks="first")
    for node, plan in machines.plans.items():
        machines.plans[node] = plan.model_copy(update={"steps": (*plan.steps, export)})
        plan.run_dir.plan.write_text(machines.plans[node].model_dump_json())
    machines.start(0, 1)
    everything_ended_well(machines)
    assert machines.plans[0].run_dir.rank_log(1, 0, 0).read_text().endswith("1 None\n")
    assert "export" not in machines.log(1)


def test_two_machines_meet_in_a_bucket(
    tmp_path: Path, launcher_home: Path, rclone: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", rclone.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", rclone.secret_key)
    machines = Machines(tmp_path, f"s3://{BUCKET}/{tmp_path.name}", endpoint=rclone.endpoint)
    machines.plan()
    try:
        machines.start(0, 1)
        everything_ended_well(machines)
    finally:
        machines.end()


@pytest.mark.slow
def test_two_machines_train_the_digits_with_mindspore_and_survive_a_lost_rank(
    machines: Machines, tmp_path: Path
) -> None:
    """Data parallel over two machines; rank 1, which writes nothing itself, is killed, and both go on from rank 0's checkpoint."""
    recipe = Path(__file__).parents[3] / "vitmodels" / "configs" / "vit_digits.yaml"
    changes = {"epochs": 40, "batch_size": 16, "eval_batch_size": 40, "eval_every": 40, "save_every": 5}
    machines.plan(
        model={"config": str(recipe), "set": changes},
        data={"url": str(few_digits(tmp_path)), "cache_dir": str(tmp_path / "cache")},
        after={"eval": False, "export": []},
        retry={"max_restarts": 1, "backoff": "0s"},
        watch={"nodes_timeout": "60s"},
    )
    machines.start(0, 1)
    checkpoints = machines.plans[0].run_dir.checkpoints
    deadline = time.monotonic() + 120
    while not (checkpoints / "step-10").exists():  # two steps an epoch
        assert time.monotonic() < deadline, machines.log(0)
        time.sleep(0.02)
    pid = next(
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/environ")
        if {b"RANK_ID=1", f"LAUNCHER_RUN_ID={machines.run_id}".encode()} <= set(read(path).split(b"\0"))
    )
    os.kill(pid, signal.SIGKILL)
    assert machines.codes(180) == [0, 0], machines.log(0) + machines.log(1)
    first, second = machines.state.attempts
    assert "rank 1" in first.outcome
    assert "killed by SIGKILL" in first.outcome
    assert second.resumed_step in range(10, 80, 10)
    log = machines.plans[0].run_dir.rank_log(2, 0, 0).read_text()
    assert f"resumed from step {second.resumed_step}" in log
    assert (machines.plans[1].run_dir.checkpoints / f"step-{second.resumed_step}").exists()
    rows = [json.loads(line) for line in machines.store.read("metrics.jsonl").splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 41))
    assert json.loads(machines.store.read("checkpoints/LATEST"))["step"] == 80


def few_digits(folder: Path) -> Path:
    """70 images to train on and 40 to evaluate."""
    whole = folder / "digits"
    write_digits(whole)
    for part, count in (("train", 7), ("val", 4)):
        for label in sorted((whole / part).iterdir()):
            for path in sorted(label.iterdir())[:count]:
                target = folder / "few" / part / label.name / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
    return folder / "few"


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_failure_on_one_machine_restarts_all_from_the_same_checkpoint(machines: Machines) -> None:
    machines.plan(
        env={"FAIL_AT": "5:1:kill", "STEPS": "8", "STEP_S": "0.3"}, retry={"max_restarts": 1, "backoff": "0s"}
    )
    machines.start(0, 1)
    assert machines.codes() == [0, 0], machines.log(0) + machines.log(1)
    state = machines.state
    assert [a.attempt for a in state.attempts] == [1, 2]
    assert "rank 1" in state.attempts[0].outcome
    assert "(node 1) killed by SIGKILL" in state.attempts[0].outcome
    resumed = state.attempts[1].resumed_step
    assert resumed is not None
    assert resumed >= 4
    for rank in (0, 1):  # rank 1 has what only rank 0 had saved
        assert (
            f"starts after step {resumed}\n"
            in machines.plans[rank].run_dir.rank_log(2, rank, rank).read_text()
        )
    assert "attempt 2" in machines.log(1, attempt=2)


def test_a_failure_stops_the_other_machine_within_seconds(machines: Machines) -> None:
    machines.plan(env={"FAIL_AT": "3:1:exit 9", "STEPS": "600", "STEP_S": "0.2"})
    machines.start(0, 1)
    machines.until(1, 2)
    assert machines.codes() == [100, 100]
    assert "rank 1" in machines.state.reason
    assert "exit code 9" in machines.state.reason


def test_a_machine_that_never_comes_is_named(machines: Machines) -> None:
    machines.plan(nodes=3, watch={"nodes_timeout": "4s"})
    machines.start(0, 2)
    assert machines.codes() == [100, 100]
    assert "node 1 of 3 did not come within" in machines.state.reason


def test_a_machine_that_fails_before_the_start_says_why(machines: Machines, tmp_path: Path) -> None:
    machines.plan(data={"url": str(tmp_path / "images")})
    (tmp_path / "images").mkdir()
    machines.start(0, 1)
    codes = machines.codes()
    assert codes == [100, 100]
    assert "images" in machines.state.reason


def test_sigterm_to_one_machine_stops_all_with_a_checkpoint(machines: Machines) -> None:
    machines.plan(env={"STEPS": "600", "STEP_S": "0.1"})
    machines.start(0, 1)
    machines.until(1, 5)
    os.kill(machines.programs[1].pid, signal.SIGTERM)
    codes = machines.codes()
    assert codes[1] == 75
    state = machines.state
    assert state.state == "FAILED"
    assert "stopped by SIGTERM" in state.reason
    assert state.safe_step is not None


def test_a_cancel_request_reaches_all_machines(machines: Machines) -> None:
    machines.plan(env={"STEPS": "600", "STEP_S": "0.1"})
    machines.start(0, 1)
    machines.until(0, 3)
    machines.store.put("cancel.json", b"{}")
    assert machines.codes() == [103, 103]
    assert machines.state.state == "CANCELLED"


def test_a_checkpoint_file_is_brought_to_the_machine_that_lacks_it(machines: Machines) -> None:
    """A program that knows nothing of the launcher: rank 0 saves for all, each machine has a disk of its own and loses it."""
    machines.plan(
        program=[sys.executable, str(COUNTER.with_name("saver.py"))],
        requires=["json"],
        resume_args=["--resume", "{resume}"],
        env={"FAIL_AT": "2"},
    )
    machines.start(0, 1)
    assert machines.codes() == [100, 100]
    for plan in machines.plans.values():
        shutil.rmtree(plan.run_dir.work)
    machines.start(0, 1, attempt=2)
    assert machines.codes() == [0, 0], machines.log(0, 2) + machines.log(1, 2)
    for node, plan in machines.plans.items():
        log = plan.run_dir.rank_log(2, node, node).read_text()
        assert f"rank {node} starts after epoch 2" in log
