"""A machine's runs in every state that a dashboard shows, written to the disk in one go."""

import json
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.runfolder.states import Attempt, AttemptResult, FirstFailure, PhaseStart, State
from launcher.runs.index import Index
from launcher.runs.records import read_records
from tests.launcher.samples import Sample

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\x1b[2J"
MANY = 1000
BEAT_S = 10.0


@dataclass(frozen=True)
class Scenes:
    """Run ids by what happened. `foreign` is known only by the folder `store`."""

    running: str
    queued: str
    failed: str
    restarted: str
    done: str
    hostile: str
    wide: str
    foreign: str
    store: Path


def write_scenes(folder: Path) -> Scenes:
    """Below `folder`, and into the index of `$LAUNCHER_HOME`; ages are those of right now."""
    now = time.time()
    _many(folder, now)
    return Scenes(
        running=_running(folder, now),
        queued=_queued(folder, now),
        failed=_failed(folder, now),
        restarted=_restarted(folder, now),
        done=_done(folder, now, "done"),
        hostile=_hostile(folder, now),
        wide=_wide(folder, now),
        foreign=_foreign(folder, now),
        store=folder / "store",
    )


@contextmanager
def heard_of(*run_ids: str) -> Iterator[None]:
    """However long the tests take, the runs that go on have not fallen silent."""
    index, end = Index(), threading.Event()
    states = [entry.run_dir.state for run_id in run_ids if (entry := index.get(run_id)) is not None]

    def beat() -> None:
        while not end.wait(BEAT_S):
            for state in states:
                os.utime(state)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def curve(epochs: int) -> list[dict[str, Any]]:
    return [
        {
            "epoch": k,
            "step": 1251 * k,
            "loss": 1.9 + 5 * math.exp(-k / 9) + 0.05 * math.sin(k * 1.7),
            "top1": 0.79 * (1 - math.exp(-k / 12)),
            "lr": 0.001 * (1 + math.cos(math.pi * k / 60)) / 2,
            "images_per_s": 7900 + 120 * math.sin(k),
        }
        for k in range(1, epochs + 1)
    ]


def _phases(start: float) -> tuple[PhaseStart, ...]:
    return (
        PhaseStart(phase="staging", at=start + 1),
        PhaseStart(phase="running", at=start + 240, program="train"),
    )


def _running(folder: Path, now: float) -> str:
    sample, began = Sample(folder, name="tnt-s-imagenet-16p"), now - 7200
    attempts = (Attempt(attempt=1, started_at=began),)
    sample.state(
        State.RUNNING,
        submitted_at=began,
        attempts=attempts,
        phase_times=_phases(began),
        safe_step=47538,
    )
    for node in (0, 1):
        ranks = [{"rank": 8 * node + k, "phase": "training", "step": 48000 + k} for k in range(8)]
        progress = {
            "epoch": 38,
            "epochs": 60,
            "step": 48000,
            "loss": 2.031,
            "images_per_s": 7950,
            "eta_s": 4300,
        }
        sample.node(
            node=node,
            host=f"npu-{17 + node}",
            ranks=ranks,
            progress=progress,
            phase_since=began + 240,
        )
    sample.metrics(*curve(38))
    sample.log("rank-0", "".join(f"epoch 38 step {k} loss {2.2 - k / 9000:.4f}\n" for k in range(400)))
    return sample.plan.run_id


def _queued(folder: Path, now: float) -> str:
    sample = Sample(folder, name="vit-b-16-sweep-lr-3e-3")
    sample.state(
        State.QUEUED,
        "waits for 8 free devices of partition npu (2 jobs are before it)",
        attempts=(),
    )
    return sample.plan.run_id


def _failed(folder: Path, now: float) -> str:
    sample, began = Sample(folder, name="tnt-s-imagenet-8p"), now - 5400
    line = "[ERROR] DEVICE(1432,ffff8e7fc1e0,python):2026-11-28-13:05:11 EI0006: Getting socket times out. Reason: 1. The remote does not initiate a connect request."
    failure = FirstFailure(process="rank 3", rank=3, node=0, host="npu-03", device="3", exit=1, line=line)
    attempts = (
        Attempt(
            attempt=1,
            started_at=began,
            ended_at=began + 900,
            outcome="rank 3 on npu-03 failed",
            result=AttemptResult.FAILED,
            first_failure=failure,
        ),
    )
    sample.log("rank-3", "".join(f"step {k}\n" for k in range(30)) + line + "\n")
    sample.node(host="npu-03", ranks=[{"rank": k, "phase": "training", "step": 30} for k in range(8)])
    sample.metrics(*curve(3))
    sample.state(
        State.FAILED,
        f"rank 3 on npu-03 failed: {line}",
        submitted_at=began,
        ended_at=began + 900,
        attempts=attempts,
        first_failure=failure,
        phase_times=_phases(began),
    )
    return sample.plan.run_id


def _restarted(folder: Path, now: float) -> str:
    sample, began = Sample(folder, name="vit-b-16-imagenet", retry={"max_restarts": 3}), now - 9000
    failure = FirstFailure(process="rank 5", rank=5, node=0, host="npu-04", signal="SIGKILL")
    attempts = (
        Attempt(
            attempt=1,
            started_at=began,
            ended_at=began + 3000,
            outcome="rank 5 on npu-04 was killed",
            result=AttemptResult.FAILED,
            first_failure=failure,
        ),
        Attempt(attempt=2, started_at=began + 3060, resumed_step=12510, resume_settled=True),
    )
    phases = (
        *_phases(began),
        PhaseStart(phase="waiting", at=began + 3000),
        PhaseStart(phase="staging", at=began + 3061),
        PhaseStart(phase="running", at=began + 3080, program="train"),
    )
    sample.state(
        State.RUNNING,
        attempt=2,
        submitted_at=began,
        attempts=attempts,
        phase_times=phases,
        safe_step=25020,
    )
    sample.log("rank-5", "step 10\n")
    sample.log("rank-0", "resumed from step 12510\n", attempt=2)
    ranks = [{"rank": k, "phase": "training", "step": 25020} for k in range(8)]
    progress = {"epoch": 20, "epochs": 300, "step": 25020, "loss": 3.2, "images_per_s": 3950, "eta_s": 180000}
    sample.node(attempt=2, host="npu-04", ranks=ranks, progress=progress)
    sample.metrics(*curve(20))
    sample.write("checkpoints/step-25020/model.safetensors", "x" * 4096)
    return sample.plan.run_id


def _done(folder: Path, now: float, name: str) -> str:
    sample, began = Sample(folder, name=f"tnt-s-{name}"), now - 90000
    attempts = (
        Attempt(
            attempt=1, started_at=began, ended_at=began + 72000, result=AttemptResult.DONE, outcome="done"
        ),
    )
    sample.state(
        State.SUCCEEDED,
        submitted_at=began,
        ended_at=began + 72000,
        attempts=attempts,
        phase_times=_phases(began),
        results={"checkpoint": 0.7853},
    )
    progress = {"epoch": 60, "epochs": 60, "loss": 1.9}
    sample.node(
        host="npu-09",
        progress=progress,
        ranks=[{"rank": k, "phase": "done", "step": 75060} for k in range(8)],
        updated_at=began + 72000,
    )
    sample.metrics(*curve(60))
    sample.write(
        "eval/checkpoint.json", json.dumps({"top1": 0.7853, "top5": 0.9412, "images": 50000, "step": 75060})
    )
    sample.write("checkpoints/step-75060/model.safetensors", "x" * 2048)
    return sample.plan.run_id


def _hostile(folder: Path, now: float) -> str:
    sample = Sample(folder, name="hostile")
    failure = FirstFailure(process="rank 0", rank=0, node=0, host=HOSTILE, line=HOSTILE, rule="hang")
    sample.log("rank-0", f"epoch 1\n{HOSTILE}\n")
    sample.node(host=HOSTILE, last_error=HOSTILE, phase=HOSTILE)
    sample.metrics(*curve(2))
    sample.state(State.FAILED, HOSTILE, submitted_at=now - 60, ended_at=now, first_failure=failure)
    return sample.plan.run_id


def _wide(folder: Path, now: float) -> str:
    """Many machines, and words without a space."""
    sample, began, word = Sample(folder, name="vit-l-16-imagenet-264p"), now - 7200, "x" * 300
    attempts = (
        Attempt(
            attempt=1,
            started_at=began,
            ended_at=began + 60,
            outcome=word,
            result=AttemptResult.FAILED,
            first_failure=FirstFailure(process=word, rank=0, node=0, host="npu-01", exit=1),
        ),
        Attempt(attempt=2, started_at=began + 60),
    )
    sample.state(State.RUNNING, attempt=2, submitted_at=began, attempts=attempts)
    for node in range(33):
        ranks = [{"rank": 8 * node + k, "phase": "training", "step": 48000} for k in range(8)]
        sample.node(attempt=2, node=node, host=f"npu-{node:02d}.cluster.example.com", ranks=ranks)
    return sample.plan.run_id


def _foreign(folder: Path, now: float) -> str:
    """A run of another machine: its folder lies in the store, and the index does not know it."""
    run_id = _done(folder, now, "of-a-colleague")
    index = Index()
    entry = index.get(run_id)
    assert entry is not None
    store = folder / "store"
    store.mkdir(exist_ok=True)
    entry.run_dir.root.rename(store / run_id)
    (store / ".runs").mkdir(exist_ok=True)
    (store / ".runs" / run_id).write_text("")
    index.remove(run_id)
    return run_id


def _many(folder: Path, now: float) -> None:
    """Ended runs of the last weeks, as a busy machine has them."""
    sample = Sample(folder, name="many")
    final = read_records(sample.entry, 60).state
    for number in range(MANY):
        began, failed = now - 100_000 - 3600 * number, number % 10 == 3
        name = f"sweep-{number % 7}"
        run_id = f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(began))}-{number:04x}"
        state = final.model_copy(
            update={
                "run_id": run_id,
                "name": name,
                "submitted_at": began,
                "ended_at": began + 3000,
                "state": State.FAILED if failed else State.SUCCEEDED,
                "reason": "rank 1 on npu-02 failed: out of memory" if failed else "",
            }
        )
        entry = {"run_id": run_id, "name": name, "submitted_at": began, "final": state}
        text = sample.entry.model_copy(update=entry).model_dump_json()
        (sample.index.root / f"{run_id}.json").write_text(text)  # `put` syncs each file
    sample.index.remove(sample.plan.run_id)
