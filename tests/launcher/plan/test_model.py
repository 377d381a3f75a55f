"""Plans that are read back: today's, those of older launchers, and those that can't be read; and plans that are changed."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from launcher.backends import BACKENDS
from launcher.cli import main
from launcher.errors import PlanError
from launcher.jobfile.load import load_job
from launcher.node.program import main as node_main
from launcher.plan.model import Plan
from launcher.plan.rewrite import as_run, with_words
from launcher.submission.prepare import plan_of
from tests.launcher.samples import write_job

RUN, OTHER = "sample-20260101-000000-abcd", "sample-20260202-000000-0123"
OPTIONS: dict[str, dict[str, Any]] = {
    "kubernetes": {"image": "a/b:1"},
    "local": {},
    "slurm": {"after": ["sample-2025"], "time": "2h", "memory": "2GiB"},
    "modelarts": {"region": "cn-north-4", "image": "a/b:1", "volumes": [{"pfs": "/p", "mount": "/mnt/p"}]},
}


def job_plan(folder: Path, backend: str, **sections: Any) -> Plan:
    resources = {"backend": backend, "device": "ascend910", "devices_per_node": 2, "nodes": 2}
    path = write_job(folder, resources=resources, **{backend: OPTIONS[backend]}, **sections)
    job = load_job(path, env={})
    return plan_of(job.spec, job.recipe, run_id=RUN, env={"HOME": "/nowhere"}, cwd=folder)


def in_the_older_format(plan: Plan) -> str:
    """With one field for the options of each platform, and the runs to follow among them."""
    values = json.loads(plan.model_dump_json())
    options = values.pop("options")
    del values["after_runs"]
    older = {name: options if name == plan.backend else None for name in BACKENDS if name != "local"}
    return json.dumps({**values, **older})


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_a_plan_is_read_as_it_was_written(tmp_path: Path, backend: str) -> None:
    plan = job_plan(tmp_path, backend)
    read = Plan.read(plan.model_dump_json(), "plan.json")
    assert read == plan
    assert type(read.options) is type(plan.options)


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_the_plans_of_older_runs_are_read(tmp_path: Path, backend: str) -> None:
    plan = job_plan(tmp_path, backend)
    assert Plan.read(in_the_older_format(plan), "plan.json") == plan


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"options": {"tiem": 1}}, "tiem"),
        ({"options": {"time": "soon"}}, "time"),
        ({"from_the_future": 1}, "from_the_future"),
        ({"nodes": "many"}, "nodes"),
    ],
)
def test_a_plan_that_can_not_be_read_is_named_with_its_field(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    values = json.loads(job_plan(tmp_path, "slurm").model_dump_json())
    with pytest.raises(PlanError, match=words) as caught:
        Plan.read(json.dumps({**values, **change}), "the/plan.json")
    assert caught.value.where == "the/plan.json"
    with pytest.raises(PlanError, match="can't read the plan"):
        Plan.read(b'{"run_id": ', "plan.json")


def test_a_run_whose_plan_can_not_be_read_is_an_error_for_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], launcher_home: Path
) -> None:
    plan = job_plan(tmp_path, "local")
    folder = tmp_path / "runs" / RUN
    folder.mkdir(parents=True)
    text = json.dumps({**json.loads(plan.model_dump_json()), "from_the_future": 1})
    (folder / "plan.json").write_text(text)
    assert main(["status", str(folder)]) == 2
    assert "from_the_future" in capsys.readouterr().err
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        assert node_main([str(folder / "plan.json")]) == 2
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    assert "from_the_future" in capsys.readouterr().err


def test_the_same_plan_as_another_run(tmp_path: Path) -> None:
    plan = job_plan(tmp_path, "local", env={"NOTE": f"not {RUN}"})
    again = as_run(plan, OTHER)
    assert (again.run_id, again.store.url) == (OTHER, plan.store.url.replace(RUN, OTHER))
    assert again.env["LAUNCHER_RUN_ID"] == again.env["JOB_ID"] == OTHER
    assert again.env["LAUNCHER_RUN_DIR"] == str(again.run_dir.root)
    assert again.env["NOTE"] == f"not {RUN}", "the user's own text stays"
    assert again.ranks[0].env["ASCEND_PROCESS_LOG_PATH"] == str(again.run_dir.root / "ascend" / "rank-0")
    assert as_run(again, RUN) == plan


def test_only_whole_names_of_folders_are_changed(tmp_path: Path) -> None:
    plan = job_plan(tmp_path, "local", env={"A": "/disk", "B": "/disk/x", "C": "/disk-2/x", "D": "at /disk"})
    changed = with_words(plan, {"/disk": "/other"})
    assert [changed.env[key] for key in "ABCD"] == ["/other", "/other/x", "/disk-2/x", "at /disk"]


def test_machines_need_onnx_when_it_is_to_be_exported(tmp_path: Path) -> None:
    config = {"config": str(Path(__file__).parents[3] / "vitmodels" / "configs" / "vit_digits.yaml")}
    sections = {"program": None, "model": config, "data": {"url": "digits"}}
    assert "onnx" not in job_plan(tmp_path, "local", **sections).requires
    after = {"export": ["MINDIR", "ONNX"]}
    assert "onnx" in job_plan(tmp_path, "local", after=after, **sections).requires
