"""Speed of our nets on CPU against timm/PyTorch and, where installed, MindCV: interleaved rounds in one run.

    python benchmarks/models.py                            # TNT-S and ViT-B/16, batch 8, fp32
    python benchmarks/models.py --torch-python VENV/bin/python --arch tnt_s_patch16_224 --rounds 5

Each library runs in a process of its own that waits between its turns, so that all of them meet the same load.
A step is forward, backward and AdamW. Peak memory is the process's, read after the steps. The compile times
are those of the training program's own step (`vitmodels.training.step`; also normalises, clips and checks): what its first call
takes beyond a usual one, without and with the compile cache, and how long a step waits for a checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.nets import LIBRARIES, MINDCV_NAMES  # noqa: E402  # after the path


def work(library: str, arch: str, batch: int) -> None:
    """The waiting process: reads `forward N` or `step N`, answers with N durations and the peak memory."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print on stdout
    net = LIBRARIES[library](arch, batch)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        what, count = line.split()
        seconds = []
        for _ in range(int(count)):
            begin = time.perf_counter()
            net.forward() if what == "forward" else net.step()
            seconds.append(time.perf_counter() - begin)
        peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(json.dumps({"seconds": seconds, "peak_gb": peak_gb}), file=answers, flush=True)


class Worker:
    """One library in a process of its own."""

    def __init__(
        self, library: str, arch: str, batch: int, python: str, env: dict[str, str] | None = None
    ) -> None:
        self.library = library
        command = [python, __file__, "--worker", library, "--arch", arch, "--batch", str(batch)]
        environment = {**os.environ, "GLOG_v": "3", "PYTHONPATH": str(ROOT), **(env or {})}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )
        self.alive = bool(self._read())

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {}

    def run(self, what: str, count: int) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what} {count}\n")
        self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def compare(
    arch: str, batch: int, rounds: int, pythons: dict[str, str], libraries: list[str]
) -> dict[str, Any]:
    """Medians of interleaved rounds: {library: {"forward", "step", "peak_gb", "first_step"}}."""
    workers = [Worker(name, arch, batch, pythons.get(name, sys.executable)) for name in libraries]
    found: dict[str, Any] = {}
    for worker in workers:
        if not worker.alive:
            print(f"  {worker.library} can't run here and is left out")
            continue
        first = worker.run("step", 1)["seconds"][0]
        worker.run("forward", 1)
        found[worker.library] = {"first_step": first, "forward": [], "step": []}
    for _ in range(rounds):
        for what in ("forward", "step"):
            for worker in workers:
                if worker.library in found:
                    answer = worker.run(what, 2)
                    found[worker.library][what] += answer["seconds"]
                    found[worker.library]["peak_gb"] = answer["peak_gb"]
    for worker in workers:
        worker.close()
    for one in found.values():
        for what in ("forward", "step"):
            one[f"{what}_best"], one[what] = min(one[what]), statistics.median(one[what])
    return found


def program_seconds(arch: str, batch: int) -> list[dict[str, float]]:
    """The program's first step beyond a usual one and its peak memory: without a filled compile cache, and with.

    `save` is how long a step has to wait for a checkpoint, `beside` a step while the checkpoint is written.
    """
    with tempfile.TemporaryDirectory() as folder:
        env = {
            "MS_COMPILER_CACHE_ENABLE": "1",
            "MS_COMPILER_CACHE_PATH": f"{folder}/cache",
            "BENCHMARK_FOLDER": folder,
        }
        found = []
        for _ in range(2):
            worker = Worker("program", arch, batch, sys.executable, env)
            answer = worker.run("step", 4)
            saves = [worker.run("forward", 1)["seconds"][0], worker.run("step", 1)["seconds"][0]]
            worker.close()
            first, *others = answer["seconds"]
            usual = statistics.median(others)
            found.append(
                {
                    "first": first,
                    "usual": usual,
                    "compile": first - usual,
                    "peak_gb": answer["peak_gb"],
                    "save": saves[0],
                    "beside": saves[1],
                }
            )
        return found


def report(arch: str, batch: int, found: dict[str, Any]) -> None:
    print(f"{arch}, batch {batch}, fp32; seconds, median (best)")
    for library, one in found.items():
        print(
            f"  {library:7s} forward {one['forward']:.2f} ({one['forward_best']:.2f})  "
            f"step {one['step']:.2f} ({one['step_best']:.2f})  peak {one['peak_gb']:.2f} GB"
        )
    for library in found:
        if library != "ours":
            forward, step = (found[library][what] / found["ours"][what] for what in ("forward", "step"))
            print(f"  our speed over {library}'s: forward {forward:.2f}, step {step:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arch", action="append", help="architecture; may be repeated")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=4, help="rounds of two forwards and two steps each")
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter that has timm and torch")
    parser.add_argument("--mindcv-python", default=sys.executable, help="interpreter that has mindcv")
    parser.add_argument("--no-compile", action="store_true", help="leave the compile times out")
    parser.add_argument("--worker", choices=sorted(LIBRARIES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    pythons = {"timm": args.torch_python, "mindcv": args.mindcv_python}
    archs = args.arch or ["tnt_s_patch16_224", "vit_base_patch16_224"]
    if args.worker:
        work(args.worker, archs[0], args.batch)
        return
    for arch in archs:
        libraries = ["ours", "timm", *(["mindcv"] if arch in MINDCV_NAMES else [])]
        found = compare(arch, args.batch, args.rounds, pythons, libraries)
        report(arch, args.batch, found)
        if not args.no_compile:
            for name, one in zip(
                ("compiled", "from the cache"), program_seconds(arch, args.batch), strict=True
            ):
                print(
                    f"  training program, {name}: first step {one['first']:.1f} s, usual {one['usual']:.2f} s, "
                    f"compile {one['compile']:.1f} s, peak {one['peak_gb']:.2f} GB; a step waits {one['save']:.2f} s "
                    f"for a checkpoint and takes {one['beside']:.2f} s while it is written",
                    flush=True,
                )


if __name__ == "__main__":
    main()
