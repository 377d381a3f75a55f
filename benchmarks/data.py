"""Images per core-second of the training data path, beside timm's loader and a plain Pillow loop, in one run.

    python benchmarks/data.py [--timm-python PYTHON] [--images 200] [--rounds 3]

Makes synthetic JPEGs of 500x375 pixels and about 110 KB, then measures each loader in turn, several rounds, by CPU
time, so that other work on the machine matters little. timm runs in the interpreter named by --timm-python (it needs
torch and another numpy than MindSpore), or is left out. All loaders apply the TNT recipe: random resized crop, flip,
rand-m9-mstd0.5-inc1, erasing 0.25, mixup and cutmix. Ours leaves bytes, normalised and mixed in the compiled step;
that step's share is measured separately and added as `ours, with normalising and mixing`.
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
from collections.abc import Callable
from pathlib import Path

import numpy as np

SIDE, BATCH = 224, 32
NEEDED = 586  # images/s that eight NPUs took in the published run: 8 x 128 / 1.747865 s

TIMM = """
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
for _ in sys.stdin:
    begin = time.process_time()
    for at in range(0, len(files), 32):
        part = files[at:at + 32][: len(files[at:at + 32]) // 2 * 2]
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


def ours(folder: Path) -> Callable[[], float]:
    """The worker's function in this process, with the host's share of mixing."""
    from vitmodels.augment import load_train
    from vitmodels.config import load_recipe
    from vitmodels.data import scan_folder
    from vitmodels.mixing import draw_mix, mix_targets, smooth_targets
    from vitmodels.pixels import keep_memory

    keep_memory()
    recipe = load_recipe(Path(__file__).parents[1] / "vitmodels" / "configs" / "tnt_s_patch16_224.yaml")
    files = scan_folder(folder)
    rows = np.empty((BATCH, SIDE, SIDE, 3), np.uint8)

    def run() -> float:
        begin = time.process_time()
        for at in range(0, len(files), BATCH):
            count = min(BATCH, len(files) - at) // 2 * 2
            for row in range(count):
                rows[row] = load_train(files.path(at + row), recipe, SIDE, 0, at + row)
            mix = draw_mix(recipe, at, np.arange(count), SIDE)
            mix_targets(smooth_targets(np.zeros(count, np.int64), 1000, 0.1), mix.share)
        return time.process_time() - begin

    return run


def plain(folder: Path) -> Callable[[], float]:
    """Decode, crop, resize, flip, normalise; no RandAugment, erasing or mixing."""
    from PIL import Image

    from vitmodels.augment import crop_box

    files = sorted(folder.glob("*/*.jpg"))

    def run() -> float:
        rng = np.random.default_rng(0)
        begin = time.process_time()
        for file in files:
            with Image.open(file) as opened:
                image = opened.convert("RGB")
            image = image.crop(crop_box(*image.size, (0.08, 1.0), (0.75, 4 / 3), rng))
            image = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            if rng.random() < 0.5:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            (np.asarray(image, np.float32).transpose(2, 0, 1) - 120.0) / 58.0
        return time.process_time() - begin

    return run


def device_share() -> float:
    """CPU seconds per image that normalising and mixing cost when the compiled step runs on the CPU."""
    from vitmodels.runtime import quiet

    quiet()
    import mindspore as ms
    from mindspore import nn

    from vitmodels.config import Recipe
    from vitmodels.loss import mix_images
    from vitmodels.step import Normalise

    class Stem(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.normalise = Normalise(Recipe())

        def construct(self, images: ms.Tensor, lam: ms.Tensor, box: ms.Tensor) -> ms.Tensor:
            return mix_images(self.normalise(images), lam, box)

    ms.set_device("CPU")
    ms.set_context(mode=ms.GRAPH_MODE, runtime_num_threads=1)
    stem = Stem()
    images = ms.Tensor(np.zeros((BATCH, SIDE, SIDE, 3), np.uint8))
    lam = ms.Tensor(np.full(BATCH, 0.5, np.float32))
    box = ms.Tensor(np.tile(np.array([10, 100, 10, 100], np.int32), (BATCH, 1)))
    stem(images, lam, box).asnumpy()
    begin = time.process_time()
    for _ in range(5):
        stem(images, lam, box).asnumpy()
    return (time.process_time() - begin) / (5 * BATCH)


def timm(python: str, folder: Path) -> tuple[Callable[[], float], subprocess.Popen[str]]:
    """timm's transform, collation and Mixup in another interpreter."""
    child = subprocess.Popen(
        [python, "-W", "ignore", "-c", TIMM, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    if child.stdout.readline().strip() != "ready":
        raise SystemExit(f"timm does not start in {python}")

    def run() -> float:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write("go\n")
        child.stdin.flush()
        return float(json.loads(child.stdout.readline()))

    return run, child


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--timm-python", default="", help="interpreter with timm and torch")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = make_images(folder, args.images)
        print(f"{args.images} JPEGs of 500x375, {size / 1000:.0f} KB on average")
        loaders = {"plain Pillow loop (no augmentation)": plain(folder), "ours, TNT recipe": ours(folder)}
        child = None
        if args.timm_python:
            loaders["timm, TNT recipe"], child = timm(args.timm_python, folder)
        seconds: dict[str, list[float]] = {key: [] for key in loaders}
        for _ in range(args.rounds):
            for key, run in loaders.items():
                seconds[key].append(run())
        if child is not None and child.stdin is not None:
            child.stdin.close()
            child.wait()
    rates = {key: args.images / statistics.median(found) for key, found in seconds.items()}
    rates["ours, with normalising and mixing on this CPU"] = 1 / (
        1 / rates["ours, TNT recipe"] + device_share()
    )
    for key, rate in rates.items():
        print(f"{key:<48} {rate:7.1f} images/core-s   {NEEDED / rate:4.1f} cores for {NEEDED} images/s")
    if "timm, TNT recipe" in rates:
        for key in ("ours, TNT recipe", "ours, with normalising and mixing on this CPU"):
            print(f"{key} / timm: {rates[key] / rates['timm, TNT recipe']:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
