"""A platform that starts one process per card, with the fake Ascend tools."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.errors import PlanError
from launcher.jobfile.spec import JobSpec
from launcher.node.preset import as_one_rank, preset_rank
from launcher.plan.model import Plan
from launcher.runs.index import new_run_id
from launcher.submission.prepare import plan_of
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.system

PRESET = {"RANK_ID": "5", "RANK_SIZE": "8", "ASCEND_DEVICE_ID": "5"}


def preset_plan(tmp_path: Path, device: str = "ascend910", devices: int = 8) -> Plan:
    spec = JobSpec.model_validate(
        {
            "name": "preset",
            "program": ["true"],
            "resources": {"device": device, "devices_per_node": devices},
            "output": {"url": str(tmp_path / "runs"), "work_dir": str(tmp_path / "work")},
        }
    )
    return plan_of(spec, None, run_id=new_run_id("preset"), env=os.environ, cwd=tmp_path)


def test_the_rank_of_the_platform_is_taken(tmp_path: Path) -> None:
    assert preset_rank(preset_plan(tmp_path), PRESET) == 5
    assert preset_rank(preset_plan(tmp_path), {"RANK_ID": "5"}) is None
    assert preset_rank(preset_plan(tmp_path), {}) is None
    assert preset_rank(preset_plan(tmp_path, "cpu"), PRESET) is None


@pytest.mark.parametrize("wrong", [{"RANK_SIZE": "16"}, {"RANK_ID": "8"}, {"RANK_ID": "five"}])
def test_a_platform_with_another_number_of_ranks_is_refused(tmp_path: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(PlanError, match=r"the platform (started|set)"):
        preset_rank(preset_plan(tmp_path), {**PRESET, **wrong})


def test_every_process_is_a_machine_with_one_rank(tmp_path: Path) -> None:
    plan = as_one_rank(preset_plan(tmp_path), 5, "5")
    assert (plan.nodes, plan.devices_per_node, plan.world_size) == (8, 1, 8)
    assert [rank.rank for rank in plan.ranks_of(5)] == [5]
    assert plan.ranks_of(5)[0].env["DEVICE_ID"] == "5"


def test_eight_processes_of_a_platform_start_eight_ranks_and_not_sixty_four(
    tmp_path: Path, launcher_home: Path
) -> None:
    """Two here, to be quick; the table, the devices and the ranks are the platform's."""
    fakes = Path(__file__).parents[2] / "fakes"
    program = (
        "import json, os, pathlib, sys; e = os.environ; "
        "names = ('RANK_ID', 'RANK_SIZE', 'DEVICE_ID', 'ASCEND_RT_VISIBLE_DEVICES', 'RANK_TABLE_FILE'); "
        "line = json.dumps({name: e.get(name) for name in names}) + chr(10); "
        "f = os.open(e['LAUNCHER_RUN_DIR'] + '/started', os.O_WRONLY | os.O_APPEND | os.O_CREAT); os.write(f, line.encode())"
    )
    plan = preset_plan(tmp_path, devices=2)
    step = plan.steps[0].model_copy(update={"argv": (sys.executable, "-c", program)})
    plan = plan.model_copy(update={"steps": (step,), "upload_every_s": 1})
    plan.run_dir.root.mkdir(parents=True)
    plan.run_dir.plan.write_text(plan.model_dump_json())
    table = {
        "version": "1.0",
        "status": "completed",
        "server_count": "1",
        "server_list": [
            {
                "server_id": "10.0.0.5",
                "host_nic_ip": "reserve",
                "device": [
                    {"device_id": str(k), "device_ip": f"192.168.10{k}.101", "rank_id": str(k)}
                    for k in range(2)
                ],
            }
        ],
    }
    (tmp_path / "platform.json").write_text(json.dumps(table))
    command = [sys.executable, "-m", "launcher.node", str(plan.run_dir.plan)]
    ranks = []
    for k in range(2):
        env = {
            **os.environ,
            "PATH": f"{fakes}:{os.environ['PATH']}",
            "FAKE_ASCEND": str(fakes / "machines" / "ascend910"),
        }
        env |= {"RANK_ID": str(k), "RANK_SIZE": "2", "ASCEND_DEVICE_ID": str(k)}
        env |= {"RANK_TABLE_FILE": str(tmp_path / "platform.json")}
        ranks.append(subprocess.Popen(command, env=env))
    logs = plan.run_dir.root / "logs"
    codes = [rank.wait(PATIENCE_S) for rank in ranks]
    assert codes == [0, 0], "".join(path.read_text() for path in logs.rglob("*.log"))
    started = [json.loads(line) for line in (plan.run_dir.root / "started").read_text().splitlines()]
    assert sorted(each["RANK_ID"] for each in started) == ["0", "1"]
    for each in started:
        assert each["DEVICE_ID"] == each["RANK_ID"]
        assert each["RANK_SIZE"] == "2"
        assert each["ASCEND_RT_VISIBLE_DEVICES"] is None
        assert len(json.loads(Path(each["RANK_TABLE_FILE"]).read_text())["server_list"]) == 1
