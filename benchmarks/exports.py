"""Latency of exported files: ours in ONNX Runtime against the one that PyTorch writes of timm's net, MINDIR against the net itself.

    python benchmarks/exports.py --torch-python VENV/bin/python
    python benchmarks/exports.py --torch-python VENV/bin/python --arch tnt_s_patch16_224 --batch 1,8 --threads 1
    python benchmarks/exports.py --mindir --arch tnt_s_patch16_224

Rounds are interleaved, in one run. Weights are random, the sizes real. Without --torch-python ours is compared with the file that MindSpore wrote and with the int8 one only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

CLASSES = 1000
Run = Callable[[np.ndarray], Any]
TORCH = """
import sys
sys.path.insert(0, sys.argv[1])
from benchmarks.torch_peer import import_timm
import torch
net = import_timm().create_model(sys.argv[2], num_classes=int(sys.argv[3])).eval()
x = torch.zeros(2, 3, 224, 224)
torch.onnx.export(net, (x,), sys.argv[4], dynamo=True, external_data=False, dynamic_shapes=({0: torch.export.Dim("batch")},))
"""


def write_files(arch: str, folder: Path, torch_python: str) -> dict[str, Path]:
    """The files to compare, by name; `before` is MindSpore's own file, of batch 1."""
    import mindspore as ms

    from vitmodels.exported.onnxrewrite import rewrite_file
    from vitmodels.exported.quantise import quantise
    from vitmodels.nets.registry import create_model

    model = create_model(arch, num_classes=CLASSES, operators="mindspore").set_train(False)
    side = model.config.image_size
    ms.export(
        model,
        ms.Tensor(np.zeros((1, 3, side, side), np.float32)),
        file_name=str(folder / "before"),
        file_format="ONNX",
    )
    files = {name: folder / f"{name}.onnx" for name in ("before", "ours", "int8")}
    files["ours"].write_bytes(files["before"].read_bytes())
    rewrite_file(files["ours"])
    quantise(files["ours"], files["int8"])
    if torch_python:
        files["torch"] = folder / "torch.onnx"
        command = [torch_python, "-c", TORCH, str(ROOT), arch, str(CLASSES), str(files["torch"])]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return files


def open_session(path: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})


class Times(NamedTuple):
    """Milliseconds of each call of one file: by the clock, and of processors, which other programs disturb less."""

    wall: list[float]
    cpu: list[float]


def open_files(files: dict[str, Path], batch: int, threads: int) -> dict[str, Run]:
    """A call of each file that takes the batch."""
    return {
        name: open_session(path, threads) for name, path in files.items() if batch == 1 or name != "before"
    }


def mindir_calls(arch: str, folder: Path, threads: int) -> dict[str, Run]:
    """Forward of the net with the compiled operators and with MindSpore's (`ours`), and of its MINDIR file."""
    import mindspore as ms

    from vitmodels.device.runtime import Group, Rank
    from vitmodels.exported.engines import load_exported
    from vitmodels.exported.write import export_model
    from vitmodels.nets.registry import create_model

    Group(Rank(), "CPU", threads)
    nets = {
        name: create_model(arch, num_classes=CLASSES, operators=operators).set_train(False)
        for name, operators in (("compiled", "compiled"), ("ours", "mindspore"))
    }
    [file] = export_model(nets["ours"], arch, folder, ("MINDIR",))
    calls: dict[str, Run] = {"mindir": load_exported(folder / file.name)}
    for name, net in nets.items():
        calls[name] = partial(_forward, net, ms.Tensor)
    return calls


def _forward(net: Any, tensor: Any, images: np.ndarray) -> np.ndarray:
    return np.asarray(net(tensor(images)).asnumpy())


def compare(calls: dict[str, Run], batch: int, rounds: int) -> dict[str, Times]:
    """The times of each call, in rounds that begin with each in turn."""
    images = np.random.default_rng(0).standard_normal((batch, 3, 224, 224), np.float32)
    times = {name: Times([], []) for name in calls}
    names = list(calls)
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            begin, used = time.perf_counter(), time.process_time()
            calls[name](images)
            if number:  # the first allocates, or compiles
                times[name].wall.append((time.perf_counter() - begin) * 1000)
                times[name].cpu.append((time.process_time() - used) * 1000)
    return times


def summary(found: Times, ours: Times) -> dict[str, float]:
    """Median and best of one file, and how many times as long ours takes in the same rounds."""
    return {
        "median_ms": round(statistics.median(found.wall), 1),
        "best_ms": round(min(found.wall), 1),
        "cpu_median_ms": round(statistics.median(found.cpu), 1),
        "ours_over_it": round(
            statistics.median(a / b for a, b in zip(ours.wall, found.wall, strict=True)), 3
        ),
        "ours_over_it_cpu": round(
            statistics.median(a / b for a, b in zip(ours.cpu, found.cpu, strict=True)), 3
        ),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arch", default="vit_base_patch16_224,tnt_s_patch16_224")
    parser.add_argument("--batch", default="1,8")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument(
        "--torch-python", default="", help="an interpreter with torch, timm, onnx and onnxscript"
    )
    parser.add_argument(
        "--mindir",
        action="store_true",
        help="compare MINDIR with the net; `ours` is with MindSpore's operators",
    )
    args = parser.parse_args()
    for arch in args.arch.split(","):
        with tempfile.TemporaryDirectory() as folder:
            files = {} if args.mindir else write_files(arch, Path(folder), args.torch_python)
            calls = mindir_calls(arch, Path(folder), args.threads) if args.mindir else {}
            for batch in map(int, args.batch.split(",")):
                times = compare(calls or open_files(files, batch, args.threads), batch, args.rounds)
                row = {name: summary(found, times["ours"]) for name, found in times.items()}
                print(json.dumps({"arch": arch, "batch": batch, "threads": args.threads, **row}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
