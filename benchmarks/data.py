"""Images per core-second of the training data path, beside timm's loader and a plain Pillow loop, in one run.

    python benchmarks/data.py [--timm-python PYTHON] [--images 192] [--rounds 3]

Makes synthetic JPEGs of 500x375 pixels and about 110 KB, then lets every loader have the same batch in turn, several
rounds of all batches, by CPU time, so that other work on the machine matters little. timm runs in the interpreter named by --timm-python (it needs
torch and another numpy than MindSpore), or is left out. All apply the whole TNT recipe, from the file to the net's
input: random resized crop, flip, rand-m9-mstd0.5-inc1, erasing 0.25, normalising, mixup and cutmix. Ours normalises and
mixes in the compiled step; the `whole` runs that part of the step on CPU, with one thread, for every batch that was loaded.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

SIDE, BATCH = 224, 32
OURS, TIMM = "ours, whole TNT recipe", "timm, whole TNT recipe"
Run = Callable[[int, int], dict[str, float]]
"""CPU seconds by what was done, for the batch that begins at an image, in a round."""
NEEDED = 586  # images/s that eight NPUs took in the published run: 8 x 128 / 1.747865 s

TIMM_PROGRAM = """
import re, sys, time, json, glob
import numpy as np, torch
torch.set_num_threads(1)
library = torch.library.Library("torchvision", "FRAGMENT")
while True:
    try:
        import torchvision
        break
    except RuntimeError as error:  # a torchvision without its compiled operators, which transforms do not need
        found = re.search(r"torchvision::(\\w+) does not exist", str(error))
        library.define(found[1] + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
from PIL import Image, ImageOps
import timm.data.auto_augment as aa
from timm.data import create_transform, Mixup
# Pillow 13 refuses 0 bits, which timm asks for at the highest magnitude
aa.NAME_TO_OP["PosterizeIncreasing"] = lambda img, bits, **_: ImageOps.posterize(img, max(1, bits))
transform = create_transform(224, is_training=True, auto_augment="rand-m9-mstd0.5-inc1", interpolation="bicubic",
                             re_prob=0.25, re_mode="pixel", re_count=1)
mixup = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, prob=1.0, switch_prob=0.5, label_smoothing=0.1, num_classes=1000)
files = sorted(glob.glob(sys.argv[1] + "/*/*.jpg"))
print("ready", flush=True)
for line in sys.stdin:
    part = files[int(line):int(line) + 32]
    begin = time.process_time()
    x = torch.stack([transform(Image.open(f).convert("RGB")) for f in part])
    mixup(x, torch.zeros(len(part), dtype=torch.int64))
    print(json.dumps(time.process_time() - begin), flush=True)
"""


def make_images(folder: Path, count: int) -> int:
    """Write JPEGs with the sharpness of photographs; returns their mean size in bytes."""
    from PIL import Image, ImageFilter

    (folder / "a").mkdir()
    rng = np.random.default_rng(0)
    sizes = []
    for index in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).resize(
            (500, 375), Image.Resampling.BICUBIC
        )
        noise = Image.fromarray(rng.integers(0, 256, (375, 500, 3), np.uint8)).filter(
            ImageFilter.GaussianBlur(0.8)
        )
        out = io.BytesIO()
        Image.blend(coarse, noise, 0.85).save(out, "JPEG", quality=92)
        (folder / "a" / f"{index:05d}.jpg").write_bytes(out.getvalue())
        sizes.append(len(out.getvalue()))
    return sum(sizes) // count


def ours(folder: Path) -> Run:
    """The worker's function and the step's first part in this process."""
    from vitmodels.device.runtime import quiet

    quiet()
    import mindspore as ms

    from vitmodels.device.compat import kernels_digest
    from vitmodels.device.kernels.library import limit_threads
    from vitmodels.images.augment import load_train
    from vitmodels.images.data import scan_folder
    from vitmodels.images.mixing import draw_mix, mix_targets, smooth_targets
    from vitmodels.images.pixels import keep_memory
    from vitmodels.nets.pixels import normalise_layer
    from vitmodels.recipe_file import load_recipe

    keep_memory()
    ms.set_device("CPU")
    ms.set_context(mode=ms.GRAPH_MODE, runtime_num_threads=1)
    limit_threads(1)
    recipe = load_recipe(Path(__file__).parents[1] / "vitmodels" / "configs" / "tnt_s_patch16_224.yaml")
    normalise = normalise_layer(recipe.mean, recipe.std)
    if not kernels_digest():
        print("no compiled operators here: the whole uses MindSpore's")
    files = scan_folder(folder)
    rows = np.empty((BATCH, SIDE, SIDE, 3), np.uint8)

    def run(epoch: int, at: int) -> dict[str, float]:
        begin = time.process_time()
        for row in range(BATCH):
            rows[row] = load_train(files.path(at + row), recipe, SIDE, epoch, at + row)
        mix = draw_mix(recipe, epoch * len(files) + at, np.arange(BATCH), SIDE)
        mix_targets(smooth_targets(np.zeros(BATCH, np.int64), 1000, 0.1), mix.share)
        loaded = time.process_time()
        normalise(ms.Tensor(rows), ms.Tensor(mix.lam), ms.Tensor(mix.box)).asnumpy()
        return {OURS: time.process_time() - begin, "ours, loader alone (bytes)": loaded - begin}

    return run


def plain(folder: Path) -> Run:
    """Decode, crop, resize, flip, normalise; no RandAugment, erasing or mixing."""
    from PIL import Image

    from vitmodels.images.augment import crop_box

    files = sorted(folder.glob("*/*.jpg"))

    rng = np.random.default_rng(0)

    def run(_epoch: int, at: int) -> dict[str, float]:
        begin = time.process_time()
        for file in files[at : at + BATCH]:
            with Image.open(file) as opened:
                image = opened.convert("RGB")
            image = image.crop(crop_box(*image.size, (0.08, 1.0), (0.75, 4 / 3), rng))
            image = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            if rng.random() < 0.5:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            (np.asarray(image, np.float32).transpose(2, 0, 1) - 120.0) / 58.0
        return {"plain Pillow loop (no augmentation)": time.process_time() - begin}

    return run


def timm(python: str, folder: Path) -> tuple[Run, subprocess.Popen[str]]:
    """timm's transform, collation and Mixup in another interpreter."""
    child = subprocess.Popen(
        [python, "-W", "ignore", "-c", TIMM_PROGRAM, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    if child.stdout.readline().strip() != "ready":
        raise SystemExit(f"timm does not start in {python}")

    def run(_epoch: int, at: int) -> dict[str, float]:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(f"{at}\n")
        child.stdin.flush()
        return {TIMM: float(json.loads(child.stdout.readline()))}

    return run, child


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--timm-python", default="", help="interpreter with timm and torch")
    parser.add_argument("--images", type=int, default=192, help=f"a multiple of {BATCH}")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if args.images < BATCH or args.images % BATCH:
        parser.error(f"--images {args.images} is not a multiple of {BATCH}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = make_images(folder, args.images)
        print(f"{args.images} JPEGs of 500x375, {size / 1000:.0f} KB on average")
        runs = [plain(folder), ours(folder)]
        child = None
        if args.timm_python:
            run, child = timm(args.timm_python, folder)
            runs.append(run)
        for run in runs:
            run(args.rounds, 0)  # compiles, and loads what is loaded late
        rounds: list[dict[str, float]] = []
        for epoch in range(args.rounds):
            rounds.append(defaultdict(float))
            for at in range(0, args.images, BATCH):
                for run in runs:
                    for key, seconds in run(epoch, at).items():
                        rounds[-1][key] += seconds
        if child is not None and child.stdin is not None:
            child.stdin.close()
            child.wait()
    for key in rounds[0]:
        rate = args.images / statistics.median(found[key] for found in rounds)
        print(f"{key:<36} {rate:7.1f} images/core-s   {NEEDED / rate:4.1f} cores for {NEEDED} images/s")
    if TIMM in rounds[0]:
        ratios = sorted(found[TIMM] / found[OURS] for found in rounds)
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"ours over timm, whole recipe: {statistics.median(ratios):.2f} (rounds: {each})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
