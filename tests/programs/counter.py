"""A training program without a framework that keeps launcher's contract, for tests of the supervision.

It "trains" a number: step n adds n. Environment variables choose what goes wrong, and when:
    FAIL_AT=step:rank:how   only in attempt 1 unless FAIL_ALWAYS is set; how is one of
                            exit CODE | raise | kill | hang | stop, or
                            chatter (hang, but print lines), flood (print much and go on), close (close the log and go on),
                            worker (leave a process in a session of its own behind, and go on).
                            The other ranks of the machine come as far first
    STEPS, STEP_S           length of the training
    LOSS, LOSS_SCALE        what every step reports, in place of 1/step and nothing
    SCHEDULER=stays         the scheduler process lives until a rank is done
    ON_TERM=0               SIGTERM ends the program at once, with 0 and nothing saved
    AT_END                  wait for so long after the phase "done"
    HOLD_AT, RELEASE        attempt 1 waits after this step, or after the phase "done", until the file RELEASE is there or
                            somebody stops the run; after each of several (1,2,3), until RELEASE-STEP is there
    HOLD_RESUMED            what HOLD_AT is to attempt 1, for all later ones
    PER_EPOCH               an epoch ends after so many steps
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

if os.environ.get("MS_ROLE") == "MS_SCHED":  # this program needs no scheduler
    mark = Path(os.environ["LAUNCHER_RUN_DIR"]) / f"done-{os.environ['LAUNCHER_ATTEMPT']}"
    while os.environ.get("SCHEDULER") == "stays" and not mark.exists():
        time.sleep(0.05)
    sys.exit(0)
RUN_DIR = Path(os.environ["LAUNCHER_RUN_DIR"])
RANK = int(os.environ["RANK_ID"])
STEPS = int(os.environ.get("STEPS", "6"))
STEP_S = float(os.environ.get("STEP_S", "0.02"))
PER_EPOCH = int(os.environ.get("PER_EPOCH", "1000"))
stopping = False


def event(**values: object) -> None:
    path = RUN_DIR / "progress" / f"rank-{RANK}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps({"t": time.time(), **values}) + "\n")


def newest() -> tuple[int, int]:
    found = [(0, 0)]
    for manifest in (RUN_DIR / "checkpoints").glob("step-*/manifest.json"):
        try:
            step, state = (
                json.loads(manifest.read_text())["step"],
                manifest.with_name("state.json").read_text(),
            )
            found.append((step, json.loads(state)["total"]))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            print(f"{manifest.parent.name} is damaged, an older checkpoint is taken", flush=True)
    return max(found)


def write_whole(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def save(step: int, total: int) -> None:
    if RANK != 0:
        return
    folder = RUN_DIR / "checkpoints" / f".tmp-step-{step}-{os.getpid()}"
    folder.mkdir(parents=True)
    data = json.dumps({"total": total}).encode()
    write_whole(folder / "state.json", data)
    file = {"name": "state.json", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest = {
        "format": 1,
        "step": step,
        "epoch": 1,
        "arch": "counter",
        "files": [file],
        "metrics": {},
        "kind": "train-state",
    }
    write_whole(folder / "manifest.json", json.dumps(manifest).encode())
    folder.rename(RUN_DIR / "checkpoints" / f"step-{step}")
    event(event="checkpoint", step=step, epoch=1, path=f"checkpoints/step-{step}")


def flood() -> None:
    for number in range(2000):
        print(f"line {number} {'x' * 100}")
    sys.stdout.flush()


def close() -> None:
    os.close(1)
    os.close(2)


def worker() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    print(f"worker {child.pid}", flush=True)


GO_ON = {"flood": flood, "close": close, "worker": worker}


def reached(step: int) -> None:
    """Tell the ranks of this machine how far this one is."""
    if "FAIL_AT" in os.environ:
        mark = RUN_DIR / f"reached-{os.environ['LAUNCHER_ATTEMPT']}-{RANK}"
        mark.with_suffix(".tmp").write_text(str(step))
        mark.with_suffix(".tmp").rename(mark)


def wait_for_others(step: int) -> None:
    """As a collective operation does: until each rank of this machine has reached this step."""
    count = int(os.environ["LOCAL_WORLD_SIZE"])
    first = RANK // count * count
    marks = [
        RUN_DIR / f"reached-{os.environ['LAUNCHER_ATTEMPT']}-{rank}" for rank in range(first, first + count)
    ]
    while not stopping and not all(mark.exists() and int(mark.read_text()) >= step for mark in marks):
        time.sleep(0.02)


def misbehave(step: int) -> None:
    if "FAIL_AT" not in os.environ or (
        os.environ["LAUNCHER_ATTEMPT"] != "1" and "FAIL_ALWAYS" not in os.environ
    ):
        return
    at, rank, how = os.environ["FAIL_AT"].split(":")
    if (int(at), int(rank)) != (step, RANK):
        return
    wait_for_others(step - 1)
    if how.startswith("exit"):
        print(f"error: asked to end with {how}")
        sys.exit(int(how.removeprefix("exit ")))
    if how == "raise":
        raise ValueError(f"no good at step {step}")
    if how == "hang":
        time.sleep(3600)
    if how == "chatter":
        while True:
            print("Topology build timed out., retry(1/3600)", flush=True)
            time.sleep(0.2)
    if how in GO_ON:
        GO_ON[how]()
        return
    os.kill(os.getpid(), signal.SIGSTOP if how == "stop" else signal.SIGKILL)


def hold(at: str) -> None:
    variable = "HOLD_AT" if os.environ["LAUNCHER_ATTEMPT"] == "1" else "HOLD_RESUMED"
    if at in os.environ.get(variable, "").split(","):
        release = os.environ.get("RELEASE", "/no/such/file")
        while not stopping and not Path(release).exists() and not Path(f"{release}-{at}").exists():
            time.sleep(0.02)


def on_term(number: int, frame: object) -> None:
    global stopping
    if "ON_TERM" in os.environ:
        os._exit(int(os.environ["ON_TERM"]))
    stopping = True


def main() -> int:
    signal.signal(signal.SIGTERM, on_term)
    step, total = newest()
    print(f"rank {RANK} of {os.environ['RANK_SIZE']} starts after step {step}", flush=True)
    event(event="phase", phase="training")
    reached(step)
    if "FAIL_AT" in os.environ:  # all have looked for a checkpoint before one of them saves another
        wait_for_others(step)
    while step < STEPS:
        step += 1
        misbehave(step)
        total += step
        time.sleep(STEP_S)
        loss = float(os.environ.get("LOSS", 1.0 / step))
        event(
            event="step",
            epoch=1,
            epochs=1,
            step=step,
            steps=STEPS,
            loss=loss,
            lr=0.1,
            images_per_s=10.0,
            eta_s=1.0,
            **({"loss_scale": float(os.environ["LOSS_SCALE"])} if "LOSS_SCALE" in os.environ else {}),
        )
        reached(step)
        if step % PER_EPOCH == 0:
            event(event="epoch", epoch=step // PER_EPOCH, epochs=STEPS, step=step, loss=loss, seconds=0.1)
        if stopping:
            save(step, total)
            return 75
        if step % 2 == 0:
            save(step, total)
        hold(str(step))
    if RANK == 0:
        (RUN_DIR / "eval").mkdir(exist_ok=True)
        (RUN_DIR / "eval" / "last.json").write_text(json.dumps({"top1": total / 1000, "images": 1}))
    event(event="phase", phase="done")
    (RUN_DIR / f"done-{os.environ['LAUNCHER_ATTEMPT']}").touch()
    time.sleep(float(os.environ.get("AT_END", "0")))
    hold("done")
    return 0


sys.exit(main())
