"""A program that starts the ranks itself (torchrun, msrun) is started once per machine, with what it has to know."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.errors import PlanError
from launcher.jobfile.spec import JobSpec
from launcher.node.preset import preset_rank
from launcher.runfolder.states import State
from launcher.submission.prepare import plan_of

ROOT = Path(__file__).parents[3]
TORCH = os.environ.get("LAUNCHER_TEST_TORCH", sys.executable)
"""A Python that has torch."""
SHOW = """
import json, os, pathlib, sys
folder = pathlib.Path(os.environ["LAUNCHER_RUN_DIR"], "eval")
folder.mkdir()
(folder / f"seen-{os.getpid()}.json").write_text(json.dumps({"env": dict(os.environ), "words": sys.argv[1:]}))
"""


def logs_of(jobs, run_id: str) -> list[str]:
    return [path.read_text() for path in sorted(jobs.folder.glob(f"runs/{run_id}/logs/*/*/*.log"))]


def test_one_process_gets_numbers_and_nothing_of_a_rank(jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PET_NNODES", "99")
    words = ["{nodes}", "{node}", "{ranks}", "{ranks_per_node}", "{master_addr}", "{master_port}"]
    view = jobs.run(program=[sys.executable, "-c", SHOW, *words], per="node", devices=3)
    assert view.state is State.SUCCEEDED, view.reason
    (seen,) = (json.loads(path.read_text()) for path in jobs.folder.glob("runs/*/eval/seen-*.json"))
    env = seen["env"]
    assert seen["words"] == ["1", "0", "3", "3", "127.0.0.1", env["MASTER_PORT"]]
    torchrun = {name: env[name] for name in env if name.startswith("PET_")}
    assert torchrun == {
        "PET_NNODES": "1",
        "PET_NODE_RANK": "0",
        "PET_NPROC_PER_NODE": "3",
        "PET_MASTER_ADDR": "127.0.0.1",
        "PET_MASTER_PORT": env["MASTER_PORT"],
    }
    assert not {"RANK", "LOCAL_RANK", "RANK_ID", "DEVICE_ID", "MS_ROLE", "MS_WORKER_NUM"} & env.keys()


def test_torchrun_needs_no_option(jobs) -> None:
    if subprocess.run([TORCH, "-c", "import torch"], capture_output=True, check=False).returncode:
        pytest.skip(
            "torch is not installed: pip install torch, or name a Python that has it in LAUNCHER_TEST_TORCH"
        )
    script = str(ROOT / "tests" / "programs" / "ddp.py")
    view = jobs.run(program=["torchrun", script], per="node", devices=2, local={"python": TORCH})
    assert view.state is State.SUCCEEDED, view.reason
    log = "\n".join(logs_of(jobs, view.run_id))
    assert "rank 0 of 2 has 3" in log
    assert "rank 1 of 2 has 3" in log


@pytest.mark.slow
def test_msrun_starts_two_ranks_of_mindspore(jobs) -> None:
    from PIL import Image  # msrun is this module as a command; this Python may have no such file beside it

    draws = random.Random(0)
    for index in range(16):
        path = jobs.folder / "images" / f"class-{index % 2}" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.frombytes("RGB", (32, 32), draws.randbytes(32 * 32 * 3)).save(path)
    view = jobs.run(
        program=[
            *(
                "python",
                "-m",
                "mindspore.parallel.cluster.run",
                "--worker_num",
                "{ranks}",
                "--local_worker_num",
                "{ranks_per_node}",
            ),
            *("--master_addr", "{master_addr}", "--master_port", "{master_port}", "--node_rank", "{node}"),
            *("--join", "True", "--tail_worker_log", "0", "--log_dir", "workers"),
            *(str(ROOT / "examples" / "plain_mindspore.py"), "--data", "{data}", "--batch-size", "4"),
            *("--epochs", "2"),
        ],
        per="node",
        devices=2,
        data={"url": str(jobs.folder / "images")},
    )
    assert view.state is State.SUCCEEDED, view.reason
    assert view.progress.epoch == 2
    assert any("accuracy" in log for log in logs_of(jobs, view.run_id))


def test_a_platform_that_starts_one_process_per_device_is_refused(tmp_path: Path) -> None:
    job = {"name": "a", "program": ["torchrun", "x"], "per": "node"}
    job |= {"resources": {"device": "ascend910", "devices_per_node": 8}}
    plan = plan_of(JobSpec.model_validate(job), None, run_id="a", env={}, cwd=tmp_path)
    with pytest.raises(PlanError, match="one process per device"):
        preset_rank(plan, {"RANK_ID": "5", "RANK_SIZE": "8", "ASCEND_DEVICE_ID": "5"})
