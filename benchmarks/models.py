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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
MINDCV_NAMES = {"vit_base_patch16_224": "vit_b_16_224"}
CLASSES = 1000


def inputs(batch: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, 3, side, side), np.float32), rng.integers(0, CLASSES, batch)


def mindspore_runs(net: Any, batch: int, side: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """Forward and step of a MindSpore net, each as a function that ends when the result is there."""
    import mindspore as ms
    from mindspore import nn, ops

    images, labels = inputs(batch, side)
    x, y = ms.Tensor(images), ms.Tensor(labels.astype(np.int32))
    net.set_train(False)

    class Forward(nn.Cell):
        def __init__(self) -> None:
            super().__init__(auto_prefix=False)
            self.net = net

        def construct(self, x: Any) -> Any:
            return self.net(x)

    class Step(nn.Cell):
        def __init__(self) -> None:
            super().__init__(auto_prefix=False)
            self.net = net
            self.weights = ms.ParameterTuple(net.trainable_params())
            self.first = self.weights.clone("first", "zeros")
            self.second = self.weights.clone("second", "zeros")
            self.update = ops.AdamWeightDecay()
            self.grad = ms.value_and_grad(self.loss, None, self.weights)

        def loss(self, x: Any, y: Any) -> Any:
            return ops.cross_entropy(self.net(x), y)

        def construct(self, x: Any, y: Any) -> Any:
            loss, grads = self.grad(x, y)
            for i in range(len(grads)):
                moments = (self.weights[i], self.first[i], self.second[i])
                loss = ops.depend(loss, self.update(*moments, 1e-4, 0.9, 0.999, 1e-8, 0.05, grads[i]))
            return loss

    forward, step = Forward(), Step()
    return lambda: forward(x).asnumpy(), lambda: step(x, y).asnumpy()


def ours(arch: str, batch: int) -> tuple[Callable[[], None], Callable[[], None]]:
    import mindspore as ms

    from vitmodels.archs import ARCHS
    from vitmodels.nets.registry import create_model

    ms.set_context(mode=ms.GRAPH_MODE)
    return mindspore_runs(create_model(arch, num_classes=CLASSES), batch, ARCHS[arch].image_size)


def program(arch: str, batch: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """The training program's step, and in place of forward what it does to save a checkpoint; with its compile cache."""
    from vitmodels.device.compilecache import seal, separate_cache
    from vitmodels.device.runtime import Group, Rank
    from vitmodels.images.batches import Batch
    from vitmodels.nets.registry import create_model
    from vitmodels.recipe_file import make_recipe
    from vitmodels.training.checkpoint import Saver, Snapshot
    from vitmodels.training.trainer import Trainer

    recipe = make_recipe({"arch": arch, "batch_size": batch, "num_classes": CLASSES, "lr_scale": "none"})
    Group(Rank(), "CPU")
    cache = separate_cache("benchmark", recipe.json_dict())
    trainer = Trainer(create_model(arch, num_classes=CLASSES), recipe, 1)
    saver = Saver(Path(tempfile.mkdtemp(dir=os.environ["BENCHMARK_FOLDER"])), keep=2)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, recipe.side, recipe.side, 3), np.uint8)
    targets = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, batch)]
    one = Batch(images, targets, None, None)

    def step() -> None:
        trainer.step([one], 1e-4, False)
        if trainer.updates == 1:
            seal(cache)

    def save() -> None:
        saver.save(Snapshot(trainer.updates, 0, arch, trainer.weights(), trainer.state()))

    return save, step


def mindcv(arch: str, batch: int) -> tuple[Callable[[], None], Callable[[], None]]:
    import mindspore as ms
    from mindcv.models import create_model

    ms.set_context(mode=ms.GRAPH_MODE)
    return mindspore_runs(create_model(MINDCV_NAMES[arch], num_classes=CLASSES), batch, 224)


def timm(arch: str, batch: int) -> tuple[Callable[[], None], Callable[[], None]]:
    import timm as library
    import torch

    net = library.create_model(arch, num_classes=CLASSES)
    images, labels = inputs(batch, 224)
    x, y = torch.tensor(images), torch.tensor(labels)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4, weight_decay=0.05)

    def forward() -> None:
        with torch.inference_mode():
            net(x)

    def step() -> None:
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()

    return forward, step


LIBRARIES = {"ours": ours, "program": program, "mindcv": mindcv, "timm": timm}


def work(library: str, arch: str, batch: int) -> None:
    """The waiting process: reads `forward N` or `step N`, answers with N durations and the peak memory."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print on stdout
    forward, step = LIBRARIES[library](arch, batch)
    runs = {"forward": forward, "step": step}
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        what, count = line.split()
        seconds = []
        for _ in range(int(count)):
            begin = time.perf_counter()
            runs[what]()
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
