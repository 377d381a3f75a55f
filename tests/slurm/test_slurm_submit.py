"""What is sent to Slurm and what comes back, with stand-ins for its commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.backends.base import Handle
from launcher.backends.slurm import backend as slurm
from launcher.backends.slurm.backend import SlurmBackend
from launcher.backends.slurm.check import partitions
from launcher.backends.slurm.node import next_attempt
from launcher.backends.slurm.query import clean
from launcher.backends.slurm.send import send
from launcher.cli import main
from launcher.errors import BackendError, PlanError
from launcher.runs.index import Index
from launcher.runs.view import view_of
from launcher.submission.conditions import with_conditions
from launcher.submission.launch import launch_all
from launcher.submission.newrun import NewRun
from launcher.submission.prepare import prepare

ROOT = Path(__file__).parents[2]
JOB = ROOT / "jobs" / "digits_tnt_1p.yaml"
StandIn = Callable[[str, str], None]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Makes a command of the lines of a shell script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("LAUNCHER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(slurm, "PAUSE_S", -1.0)

    def make(name: str, lines: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{lines}\n")
        (folder / name).chmod(0o755)

    return make


PARTITION = "echo 'main*|down|4|infinite|5:00|64|8000|npu:8'"


def test_variables_of_the_shell_do_not_change_what_commands_mean() -> None:
    env = {
        "SBATCH_EXPORT": "NONE",
        "SQUEUE_USERS": "root",
        "SLURM_ARRAY_TASK_ID": "3",
        "SLURMD_NODENAME": "x",
        "ASCEND_RT_VISIBLE_DEVICES": "0",
        "RANK_ID": "0",
        "MS_ENABLE_NUMA": "1",
        "SLURM_CONF": "/etc/slurm.conf",
        "AWS_ACCESS_KEY_ID": "key",
    }
    assert clean(env) == {"MS_ENABLE_NUMA": "1", "SLURM_CONF": "/etc/slurm.conf", "AWS_ACCESS_KEY_ID": "key"}


@pytest.mark.parametrize("answer", ["17", "17;cluster", "welcome to the lab\\n17"])
def test_the_number_of_a_new_job(answer: str, stand_in: StandIn) -> None:
    stand_in("sbatch", f"printf '{answer}\\n'")
    assert send("script", "run-1") == "17"


@pytest.mark.parametrize(
    ("known", "number"), [("17|run-1|launcher:run-1\\n18|run-1|(null)\\n19|other|(null)\\n", "18"), ("", "")]
)
def test_a_job_that_was_taken_without_an_answer_is_asked_for(
    known: str, number: str, stand_in: StandIn
) -> None:
    stand_in("sbatch", "echo 'sbatch: error: Socket timed out on send/recv operation' >&2; exit 1")
    stand_in("squeue", f"printf '{known}'")
    if number:
        assert send("script", "run-1") == number
    else:
        with pytest.raises(BackendError, match="Socket timed out"):
            send("script", "run-1")


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("Invalid account or account/partition combination specified", "slurm.account"),
        ("Invalid feature specification", "slurm.constraint"),
        ("Requested node configuration is not available", "resources.nodes"),
        ("sbatch: unrecognized option '--foo'", "slurm.extra"),
    ],
)
def test_a_refusal_names_the_field_to_look_at(words: str, field: str, stand_in: StandIn) -> None:
    stand_in("sbatch", f'echo "sbatch: error: Batch job submission failed: {words}" >&2; exit 1')
    with pytest.raises(BackendError) as caught:
        send("script", "run-1")
    assert field in caught.value.hint


def test_an_answer_without_a_number_is_no_job(stand_in: StandIn) -> None:
    stand_in("sbatch", "echo done")
    with pytest.raises(BackendError, match="no number of a job in its answer: 'done'"):
        send("script", "run-1")


def test_partitions_of_a_cluster_among_several(stand_in: StandIn) -> None:
    stand_in("sinfo", "echo 'CLUSTER: far'; echo 'npu*|up|4|1-00:00:00|n/a|192|64+|npu:910b:8(S:0)'")
    (found,) = partitions()
    assert (found.name, found.default, found.limit_s, found.default_s) == ("npu", True, 86400, None)
    assert found.gres == {"npu": 8, "npu:910b": 8}


def test_following_a_run_limits_the_calls_of_slurm(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    stand_in("squeue", f"echo x >> {calls}; echo '17|RUNNING|None|node1|1|main|run-1|launcher:run-1'")
    handle = Handle(backend="slurm", data={"job": "17", "comment": "launcher:run-1"})
    monkeypatch.setattr(slurm, "PAUSE_S", 10_000.0)
    slurm._recent.clear()
    assert [SlurmBackend().poll([handle])[0].alive for _ in range(3)] == [True] * 3
    assert calls.read_text() == "x\n"


def test_what_the_cluster_warns_of_is_shown(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SBATCH_ACCOUNT", "vision")
    stand_in("sinfo", PARTITION)
    stand_in("sbatch", "echo 17")
    (tmp_path / "job.yaml").write_text("name: x\nprogram: ['true']\noutput: {url: runs}\n")
    command = ["submit", str(tmp_path / "job.yaml"), "--backend", "slurm"]
    code = main([*command, "--set", "slurm.time=1h"])
    words = capsys.readouterr().err
    assert code == 0, words
    assert words.count("partition main is down: the run would wait") == 1
    assert "slurm.account: SBATCH_ACCOUNT=vision of this shell is ignored" in words
    assert main(command) == 2
    words = capsys.readouterr().err
    assert (
        "a job of partition main that names no time gets 5 min 00 s: the run would be stopped as soon"
        in words
    )


def test_a_sweep_whose_runs_ask_for_different_things_is_counted_by_nobody(stand_in: StandIn) -> None:
    sets = ["slurm.max_parallel=1"]
    plans = [prepare(JOB, overrides=[*sets, f"slurm.cpus={k}"], backend="slurm").plan for k in (1, 2)]
    with pytest.raises(BackendError, match="ask Slurm for different things"):
        SlurmBackend().submit_all(plans)


def test_the_array_of_a_sweep_is_shown_before_it_is_sent(
    stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["submit", str(JOB), "--backend", "slurm", "--sweep", "seed=1,2,3", "--dry-run"]
    assert main(words) == 0
    assert "#SBATCH --array=0-2" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    assert "--array=0-2" in json.loads(capsys.readouterr().out)["request"]


def test_a_run_that_is_followed_is_known_by_its_whole_id(stand_in: StandIn, tmp_path: Path) -> None:
    """What `last` means changes; the job of a run does, too, when it is resumed."""
    stand_in("sbatch", "echo 17")
    stand_in("squeue", "exit 0")
    stand_in("sacct", "exit 1")
    stand_in("scontrol", "exit 1")
    first = prepare(JOB, overrides=[f"output.url={tmp_path / 'runs'}"], backend="slurm")
    entry = launch_all([NewRun(first.plan, first.job.source_text, {})], Index())[0]
    stand_in("squeue", f"echo '17|RUNNING|None|node1|1|main|{entry.run_id}|launcher:{entry.run_id}'")
    plan = prepare(JOB, overrides=["slurm.after=[last]"], backend="slurm").plan
    assert (plan.after_runs, plan.after_jobs) == ((entry.run_id,), ("17",))
    assert entry.handle is not None
    handle = entry.handle.model_copy(update={"data": {**entry.handle.data, "job": "18"}})
    Index().put(entry.model_copy(update={"handle": handle}))
    stand_in("squeue", f"echo '18|RUNNING|None|node1|1|main|{entry.run_id}|launcher:{entry.run_id}'")
    assert with_conditions(plan).after_jobs == ("18",)
    stand_in("squeue", "echo '18|FAILED|NonZeroExitCode|node[1-2]|2|main|x|launcher:" + entry.run_id + "'")
    with pytest.raises(PlanError, match="nothing can follow it"):
        with_conditions(plan)
    view = view_of(entry.model_copy(update={"handle": handle}))
    assert f"what Slurm said is in {handle.data['log']} on node1" in view.reason


def test_a_run_that_slurm_forgot_lives_while_it_speaks(stand_in: StandIn, tmp_path: Path) -> None:
    """As after a controller that was lost with its newest jobs."""
    stand_in("sbatch", "echo 17")
    stand_in("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    stand_in("sacct", "exit 1")
    stand_in("scontrol", "echo 'ClusterName = lab'")
    job = prepare(JOB, overrides=[f"output.url={tmp_path / 'runs'}"], backend="slurm")
    entry = launch_all([NewRun(job.plan, job.job.source_text, {})], Index())[0]
    assert view_of(entry).state == "PENDING"
    then = time.time() - 1000
    os.utime(tmp_path / "runs" / entry.run_id / "state.json", (then, then))
    view = view_of(entry)
    assert (view.state, "does not know job 17" in view.reason) == ("FAILED", True)
    stand_in("scontrol", "echo 'ClusterName = another'")
    assert view_of(entry).state == "UNKNOWN"


@pytest.mark.parametrize(
    ("begun", "restarts", "attempt"),
    [("", "", 4), ("3", "", 4), ("3", "1", 7), ("4", "", 7), ("4", "2", 7)],
)
def test_each_start_of_a_job_is_an_attempt_that_nobody_else_has(
    begun: str, restarts: str, attempt: int, tmp_path: Path
) -> None:
    """Two jobs of one run, as of two people who resume it at once, fence one another off."""
    sets = [f"output.url={tmp_path / 'runs'}", "retry.max_restarts=2"]
    plan = prepare(JOB, overrides=sets, backend="slurm").plan
    if begun:
        plan.store.open().put(f"attempts/{begun}", b"")
    env = {"LAUNCHER_FIRST_ATTEMPT": "4", "SLURM_RESTART_COUNT": restarts}
    assert next_attempt(plan, env) == attempt


@pytest.mark.system
def test_a_node_starts_nothing_when_code_or_plan_are_not_those_of_the_job(
    stand_in: StandIn, tmp_path: Path
) -> None:
    stand_in("scontrol", f'echo "$@" >> {tmp_path / "comments"}')
    plan = prepare(JOB, overrides=[f"output.url={tmp_path / 'runs'}"], backend="slurm").plan
    run = NewRun(plan, "", {}).with_code()
    run.write_folder()
    plan, folder = run.plan, tmp_path / "runs" / run.plan.run_id
    facts = {"store": {"url": (tmp_path / "runs").as_uri()}, "work_dir": str(tmp_path / "node")}
    boot = (ROOT / "launcher" / "backends" / "slurm" / "boot.py").read_text()

    def start() -> str:
        """What the boot program says; it becomes a program of the code, which Slurm's variables are missing for."""
        env = {
            "LAUNCHER_BOOT": json.dumps({**facts, "code": plan.code, "packages": []}),
            "LAUNCHER_RUN": plan.run_id,
            "LAUNCHER_PLAN": plan.digest,
            "LAUNCHER_COMMENT": "launcher",
            "LAUNCHER_SLURM_JOB": "7",
        }
        done = subprocess.run(
            [sys.executable, "-c", boot, "attempt"],
            env={**os.environ, **env},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    assert start().strip() == "1"
    text = (folder / "plan.json").read_bytes()
    (folder / "plan.json").write_bytes(text.replace(b'"task": "train"', b'"task": "evil!"'))
    (tmp_path / "node" / plan.run_id / "plan.json").write_text("left by an earlier attempt")
    assert "the plan in the run's folder is not what was submitted" in start()
    (folder / "plan.json").write_bytes(text)
    assert start().strip() == "1"
    shutil.rmtree(tmp_path / "node")
    with (folder / "code.zip").open("ab") as file:
        file.write(b"more")
    assert "the code in the run's folder is not what was submitted" in start()
    assert "JobId=7" in (tmp_path / "comments").read_text()
