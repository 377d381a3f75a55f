"""The same recipe on digits in MindSpore and in torch/timm: mean accuracy over seeds, side by side.

    python benchmarks/learning.py --torch-python .venv-parity/bin/python     # that `make test-parity` makes
    python benchmarks/learning.py --sides ours --seeds 0 --out runs.jsonl    # a part; the means are over all parts
    python benchmarks/learning.py --data mnist --seeds 0 1 2 3 4 --torch-python ...

Both train on the same images with the recipe vitmodels/configs/<arch>.yaml. The torch side builds the net from timm's
classes, initialises it from our first values for the seed (so that the comparison is of training, not of luck), and
writes schedule, shift and loss with torch's own functions. The recipes were chosen on a part of the training images of
the digits; the figures are on the 360 test images, and for MNIST, with the same recipes, on the 2,000 of `benchmarks/mnist.py`.
MNIST is left out where it is neither cached nor can be fetched. Without --torch-python only our side is trained.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
DATA = ("digits", "mnist")
SIDES = ("ours", "timm")

TORCH = """
import json, math, sys, time
import numpy as np, torch
from benchmarks.torch_peer import import_timm
import_timm()
from timm.models.tnt import TNT
from timm.models.vision_transformer import VisionTransformer
folder, seed = sys.argv[1], int(sys.argv[2])
about = json.load(open(folder + "/about.json"))
recipe, net = about["recipe"], about["net"]
data = np.load(folder + "/images.npz")
weights = {k: torch.from_numpy(v) for k, v in np.load(folder + f"/weights-{seed}.npz").items()}
common = dict(img_size=net["image_size"], patch_size=net["patch_size"], num_classes=10, depth=net["depth"])
if net["family"] == "tnt":
    model = TNT(**common, embed_dim=net["dim"], inner_dim=net["inner_dim"], num_heads_outer=net["heads"],
                num_heads_inner=net["inner_heads"], first_stride=net["pixel_stride"], qkv_bias=net["qkv_bias"])
else:
    model = VisionTransformer(**common, embed_dim=net["dim"], num_heads=net["heads"])
missing = model.load_state_dict(weights, strict=True)
plain = {"cls_token", "pos_embed", "patch_pos", "pixel_pos"}
groups = [[], []]
for name, p in model.named_parameters():
    groups[p.ndim > 1 and name.rsplit(".")[-1] not in plain].append(p)
opt = torch.optim.AdamW([{"params": groups[0], "weight_decay": 0.0}, {"params": groups[1], "weight_decay": recipe["weight_decay"]}],
                        lr=1.0, betas=tuple(recipe["beta"]), eps=recipe["epsilon"])
mean = torch.tensor(recipe["mean"]).view(1, 3, 1, 1) * 255
std = torch.tensor(recipe["std"]).view(1, 3, 1, 1) * 255
def load(part):
    return (torch.from_numpy(data[part + "_x"]).permute(0, 3, 1, 2).float() - mean) / std, torch.from_numpy(data[part + "_y"])
x, y = load("train"); vx, vy = load("val")
batch, epochs, reach = recipe["batch_size"], recipe["epochs"], recipe["shift"]
per, side = len(x) // batch, x.shape[-1]
warm = round(recipe["warmup_length"] * per)
rng = torch.Generator().manual_seed(seed)
begin = time.time()
step = 0
for epoch in range(epochs):
    order = torch.randperm(len(x), generator=rng)
    model.train()
    for at in range(per):
        index = order[at * batch:(at + 1) * batch]
        wide = torch.nn.functional.pad(x[index], [reach] * 4, mode="replicate")
        moves = torch.randint(0, 2 * reach + 1, (batch, 2), generator=rng)
        xb = torch.stack([w[:, r:r + side, c:c + side] for w, (r, c) in zip(wide, moves.tolist())])
        if step < warm:
            lr = recipe["warmup_lr"] + (recipe["base_lr"] - recipe["warmup_lr"]) * step / warm
        else:
            part = (step - warm) / (epochs * per - warm)
            lr = recipe["min_lr"] + (recipe["base_lr"] - recipe["min_lr"]) * (1 + math.cos(math.pi * part)) / 2
        for group in opt.param_groups:
            group["lr"] = lr
        loss = torch.nn.functional.cross_entropy(model(xb), y[index], label_smoothing=recipe["label_smoothing"])
        opt.zero_grad()
        loss.backward()
        if recipe["clip_global_norm_value"]:
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe["clip_global_norm_value"])
        opt.step()
        step += 1
model.eval()
with torch.no_grad():
    top1 = (model(vx).argmax(1) == vy).float().mean().item()
print(json.dumps({"top1": top1, "seconds": time.time() - begin}))
"""


def prepare(folder: Path, data: Path, arch: str, seeds: list[int], epochs: int | None) -> None:
    """What the torch side reads: pixels, first weights, recipe, sizes."""
    from dataclasses import asdict

    from vitmodels.archs import ARCHS, parameter_count
    from vitmodels.images.data import MemoryImages, scan_folder
    from vitmodels.nets.initialise import initial_value
    from vitmodels.nets.shapes import expected_shapes
    from vitmodels.recipe_file import load_recipe

    recipe = load_recipe(
        ROOT / "vitmodels" / "configs" / f"{arch}.yaml", [f"epochs={epochs}"] if epochs else []
    )
    net = ARCHS[arch]
    arrays = {}
    for part in ("train", "val"):
        images = MemoryImages(scan_folder(data / part), recipe, recipe.side, train=False)
        arrays[f"{part}_x"], arrays[f"{part}_y"] = images.pixels, images.labels
    np.savez(folder / "images.npz", **arrays)
    (folder / "about.json").write_text(json.dumps({"recipe": recipe.json_dict(), "net": asdict(net)}))
    for seed in seeds:
        shapes = expected_shapes(net, 10)
        values = {name: initial_value(name, shape, net, seed) for name, shape in shapes.items()}
        assert sum(value.size for value in values.values()) == parameter_count(net, 10)
        np.savez(folder / f"weights-{seed}.npz", **values)


def train_ours(data: Path, arch: str, seed: int, epochs: int | None) -> tuple[float, float]:
    """Top-1 and seconds of one run of the training program, everything included."""
    with tempfile.TemporaryDirectory() as run:
        command = [
            sys.executable,
            "-m",
            "vitmodels.train",
            "--config",
            f"{ROOT}/vitmodels/configs/{arch}.yaml",
        ]
        command += ["--data", str(data), "--run-dir", run, "--device", "cpu", "--set", f"seed={seed}"]
        command += ["--set", f"epochs={epochs}"] if epochs else []
        begin = time.monotonic()
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        found = json.loads((Path(run) / "eval" / "last.json").read_text())
    return float(found["top1"]), time.monotonic() - begin


def train_timm(python: str, folder: Path, seed: int) -> tuple[float, float]:
    """Top-1 and seconds of the same run in torch."""
    command = [python, "-W", "ignore", "-c", TORCH, str(folder), str(seed)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    if done.returncode:
        raise SystemExit(f"timm can't run in {python}: {done.stderr.strip().splitlines()[-1:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return float(found["top1"]), float(found["seconds"])


def write_data(name: str, dest: Path, cache: Path) -> None:
    """An image folder of the data set. Raises NoMnist where it can't be had."""
    from benchmarks.mnist import fetch_mnist, read_mnist, write_mnist
    from vitmodels.digits import write_digits

    if name == "digits":
        write_digits(dest)
    else:
        write_mnist(dest, *read_mnist(fetch_mnist(cache)))


def run_all(args: argparse.Namespace, data: str, images: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """Train on one data set; a row for each run."""
    sides = [side for side in args.sides if side == "ours" or args.torch_python]
    for arch in args.arch:
        prepare(folder, images, arch, args.seeds, args.epochs)
        for seed, side in itertools.product(args.seeds, sides):
            if side == "ours":
                top1, seconds = train_ours(images, arch, seed, args.epochs)
            else:
                top1, seconds = train_timm(args.torch_python, folder, seed)
            print(f"{data} {arch} seed {seed} {side}  top-1 {100 * top1:.2f} %  {seconds:.0f} s", flush=True)
            yield {"data": data, "arch": arch, "seed": seed, "side": side, "top1": top1, "seconds": seconds}


def report(rows: list[dict[str, Any]]) -> None:
    """Mean accuracy of each side, and how far apart they are."""
    for data, arch in dict.fromkeys((row["data"], row["arch"]) for row in rows):
        means = {}
        for side in SIDES:
            wanted = (data, arch, side)
            tops = [row["top1"] for row in rows if (row["data"], row["arch"], row["side"]) == wanted]
            if tops:
                means[side] = statistics.mean(tops)
                listing = " ".join(f"{100 * top1:.2f}" for top1 in tops)
                mean = f"mean top-1 {100 * means[side]:.2f} %  ({listing}), {len(tops)} seeds"
                print(f"{data} {arch} {side:<5} {mean}")
        if len(means) == 2:
            print(f"{data} {arch} ours - timm {100 * (means['ours'] - means['timm']):+.2f} points")


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    from benchmarks.mnist import default_cache

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch-python", default="", help="interpreter with torch and timm")
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--cache", type=Path, default=default_cache(), help="folder that keeps MNIST")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arch", nargs="+", default=["vit_digits", "tnt_digits"])
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument(
        "--out", type=Path, help="append one JSON line per run; the means are over all of its lines"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Print one line per run, then the means."""
    from benchmarks.mnist import NoMnist

    args = make_parser().parse_args(argv)
    rows = []
    if args.out and args.out.exists():
        rows = [{"data": "digits", **json.loads(line)} for line in args.out.read_text().splitlines()]
    with tempfile.TemporaryDirectory() as name:
        for data in args.data:
            folder = Path(name) / data
            folder.mkdir()
            try:
                write_data(data, folder / "images", args.cache)
            except NoMnist as error:
                print(f"left out: {data}: {error}")
                continue
            for row in run_all(args, data, folder / "images", folder):
                rows.append(row)
                if args.out:
                    with args.out.open("a") as out:
                        out.write(json.dumps(row) + "\n")
    report(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
