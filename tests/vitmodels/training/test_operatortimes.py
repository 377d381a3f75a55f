"""The time of operators, from the files of MindSpore's profiler, and which steps are profiled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitmodels.errors import UsageError
from vitmodels.training.operatortimes import Operator, operators_in, write_timeline
from vitmodels.training.profiling import Window

CPU = """op_side,op_type,op_name,full_op_name,op_occurrences,op_total_time(ms),op_avg_time(ms),total_proportion,subgraph,pid
Host,BiasAdd,BiasAdd-op0,Default/BiasAdd-op0,4,0.5,0.125,0.1,Default,333
Host,MatMul,MatMul-op0,Default/MatMul-op0,4,3.0,0.75,0.6,Default,333
Host,MatMul,MatMul-op1,Default/MatMul-op1,4,1.5,0.375,0.3,Default,333
"""
NPU = """Step ID,Name,Type,Accelerator Core,Start Time(us),Duration(us),Wait Time(us)
7,Default/MatMul-op1,MatMulV2,AI_CORE,17000000.1,300.5,0
7,Default/MatMul-op2,MatMulV2,AI_CORE,17000400.1,299.5,0
7,Default/Cast-op1,Cast,AI_VECTOR_CORE,17000800.1,200,1
"""
CALLS = "Default/MatMul-op0;HostCpuOps;1795889755953273737,0.5,0 1795889755954344516,0.25,3 \n"


def test_operators_of_one_kind_are_added_up(tmp_path: Path) -> None:
    (tmp_path / "a" / "FRAMEWORK").mkdir(parents=True)
    (tmp_path / "a" / "FRAMEWORK" / "cpu_op_detail_info_0.csv").write_text(CPU)
    assert operators_in(tmp_path) == (Operator("MatMul", 8, 4.5, 0.9), Operator("BiasAdd", 4, 0.5, 0.1))


def test_kernels_of_an_npu_are_counted_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "kernel_details.csv").write_text(NPU)
    assert operators_in(tmp_path) == (Operator("MatMulV2", 2, 0.6, 0.75), Operator("Cast", 1, 0.2, 0.25))


def test_no_operator_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="recorded no operator"):
        operators_in(tmp_path)


def test_a_timeline_has_each_call_in_microseconds(tmp_path: Path) -> None:
    (tmp_path / "cpu_op_execute_timestamp_0.txt").write_text(CALLS)
    write_timeline(tmp_path)
    events = json.loads((tmp_path / "trace_view.json").read_text())["traceEvents"]
    assert [(each["name"], each["dur"], each["tid"]) for each in events] == [
        ("Default/MatMul-op0", 500, 0),
        ("Default/MatMul-op0", 250, 3),
    ]
    assert events[1]["ts"] - events[0]["ts"] == pytest.approx(1070.779, abs=1)


def test_options_come_before_the_environment() -> None:
    env = {"LAUNCHER_PROFILE_STEPS": "7-9", "LAUNCHER_PROFILE_RANKS": "0,8"}
    assert Window.of(None, None, env) == Window(7, 9, (0, 8))
    assert Window.of("5", "1", env) == Window(5, 5, (1,))
    assert Window.of("5", None, {}) == Window(5, 5, (0,))
    assert Window.of(None, "1", {}) is None


@pytest.mark.parametrize(
    ("steps", "ranks"), [("9-7", "0"), ("0-3", "0"), ("ten", "0"), ("3-", "0"), ("3", "-1"), ("3", "all")]
)
def test_what_names_no_steps_or_ranks_is_refused(steps: str, ranks: str) -> None:
    with pytest.raises(UsageError):
        Window.of(steps, ranks, {})
