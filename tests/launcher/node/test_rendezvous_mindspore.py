"""Two machines train the digits with MindSpore."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.launcher.node.machines import Machines
from tests.waiting import PATIENCE_S
from vitmodels.digits import write_digits

pytestmark = pytest.mark.system


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
        watch={"nodes_timeout": "400s"},
    )
    machines.start(0, 1)
    checkpoints = machines.plans[0].run_dir.checkpoints
    deadline = time.monotonic() + PATIENCE_S
    while not (checkpoints / "step-10").exists():  # two steps an epoch
        assert time.monotonic() < deadline, machines.log(0)
        time.sleep(0.02)
    pid = next(
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/environ")
        if {b"RANK_ID=1", f"LAUNCHER_RUN_ID={machines.run_id}".encode()} <= set(read(path).split(b"\0"))
    )
    os.kill(pid, signal.SIGKILL)
    assert machines.codes() == [0, 0], machines.log(0) + machines.log(1)
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
