"""Logs in the shape of real ones, printed by the ranks of a real gang: what the state of the run says of them."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.cli import main
from launcher.jobfile.spec import JobSpec
from launcher.node.program import NodeProgram
from launcher.runfolder.states import FirstFailure, RunState, State
from launcher.runs.index import Index, RunEntry, new_run_id
from launcher.submission.prepare import plan_of
from tests.snapshots import snapshot_of, with_snapshot

pytestmark = pytest.mark.system

REPLAY = Path(__file__).parents[2] / "programs" / "replay.py"
TRACEBACK = 'Traceback (most recent call last):\n  File "train.py", line 3, in <module>\n    train()\n'
BLOCK = "\n----------------------------------------------------\n- {} Error Message:\n----------------------------------------------------\n{}\n"
GENERIC = (
    TRACEBACK
    + "RuntimeError: Ascend kernel runtime initialization failed. The details refer to 'Ascend Error Message'.\n"
)
NO_MEMORY = GENERIC + BLOCK.format("Ascend", "EL0004: Failed to allocate memory.")
BAD_TABLE = GENERIC + BLOCK.format("Ascend", "EI0004: The ranktable is invalid")
WAITED = "EI0002: The wait execution of the Notify register times out. remote rank:[0].\n"
WAITED_LONG = (
    "[ERROR] ASCENDCL(1,python):2022-12-01-00:26:58.086.834 [tensor_data_transfer.cpp:899]2 acltdtSendTensor: failed to send\n"
    + GENERIC
    + BLOCK.format("Ascend", WAITED)
)
BUG = TRACEBACK + "KeyError: 'label_smoothing'\n"
SHAPES = TRACEBACK + "ValueError: operands could not be broadcast together with shapes (3,) (4,) \n"
PARAMETER = GENERIC + BLOCK.format(
    "Ascend", "EI0003: In [HcclAllReduce], value [7] for parameter [op] is invalid."
)
PLOG = (
    "[INFO] GE(1,python3):2026-01-02-03:04:05.006.007 [engine.cc:1]1 started with SECRET_KEY=abcdefgh\n"
    "[ERROR] HCCL(1,python3):2026-01-02-03:04:05.106.007 [adapter.cc:2]1 call trace: hcclRet -> 7\n"
    "[ERROR] DRV(1,python3):2026-01-02-03:04:05.206.007 [memory.cc:3]1 EL0004: Failed to allocate memory.\n"
)


def play(folder: Path, ranks: dict[int, dict[str, Any]], env: dict[str, str] | None = None) -> RunState:
    """Run a gang whose ranks play these roles to its end, as a run of this machine."""
    spec = JobSpec.model_validate(
        {
            "name": "replay",
            "program": [sys.executable, str(REPLAY)],
            "resources": {"device": "cpu", "devices_per_node": len(ranks)},
            "env": {"REPLAY": json.dumps(ranks), **(env or {})},
            "retry": {"max_restarts": 1, "backoff": "0s"},
            "output": {"url": str(folder / "runs"), "work_dir": str(folder / "work"), "upload_every": "1s"},
        }
    )
    plan = plan_of(spec, None, run_id=new_run_id("replay"), env=os.environ, cwd=folder)
    plan = with_snapshot(plan, snapshot_of(spec, folder))
    plan.run_dir.plan.write_text(plan.model_dump_json())
    NodeProgram(plan, 0, 1).run()
    entry = RunEntry(
        run_id=plan.run_id, name="replay", backend="local", submitted_at=1.0, store=plan.store, work_dir=plan.work_dir
    )  # fmt: skip
    Index().put(entry)
    return RunState.model_validate_json(plan.run_dir.state.read_text())


def failure_of(state: RunState) -> FirstFailure:
    assert state.state is State.FAILED and state.first_failure is not None
    return state.first_failure


@pytest.mark.parametrize(
    ("log", "rule"),
    [
        (NO_MEMORY, "device-memory"),
        (BAD_TABLE, "rank-table"),
        (SHAPES, "shape"),
        (PARAMETER, "collective-argument"),
    ],
    ids=["memory", "rank table", "shape", "parameter"],
)
def test_what_repeats_is_not_restarted(
    log: str, rule: str, tmp_path: Path, launcher_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One rank. The state, `explain`, `status`, `wait` and the words of the end agree."""
    state = play(tmp_path, {0: {"log": log}})
    failure = failure_of(state)
    assert failure.rule == rule and failure.repeats and state.attempt == 1
    assert "a restart would fail the same way" in state.hint
    for command in ("explain", "status", "wait", "attach"):
        main([command, "last"])
        printed = capsys.readouterr()
        assert "launcher resume" not in printed.out + printed.err, command


def test_the_rank_that_dies_slowly_is_to_blame(tmp_path: Path, launcher_home: Path) -> None:
    """Rank 1 waited and ends first; rank 0 says why it fails, and is killed before it has ended."""
    ranks = {0: {"log": NO_MEMORY, "holds": True}, 1: {"log": WAITED_LONG, "after": 0}}
    failure = failure_of(play(tmp_path, ranks))
    assert (failure.rank, failure.rule, failure.code) == (0, "device-memory", "EL0004")


def test_a_rank_keeps_its_own_traceback_when_it_is_killed(tmp_path: Path, launcher_home: Path) -> None:
    state = play(tmp_path, {0: {"log": BUG, "holds": True}, 1: {"log": WAITED, "after": 0}})
    failure = failure_of(state)
    assert (failure.rank, failure.line) == (0, "KeyError: 'label_smoothing'")
    assert "out of memory" not in state.reason
    assert state.attempt == 2 and not failure.repeats


def test_a_cause_that_stands_in_plog_alone(
    tmp_path: Path, launcher_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both ranks waited, as far as their own logs say. The folder is the user's and is shared."""
    ranks = {
        0: {
            "log": WAITED_LONG,
            "plog": {"debug": PLOG, "run": "[EVENT] nothing\n", "device": "[INFO] x\n"},
            "until": 1,
        },
        1: {
            "log": WAITED_LONG,
            "plog": {"debug": "[ERROR] HCCL(1,p): call trace\n"},
            "after": 0,
            "holds": True,
        },
    }
    (tmp_path / "ascend" / "debug" / "plog").mkdir(parents=True)
    stranger = tmp_path / "ascend" / "debug" / "plog" / "plog-1_20260102030405006.log"
    stranger.write_text("[ERROR] X(1,p):2026-01-02-03:04:05.006.007 EI0004: The ranktable is invalid\n")
    failure = failure_of(play(tmp_path, ranks, {"ASCEND_PROCESS_LOG_PATH": str(tmp_path / "ascend")}))
    assert (failure.rank, failure.rule, failure.code, failure.repeats) == (0, "device-memory", "EL0004", True)
    assert failure.file.startswith("plog/rank-0/debug/plog/plog-") and failure.file.endswith(".log:3")
    (run,) = (tmp_path / "runs").iterdir()
    stored = run / "logs" / "attempt-1" / "node-0" / "plog"
    copies = list(stored.rglob("*.log"))
    assert len(copies) == 4 and not any("ranktable" in path.read_text() for path in copies)
    assert not any("abcdefgh" in path.read_text() for path in copies)
    assert main(["logs", "last", "--plog", "--rank", "0", "--errors"]) == 0
    assert "EL0004: Failed to allocate memory." in capsys.readouterr().out
    assert main(["explain", "last"]) == 0
    printed = capsys.readouterr().out
    assert failure.file in printed and "EL0004: Failed to allocate memory." in printed
    assert main(["explain", "last", "--json"]) == 0
    explained = json.loads(capsys.readouterr().out)
    assert explained["verdict"]["repeats"] is True and explained["verdict"]["code"] == "EL0004"
    assert {each["file"] for each in explained["evidence"] if each["code"] == "EL0004"} == {failure.file}


def test_a_second_opinion(
    tmp_path: Path, launcher_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stand-in of `ascend-fd` reads the CANN logs that were fetched for it; without one `--deep` says so."""
    play(
        tmp_path,
        {0: {"log": GENERIC, "plog": {"debug": PLOG}}},
        {"ASCEND_PROCESS_LOG_PATH": str(tmp_path / "ascend")},
    )
    assert main(["explain", "last", "--deep"]) == 0
    assert "ascend-fd is not on the PATH" in capsys.readouterr().out
    tool = tmp_path / "bin" / "ascend-fd"
    tool.parent.mkdir()
    tool.write_text(
        '#!/bin/sh\nif [ "$1" = parse ]; then cat "$3"/process_log/rank-0/debug/plog/*.log > "$5/all"; '
        'else echo "root cause: $(grep -ho EL0004 "$3"/worker-0/all)"; fi\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    assert main(["explain", "last", "--deep", "--json"]) == 0
    explained = json.loads(capsys.readouterr().out)
    assert explained["deep"] == "root cause: EL0004" and explained["verdict"]["rule"] == "device-memory"
    tool.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    assert main(["explain", "last", "--deep"]) == 0
    assert "ascend-fd failed: exit code 3: broken" in capsys.readouterr().out
