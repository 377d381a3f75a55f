"""Resize and centre crop: timm's sizes, Pillow's pixels, and no more memory than the crop needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitmodels.images.centre import SLENDER, resize_and_cut, resized

KERNELS = [0, 1, 2, 3]


def noise(width: int, height: int, seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def whole(image: Image.Image, side: int, edge: int, kernel: int) -> np.ndarray:
    """What torchvision does: the whole image resized, its long side cut off, then the centre."""
    width, height = image.size
    short, long = min(width, height), int(edge * max(width, height) / min(width, height))
    size = (edge, long) if short == width else (long, edge)
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    scaled = image.resize(size, Image.Resampling(kernel))
    return np.asarray(scaled.crop((left, top, left + side, top + side)))


@pytest.mark.parametrize(
    ("width", "height", "wanted"),
    [
        (500, 375, (341, 256)),
        (375, 500, (256, 341)),
        (500, 334, (383, 256)),  # 383.2
        (500, 333, (384, 256)),  # 384.4
        (500, 335, (382, 256)),  # 382.09
        (400, 279, (367, 256)),  # 367.03
        (257, 256, (257, 256)),
        (512, 511, (256, 256)),  # 256.5
        (1600, 1067, (383, 256)),  # 383.9: rounding would give 384
        (60, 60, (256, 256)),
    ],
)
def test_the_long_side_is_cut_not_rounded(width: int, height: int, wanted: tuple[int, int]) -> None:
    assert resized(width, height, 256) == wanted


@pytest.mark.parametrize("kernel", KERNELS)
def test_ordinary_images_are_resized_by_pillow(kernel: int) -> None:
    image = noise(160, 107, 0)
    np.testing.assert_array_equal(resize_and_cut(image, 56, 64, kernel), whole(image, 56, 64, kernel))


@pytest.mark.parametrize("kernel", KERNELS)
def test_slender_images_have_pillows_pixels(kernel: int) -> None:
    rng = np.random.default_rng(kernel)
    for seed in range(24):
        short, side = int(rng.integers(1, 80)), int(rng.integers(8, 48))
        long = int(short * SLENDER + rng.integers(1, 400))
        edge = side + int(rng.integers(0, 9))
        image = noise(short, long, seed) if seed % 2 else noise(long, short, seed)
        found = resize_and_cut(image, side, edge, kernel)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, whole(image, side, edge, kernel))


def test_the_order_of_pillows_passes_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions differ in it, and pixels cut off at black or white show it."""
    from vitmodels.images import centre

    image = Image.fromarray(np.asarray(noise(60, 400, 3)) // 128 * 255)
    wanted = whole(image, 28, 32, 3)
    np.testing.assert_array_equal(resize_and_cut(image, 28, 32, 3), wanted)
    other = not centre._begins_with_rows()
    monkeypatch.setattr(centre, "_begins_with_rows", lambda: other)
    assert (resize_and_cut(image, 28, 32, 3) != wanted).any()


PROGRAM = """
import sys
from vitmodels.images.data import decode, eval_transform
from pathlib import Path
for name in sys.argv[1:]:
    for kernel in ("nearest", "bilinear", "bicubic", "lanczos"):
        print(eval_transform(decode(Path(name)), 224, 0.875, kernel).shape)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.system
def test_thin_images_need_little_memory(tmp_path: Path) -> None:
    sizes = [(2, 60_000), (60_000, 2), (1, 1_000_000), (3_000_000, 1)]
    files = [tmp_path / f"{width}x{height}.png" for width, height in sizes]
    for size, file in zip(sizes, files, strict=True):
        Image.new("RGB", size, (9, 99, 200)).save(file)
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, files)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    *shapes, peak_kib = run.stdout.splitlines()
    assert shapes == ["(224, 224, 3)"] * 4 * len(sizes)
    assert int(peak_kib) < 200 * 1024
