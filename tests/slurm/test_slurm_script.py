"""The batch script, literally. After a change: UPDATE_GOLDEN=1 pytest tests/slurm/test_script.py, then read the difference."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from launcher.backends.slurm.script import options_of, render
from launcher.jobfile.problems import JobFileError
from launcher.plan.model import Plan
from launcher.plan.rewrite import as_run
from launcher.submission.prepare import prepare

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
BOOT = (ROOT / "launcher" / "backends" / "slurm" / "boot.py").read_text()

CASES: dict[str, list[str]] = {
    "one_node": [],
    "npus": [
        "resources.device=ascend910b",
        "resources.devices_per_node=8",
        "resources.nodes=4",
        "slurm.gres=npu:910b",
        "slurm.partition=npu",
        "slurm.account=vision",
        "slurm.qos=high",
        "slurm.time=72:00:00",
        "slurm.cpus=192",
        "slurm.memory=1TB",
        "slurm.constraint=hccs",
        "slurm.exclude=node[3-4]",
        "slurm.extra=[--reservation=lab, --mail-type=END]",
        "slurm.setup=[source /usr/local/Ascend/ascend-toolkit/set_env.sh]",
        "output.url=s3://bucket/runs",
    ],
    "whole_nodes": [
        "resources.device=ascend910",
        "resources.devices_per_node=8",
        "slurm.gres=''",
        "slurm.nodelist=node1",
        "slurm.requeue=false",
        "slurm.log=/var/log/%x.log",
    ],
}


def plan(*overrides: str) -> Plan:
    job = ROOT / "jobs" / "digits_tnt_1p.yaml"
    made = prepare(
        job, overrides=overrides, backend="slurm", env={"LAUNCHER_HOME": "/home/me/ascend"}, cwd=Path("/work")
    ).plan
    return as_run(made, "digits-20261122-010203-abcd").model_copy(
        update={"code": "0" * 64, "python": "/opt/python"}
    )


def check(name: str, script: str) -> None:
    shown = re.sub(
        r"\b[0-9a-f]{64}$",
        "(sha256 of plan.json)",
        script.replace(BOOT, "(the text of slurm_boot.py)\n"),
        flags=re.M,
    )
    assert shown != script
    path = GOLDEN / f"{name}.sh"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(shown)
    assert shown == path.read_text()


@pytest.mark.parametrize("name", CASES)
def test_script(name: str) -> None:
    check(name, render([plan(*CASES[name])], 1))


def test_script_of_a_sweep_that_follows_another_run() -> None:
    first = plan("slurm.max_parallel=2").model_copy(update={"after_jobs": ("17",)})
    runs = [first.model_copy(update={"run_id": first.run_id.replace("abcd", f"000{k}")}) for k in range(3)]
    check("sweep", render(runs, 1))


@pytest.mark.parametrize("name", CASES)
def test_script_is_what_a_shell_understands(name: str) -> None:
    done = subprocess.run(
        ["bash", "-n"], input=render([plan(*CASES[name])], 1), text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_boot_program_gets_store_and_packages_unchanged() -> None:
    script = render([plan("output.url=s3://bucket/it's here/runs")], 3)
    line = next(line for line in script.splitlines() if line.startswith("export LAUNCHER_BOOT="))
    answer = subprocess.run(
        ["bash", "-c", f"{line}\nprintenv LAUNCHER_BOOT"], capture_output=True, text=True, check=True
    )
    assert json.loads(answer.stdout)["store"]["url"] == "s3://bucket/it's here/runs"
    assert "boto3" in json.loads(answer.stdout)["packages"]


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--nodes=3", "use resources.nodes"),
        ("-N3", "use resources.nodes"),
        ("-p npu", "use slurm.partition"),
        ("--signal=B:TERM@60", "use slurm.stop_before"),
        ("--export=NONE", "it can't be changed"),
        ("--part=npu", "use slurm.partition"),
        ("--test-only", "it can't be changed"),
        ("-M far", "it can't be changed"),
        ("reservation=lab", "expected flags of sbatch"),
    ],
)
def test_a_flag_that_contradicts_ours_is_refused(flag: str, words: str) -> None:
    with pytest.raises(JobFileError, match=words):
        plan(f"slurm.extra=[{flag!r}]")


def test_memory_is_asked_for_in_one_way() -> None:
    assert "#SBATCH --mem-per-cpu=2G" in render([plan("slurm.extra=[--mem-per-cpu=2G]")], 1)
    with pytest.raises(JobFileError, match=r"'--mem-per-cpu=2G' contradicts slurm\.memory"):
        plan("slurm.extra=[--mem-per-cpu=2G]", "slurm.memory=2GB")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("slurm.time=60", "write 90min or 12:30:00"),
        ("slurm.stop_before=20h", "at most 65535 s"),
        ("slurm.log=logs/%j.log", "expected a whole path"),
        ("slurm.python=.venv/bin/python", "expected a whole path"),
        ("slurm.partition='a b'", "one word"),
    ],
)
def test_what_slurm_would_take_for_something_else_is_refused(override: str, words: str) -> None:
    with pytest.raises(JobFileError, match=words):
        plan(override)


def test_a_plan_that_was_written_is_read_again() -> None:
    written = plan("slurm.time=90min", "slurm.stop_before=120s")
    read = Plan.model_validate_json(written.model_dump_json())
    assert (read, options_of(read).time) == (written, 5400)


def test_a_secret_of_the_environment_is_not_in_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-for-anybody")
    assert "not-for-anybody" not in render([plan("output.url=s3://bucket/runs")], 1)
