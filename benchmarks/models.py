"""Speed of our nets on CPU against timm/PyTorch and, where installed, MindCV: interleaved rounds in one run.

    python benchmarks/models.py                            # TNT-S and ViT-B/16, batch 8, fp32
    python benchmarks/models.py --torch-python VENV/bin/python --arch tnt_s_patch16_224 --rounds 5

`benchmarks/model_sizes.py` makes one table over nets, image sizes, batches and threads.
Each library runs in a process of its own that waits between its turns, so that all of them meet the same load. A
library that can't run is left out with its reason; the exit code is 1 when its interpreter was named, or when it is ours.
A step is forward, backward and AdamW. Peak memory is the process's, read after the steps. The compile times
are those of the training program's own step (`vitmodels.training.step`; also normalises, clips and checks): what its first call
takes beyond a usual one, without and with the compile cache, and how long a step waits for a checkpoint.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.nets import LIBRARIES, MINDCV_NAMES, load  # noqa: E402  # after the path


class Size(NamedTuple):
    """What a net is measured with. `side` is that of an image, the net's own for None; `threads` how many cores a process may use; 0: all."""

    arch: str
    batch: int
    side: int | None = None
    threads: int = 0


def work(library: str, size: Size) -> None:
    """The waiting process: reads a method of the net and how often to call it; answers with durations, CPU, and memory."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print on stdout
    if size.threads:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: size.threads])
    load(library)
    print(json.dumps({"imports_gb": peak_gb()}), file=answers, flush=True)
    net = LIBRARIES[library](size.arch, size.batch, size.side)
    for line in sys.stdin:
        what, count = line.split()
        seconds, used = [], time.process_time()
        for _ in range(int(count)):
            begin = time.perf_counter()
            getattr(net, what)()
            seconds.append(time.perf_counter() - begin)
        answer = {
            "seconds": seconds,
            "cpu_s": time.process_time() - used,
            "peak_gb": peak_gb(),
            "busy": getattr(net, "busy", False),
        }
        print(json.dumps(answer), file=answers, flush=True)


def peak_gb() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


class CannotRun(Exception):
    """A library can't be imported, or failed; the text says why."""

    def __init__(self, library: str, reason: str) -> None:
        super().__init__(f"{library}: {reason}")
        self.library = library


class Worker:
    """One library in a process of its own."""

    def __init__(self, library: str, size: Size, python: str, env: dict[str, str] | None = None) -> None:
        self.library = library
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed by `close`
        command = [python, __file__, "--worker", library, json.dumps(size)]
        environment = {**os.environ, "GLOG_v": "3", "PYTHONPATH": str(ROOT), **(env or {})}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment,
            text=True,
        )
        self.imports_gb = float(self._read()["imports_gb"])

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise self._failure()
        return dict(json.loads(line))

    def _failure(self) -> CannotRun:
        """Ends the process; the reason is the last line that it wrote to stderr, that of its exception."""
        code = self.process.wait()
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors if line.strip()]
        self.close()
        return CannotRun(self.library, lines[-1] if lines else f"exit code {code} without a word")

    def run(self, what: str, count: int) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{what} {count}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None
        return self._read()

    def close(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.errors.close()


def compare(
    size: Size, rounds: int, pythons: dict[str, str], libraries: list[str]
) -> tuple[dict[str, Any], list[CannotRun]]:
    """Medians of interleaved rounds, {library: {"forward", "step", "peak_gb", "imports_gb", "first_step"}}, and what is left out, why."""
    workers: list[Worker] = []
    found: dict[str, Any] = {}
    left_out: list[CannotRun] = []
    try:
        for name in libraries:
            try:
                worker = Worker(name, size, pythons.get(name, sys.executable))
                found[name] = first_calls(worker)
            except CannotRun as error:
                left_out.append(error)
                continue
            workers.append(worker)
        for _, what in itertools.product(range(rounds), ("forward", "step")):
            for worker in list(workers):
                try:
                    take_turn(worker, what, found[worker.library])
                except CannotRun as error:
                    left_out.append(error)
                    workers.remove(worker)
                    del found[worker.library]
    finally:
        for worker in workers:
            worker.close()
    for one, what in itertools.product(found.values(), ("forward", "step")):
        one[f"{what}_best"], one[what] = min(one[what]), statistics.median(one[what])
        one[f"{what}_cpu"] = min(one[f"{what}_cpu"])
    return found, left_out


def first_calls(worker: Worker) -> dict[str, Any]:
    """What `compare` keeps of a library, before its first round."""
    first = worker.run("step", 1)["seconds"][0]
    worker.run("forward", 1)
    times = {"forward": [], "step": [], "forward_cpu": [], "step_cpu": []}
    return {"first_step": first, "imports_gb": worker.imports_gb, **times}


def take_turn(worker: Worker, what: str, one: dict[str, Any]) -> None:
    """Two calls, into what is kept of the library. Raises CannotRun."""
    answer = worker.run(what, 2)
    one[what] += answer["seconds"]
    one[f"{what}_cpu"].append(answer["cpu_s"] / 2)
    one["peak_gb"] = answer["peak_gb"]


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
            worker = Worker("program", Size(arch, batch), sys.executable, env)
            answer = worker.run("step", 4)
            saves = [worker.run("save", 1)["seconds"][0], worker.run("step", 1)["seconds"][0]]
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
        if library != "ours" and "ours" in found:
            forward, step = (found[library][what] / found["ours"][what] for what in ("forward", "step"))
            print(f"  our speed over {library}'s: forward {forward:.2f}, step {step:.2f}")


def main() -> int:
    """Print the tables; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arch", action="append", help="architecture; may be repeated")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=4, help="rounds of two forwards and two steps each")
    parser.add_argument("--torch-python", help="interpreter that has timm and torch (default: this one)")
    parser.add_argument("--mindcv-python", help="interpreter that has mindcv (default: this one)")
    parser.add_argument("--no-compile", action="store_true", help="leave the compile times out")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    named = {"timm": args.torch_python, "mindcv": args.mindcv_python}
    pythons = {library: python for library, python in named.items() if python}
    archs = args.arch or ["tnt_s_patch16_224", "vit_base_patch16_224"]
    if args.worker:
        work(args.worker[0], Size(*json.loads(args.worker[1])))
        return 0
    required = {"ours", "program", *pythons}
    code = 0
    for arch in archs:
        libraries = ["ours", "timm", *(["mindcv"] if arch in MINDCV_NAMES else [])]
        found, left_out = compare(Size(arch, args.batch), args.rounds, pythons, libraries)
        report(arch, args.batch, found)
        if not args.no_compile:
            try:
                report_program(program_seconds(arch, args.batch))
            except CannotRun as error:
                left_out.append(error)
        for failure in left_out:
            print(f"  left out: {failure}", flush=True)
            code = max(code, int(failure.library in required))
    return code


def report_program(runs: list[dict[str, float]]) -> None:
    """The training program's first steps, without and with the compile cache."""
    for name, one in zip(("compiled", "from the cache"), runs, strict=True):
        print(
            f"  training program, {name}: first step {one['first']:.1f} s, usual {one['usual']:.2f} s, "
            f"compile {one['compile']:.1f} s, peak {one['peak_gb']:.2f} GB; a step waits {one['save']:.2f} s "
            f"for a checkpoint and takes {one['beside']:.2f} s while it is written",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
