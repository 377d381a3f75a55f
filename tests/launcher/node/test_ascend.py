"""Node programs on machines with NPUs, as far as the stand-ins of tests/fakes go: devices, tables, environments."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher.devices.inventory import DeviceInfo
from launcher.errors import PlanError
from launcher.jobfile.spec import JobSpec
from launcher.node.devices import visible_devices
from launcher.node.program import NodeProgram
from launcher.plan.model import Plan
from launcher.runfolder.states import RunState
from launcher.runs.index import new_run_id
from launcher.submission.prepare import plan_of

FAKES = Path(__file__).parents[2] / "fakes"
NAMES = (
    "RANK_ID",
    "DEVICE_ID",
    "ASCEND_RT_VISIBLE_DEVICES",
    "HCCL_CONNECT_TIMEOUT",
    "MS_COMPILER_CACHE_PATH",
)
PROGRAM = (
    f"import json, os; values = {{name: os.environ.get(name) for name in {NAMES!r}}}; "
    "path = os.environ['LAUNCHER_RUN_DIR'] + '/rank-' + os.environ['RANK_ID'] + '.json'; "
    "json.dump(values, open(path, 'w'))"
)


@pytest.fixture
def on(tmp_path: Path, launcher_home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plan]:
    """Pretend to be a machine; `info` replaces text in what npu-smi prints."""

    def pretend(name: str, device: str, devices: int, info: tuple[str, str] | None = None) -> Plan:
        machine = tmp_path / "machine"
        shutil.copytree(FAKES / "machines" / name, machine)
        if info:
            text = (machine / "info.txt").read_text()
            assert info[0] in text
            (machine / "info.txt").write_text(text.replace(*info, 1))
        monkeypatch.setenv("PATH", f"{FAKES}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("FAKE_ASCEND", str(machine))
        spec = JobSpec.model_validate(
            {
                "name": "npu",
                "program": [sys.executable, "-c", PROGRAM],
                "resources": {"device": device, "devices_per_node": devices},
                "output": {
                    "url": str(tmp_path / "runs"),
                    "work_dir": str(tmp_path / "work"),
                    "upload_every": "1s",
                },
            }
        )
        plan = plan_of(spec, None, run_id=new_run_id("npu"), env=os.environ, cwd=tmp_path)
        plan.run_dir.root.mkdir(parents=True)
        return plan

    return pretend


def run(plan: Plan) -> tuple[int, RunState]:
    code = NodeProgram(plan, 0, 1).run()
    return code, RunState.model_validate_json(plan.run_dir.state.read_text())


def ranks(plan: Plan) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(plan.run_dir.root.glob("rank-?.json"))]


def test_ranks_see_logical_ids_and_the_table_holds_physical_ones(on: Callable[..., Plan]) -> None:
    """In a container with cards 4 to 7 the processes count from 0."""
    plan = on("container-4-7", "ascend910b", 2)
    code, state = run(plan)
    assert (code, state.reason) == (0, "")
    assert [each["DEVICE_ID"] for each in ranks(plan)] == ["0", "1"]
    assert {each["ASCEND_RT_VISIBLE_DEVICES"] for each in ranks(plan)} == {"0,1"}
    table = json.loads(plan.run_dir.rank_table.read_text())
    assert [device["device_id"] for device in table["server_list"][0]["device"]] == ["4", "5"]
    assert len({each["MS_COMPILER_CACHE_PATH"] for each in ranks(plan)}) == 2


@pytest.mark.parametrize(("here", "there"), [(None, "1800"), ("3600", "3600")])
def test_the_time_to_connect_is_raised_unless_it_was_set(
    on: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch, here: str | None, there: str
) -> None:
    plan = on("ascend910", "ascend910", 1)
    monkeypatch.delenv(
        "HCCL_CONNECT_TIMEOUT", raising=False
    )  # MindSpore sets it in a process that imports it
    if here:
        monkeypatch.setenv("HCCL_CONNECT_TIMEOUT", here)
    assert run(plan)[0] == 0
    assert ranks(plan)[0]["HCCL_CONNECT_TIMEOUT"] == there


def test_devices_that_the_platform_hides_are_not_taken(
    on: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "6,7")
    plan = on("ascend910", "ascend910", 2)
    assert run(plan)[0] == 0
    assert {each["ASCEND_RT_VISIBLE_DEVICES"] for each in ranks(plan)} == {"6,7"}
    assert [each["DEVICE_ID"] for each in ranks(plan)] == ["0", "1"]


def test_an_unhealthy_card_is_reported_before_anything_starts(on: Callable[..., Plan]) -> None:
    plan = on("ascend910", "ascend910", 8, ("910A                | OK  ", "910A                | Warning"))
    code, state = run(plan)
    assert code == 100
    assert "health is Warning" in state.reason
    assert ranks(plan) == []


@pytest.mark.system
def test_a_foreign_process_is_named_with_its_pid(
    on: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.node.devices.DEVICE_FREE_S", 0.5)
    busy = (
        "| 0       0                 | 4242          | python3                  | 12345                   |"
    )
    row = "| No running processes found in NPU 0                                                            |"
    plan = on("ascend910", "ascend910", 8, (row, busy))
    code, state = run(plan)
    assert code == 100
    assert "in use by process 4242 (python3)" in state.reason


def test_visible_devices_that_are_not_here_are_an_error() -> None:
    devices = [DeviceInfo(4, 0, "910"), DeviceInfo(5, 1, "910")]
    assert visible_devices(devices, {}) == devices
    assert visible_devices(devices, {"ASCEND_RT_VISIBLE_DEVICES": "1"}) == devices[1:]
    with pytest.raises(PlanError, match="the logical ids here are 0, 1"):
        visible_devices(devices, {"ASCEND_RT_VISIBLE_DEVICES": "4"})
