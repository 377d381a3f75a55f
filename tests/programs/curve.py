"""A training program without a framework whose curves look like a training, for tests of what people see.

It writes metrics.jsonl and eval/last.json as vitmodels does. Settings come from the recipe (epochs, base_lr, seed) and
from the environment: STEPS per epoch, STEP_S, COMPILE_S, and FAIL_EPOCH, the epoch that fails in attempt 1.
"""

import hashlib
import json
import math
import os
import random
import signal
import sys
import time
from pathlib import Path

if os.environ.get("MS_ROLE") == "MS_SCHED":
    sys.exit(0)
RUN_DIR = Path(os.environ["LAUNCHER_RUN_DIR"])
RANK, RANKS = int(os.environ["RANK_ID"]), int(os.environ["RANK_SIZE"])
STEPS = int(os.environ.get("STEPS", "10"))
STEP_S = float(os.environ.get("STEP_S", "0.01"))
RECIPE = json.loads((RUN_DIR / "recipe.json").read_text())
EPOCHS, BASE_LR = int(RECIPE.get("epochs", 5)), float(RECIPE.get("base_lr", 0.001))
noise = random.Random(int(RECIPE.get("seed", 0)))
stopping = False


def event(**values: object) -> None:
    path = RUN_DIR / "progress" / f"rank-{RANK}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps({"t": time.time(), **values}) + "\n")


def newest() -> int:
    names = (RUN_DIR / "checkpoints").glob("step-*/manifest.json")
    return max((json.loads(name.read_text())["step"] for name in names), default=0)


def save(step: int) -> None:
    folder = RUN_DIR / "checkpoints" / f".tmp-step-{step}-{os.getpid()}"
    folder.mkdir(parents=True)
    data = f"{step}".encode() * 5000
    (folder / "weights.bin").write_bytes(data)
    file = {"name": "weights.bin", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest = {"format": 1, "step": step, "epoch": step // STEPS, "arch": "curve", "files": [file]}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "metrics": {}, "kind": "train-state"}))
    folder.rename(RUN_DIR / "checkpoints" / f"step-{step}")
    event(event="checkpoint", step=step, epoch=step // STEPS, path=f"checkpoints/step-{step}")


def loss_at(step: int) -> float:
    speed = BASE_LR / (BASE_LR + 0.0005)
    return 0.1 + 2.2 * math.exp(-3.0 * speed * step / (STEPS * 5)) + 0.03 * noise.random()


def on_term(number: int, frame: object) -> None:
    global stopping
    stopping = True


def train(first: int) -> int:
    total = EPOCHS * STEPS
    begun = time.time()
    for step in range(first + 1, total + 1):
        epoch = (step - 1) // STEPS + 1
        if os.environ.get("FAIL_EPOCH") == str(epoch) and os.environ["LAUNCHER_ATTEMPT"] == "1" and RANK == 0:
            raise RuntimeError("[ERROR] HCCL error EI0006: connect to the peer timed out")
        time.sleep(STEP_S)
        rate = 32 * RANKS * (step - first) / max(1e-6, time.time() - begun)
        lr = BASE_LR * 0.5 * (1 + math.cos(math.pi * step / total))
        left = (total - step) * STEP_S
        values = {"epoch": epoch, "epochs": EPOCHS, "step": step, "steps": total, "loss": loss_at(step)}
        event(event="step", lr=lr, images_per_s=rate, eta_s=left, **values)
        if stopping:
            if RANK == 0:
                save(step)
            return 75
        if step % STEPS == 0:
            end_epoch(epoch, step, lr, rate)
    return 0


def end_epoch(epoch: int, step: int, lr: float, rate: float) -> None:
    loss = loss_at(step)
    top1 = max(0.1, 1 - 0.4 * loss)
    event(event="eval", epoch=epoch, step=step, top1=top1, top5=min(1.0, top1 + 0.1), images=360)
    print(f"epoch {epoch}/{EPOCHS} loss {loss:.3f} top-1 {100 * top1:.2f} %", flush=True)
    if RANK == 0:
        row = {"epoch": epoch, "step": step, "loss": loss, "lr": lr, "top1": top1, "images_per_s": rate}
        with (RUN_DIR / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({**row, "seconds": STEPS * STEP_S}) + "\n")
        save(step)
        result = {"top1": top1, "top5": min(1.0, top1 + 0.1), "images": 360, "step": step, "epoch": epoch}
        (RUN_DIR / "eval").mkdir(exist_ok=True)
        (RUN_DIR / "eval" / "last.json").write_text(json.dumps(result))


def main() -> int:
    signal.signal(signal.SIGTERM, on_term)
    event(event="phase", phase="compiling")
    time.sleep(float(os.environ.get("COMPILE_S", "0")))
    event(event="phase", phase="training")
    code = train(newest())
    if code == 0:
        event(event="phase", phase="done")
    return code


sys.exit(main())
