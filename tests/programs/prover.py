"""Stands in for vitmodels.prove on a machine whose NPUs are stand-ins, too: writes what a device would show.

With FAKE_PROOF each part does something else than it should.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

RANK, RANKS = int(os.environ["RANK_ID"]), int(os.environ["RANK_SIZE"])
WRONG = bool(os.environ.get("FAKE_PROOF"))
STEPS = 4


def write(name: str, **result: object) -> None:
    Path(f"{name}.json").write_text(json.dumps(result))


def step(words: list[str]) -> None:
    cases = [word for word in words if ":" in word]
    for case in cases if "--together" in words else cases[RANK::RANKS]:
        arch, level = case.split(":")
        if WRONG and level == "bf16":
            write(f"step-{arch}-{level}", error="RuntimeError: no such operator\nfar below")
            continue
        loss = float("nan") if WRONG and level == "O3" else 7.0 if level == "O0" else 7.01
        figures = {"loss": loss, "norm": 39.0, "loss_after": 3.5}
        write(f"step-{arch}-{level}", **figures, step_s=0.5, images=128 * RANKS)


def train(dies: bool) -> None:
    """Four steps, each with a checkpoint whose bits depend on the step."""
    root = Path(os.environ["LAUNCHER_RUN_DIR"]) / "checkpoints"
    attempt, resume = os.environ["LAUNCHER_ATTEMPT"], os.environ["LAUNCHER_RESUME"]
    begin = int(resume.rpartition("-")[2]) if resume else 0
    for number in range(begin + 1, STEPS + 1):
        last = 99 if WRONG and attempt == "2" else number
        header = {
            "__metadata__": {"attempt": attempt},
            "weight": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]},
        }
        text = json.dumps(header).encode()
        temp = root / f".step-{number}"
        temp.mkdir(parents=True)
        data = len(text).to_bytes(8, "little") + text + bytes([number, last])
        (temp / "model.safetensors").write_bytes(data)
        files = [{"name": "model.safetensors", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}]
        (temp / "manifest.json").write_text(
            json.dumps({"format": 1, "step": number, "epoch": number, "files": files})
        )
        temp.rename(root / f"step-{number}")
        if dies and attempt == "1" and number == 2:
            os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    """What CANN does: the error stands in its own log, and the program raises another one."""
    if not WRONG:
        folder = Path(os.environ["ASCEND_PROCESS_LOG_PATH"]) / "debug" / "plog"
        folder.mkdir(parents=True)
        line = "[ERROR] RUNTIME(1,python):2026-11-28-10:00:00.000.000 [npu_driver.cc:1]alloc device memory failed, EL0004\n"
        (folder / f"plog-{os.getpid()}_20261128100000000.log").write_text(line)
    raise MemoryError("EL0004: Failed to allocate memory")


def main(part: str, words: list[str]) -> None:
    if part == "compute":
        error = 0.5 if WRONG and RANK == 3 else 1e-4
        write("compute", device="Ascend", device_id=RANK, error=error)
    elif part == "reduce":
        link_s = os.environ["HCCL_CONNECT_TIMEOUT"]
        write("reduce", ranks=RANKS, wrong=2 if WRONG else 0, bytes=4_000_000, seconds=0.01, link_s=link_s)
    elif part == "step":
        step(words)
    elif part == "train":
        train("--die" in words)
    elif part == "air":
        Path("tnt_digits.air").write_bytes(b"" if WRONG else b"air")
    else:
        fail()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
