"""Image folders, odd files, crops and erasing."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.vitmodels.images.samples import SIDE, jpeg, recipe_of
from vitmodels.errors import DataError
from vitmodels.images.augment import crop_box, erase, train_transform
from vitmodels.images.data import (
    MemoryImages,
    Request,
    decode,
    eval_transform,
    scan_folder,
    shift_images,
)
from vitmodels.images.pixels import crop_resize, read_rgb


def test_folders_are_listed_in_a_fixed_order(folder: Path, tmp_path: Path) -> None:
    found = scan_folder(folder)
    assert found.classes == ("cat", "dog")
    assert found.files[0] == "cat/00.JPEG"
    assert list(found.files) == sorted(found.files)
    np.testing.assert_array_equal(found.labels, [0] * 12 + [1] * 12)
    with pytest.raises(DataError, match="is not a folder"):
        scan_folder(tmp_path / "none")
    with pytest.raises(DataError, match="no images"):
        scan_folder(tmp_path)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("L", "JPEG"),
        ("RGB", "JPEG"),
        ("CMYK", "JPEG"),
        ("RGB", "PNG"),
        ("RGBA", "PNG"),
        ("P", "PNG"),
        ("L", "BMP"),
    ],
)
def test_every_kind_of_image_becomes_rgb(tmp_path: Path, mode: str, kind: str) -> None:
    path = tmp_path / "image.jpg"  # whatever it is
    path.write_bytes(jpeg(mode, kind=kind))
    image = decode(path)
    assert (image.mode, image.size) == ("RGB", (50, 40))


@pytest.mark.parametrize("name", ["resizer", "simplejpeg", None])
def test_fast_ways_give_pillows_pixels(monkeypatch: pytest.MonkeyPatch, name: str | None) -> None:
    import vitmodels.images.pixels

    if name:  # without the library it is Pillow itself
        monkeypatch.setattr(vitmodels.images.pixels, name, None)
        vitmodels.images.pixels._resizer.cache_clear()
    data = jpeg("RGB", (130, 90))
    pixels = read_rgb(io.BytesIO(data))
    for mode, kind in (("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG")):
        other = jpeg(mode, (130, 90), kind)
        apart = read_rgb(io.BytesIO(other)).astype(int) - np.asarray(decode(io.BytesIO(other)))
        assert np.abs(apart).max() <= 2
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(
        rng.integers(50, 200, (9, 13, 3), np.uint8)
    )  # sharp noise would be cut off at 0 and 255
    pixels = np.asarray(coarse.resize((130, 90), Image.Resampling.BICUBIC))
    for kernel in (1, 2, 3):
        for _ in range(20):
            box = crop_box(130, 90, (0.01, 1.0), (0.5, 2.0), rng)
            wanted = Image.fromarray(pixels).crop(box).resize((SIDE, SIDE), Image.Resampling(kernel))
            apart = np.abs(
                crop_resize(pixels, box, SIDE, kernel).astype(int) - np.asarray(wanted).astype(int)
            )
            assert apart.max() <= 2
            assert (apart > 1).mean() < 0.001
    for broken in (data[:400], data[:20], b"\xff\xd8 no image"):
        with pytest.raises((OSError, ValueError, SyntaxError)):
            read_rgb(io.BytesIO(broken))


def test_evaluation_keeps_the_centre() -> None:
    pixels = np.zeros((256, 512, 3), np.uint8)
    pixels[16:240, 144:368] = 255
    found = eval_transform(Image.fromarray(pixels), 224, 0.875, "bicubic")
    assert found.shape == (224, 224, 3)
    assert found.min() == 255
    tall = eval_transform(Image.fromarray(pixels.transpose(1, 0, 2)), 224, 0.875, "bicubic")
    assert tall.min() == 255
    same = eval_transform(Image.fromarray(pixels[:224, :224]), 224, 1.0, "bicubic")
    np.testing.assert_array_equal(same, pixels[:224, :224])


def test_crops_follow_the_rule() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([crop_box(500, 375, (0.08, 1.0), (0.75, 4 / 3), rng) for _ in range(4000)])
    left, top, right, bottom = boxes.T
    assert left.min() >= 0
    assert top.min() >= 0
    assert right.max() <= 500
    assert bottom.max() <= 375
    area = (right - left) * (bottom - top) / (500 * 375)
    aspect = (right - left) / (bottom - top)
    assert area.min() > 0.079
    assert 0.74 < aspect.min() < 0.77
    assert 1.30 < aspect.max() < 1.35
    small = (
        area < 0.31
    ).mean()  # uniform in area, so 0.25 of the draws; about a quarter, large ones, are redrawn
    assert 0.30 < small < 0.36
    assert crop_box(1000, 10, (0.9, 1.0), (0.75, 4 / 3), rng) == (493, 0, 506, 10)


@pytest.mark.parametrize("mode", ["const", "rand", "pixel"])
def test_erasing_fills_a_box(mode: str) -> None:
    recipe = recipe_of(re_prob=1.0, re_mode=mode)
    shares, values = [], []
    for seed in range(200):
        pixels = np.zeros((64, 64, 3), np.uint8)
        erase(pixels, recipe, np.random.default_rng(seed))
        rows, columns = np.flatnonzero(pixels.any(axis=(1, 2))), np.flatnonzero(pixels.any(axis=(0, 2)))
        shares.append(len(rows) * len(columns) / 64**2)
        box = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        if mode != "pixel":
            assert (box == box[0, 0]).all()
        values.append(box.reshape(-1, 3).mean(axis=0))
    assert min(shares) > 0.015
    assert max(shares) < 0.36
    assert np.mean(shares) == pytest.approx((0.02 + 1 / 3) / 2, abs=0.02)
    assert np.mean(values, axis=0) == pytest.approx(np.array(recipe.mean) * 255, abs=15)
    untouched = np.zeros((64, 64, 3), np.uint8)
    erase(untouched, recipe_of(re_prob=0.0), np.random.default_rng(0))
    assert not untouched.any()


def test_shifts_repeat_the_edge_and_reach_both_ends() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    found = shift_images(images, np.array([[0.0, 0.0], [0.5, 0.5], [0.999, 0.999]]), 2)
    np.testing.assert_array_equal(found[0, 2:, 2:], images[0, :-2, :-2])
    np.testing.assert_array_equal(found[0, 0], np.pad(images[0, 0], ((2, 0), (0, 0)), mode="edge")[:8])
    np.testing.assert_array_equal(found[1], images[1])
    np.testing.assert_array_equal(found[2, :-2, :-2], images[2, 2:, 2:])


def test_flips_happen_as_often_as_asked(folder: Path) -> None:
    recipe = recipe_of(train_crop="resize", hflip=0.25, vflip=0.0)
    images = MemoryImages(scan_folder(folder), recipe, SIDE, train=True)
    indices = np.zeros(2000, np.int64)
    (found, _), *_ = images.stream([Request(indices, np.arange(2000), 0)])
    flipped = (found == images.pixels[0][:, ::-1]).all(axis=(1, 2, 3))
    assert flipped.mean() == pytest.approx(0.25, abs=0.03)
    np.testing.assert_array_equal(found[~flipped][0], images.pixels[0])


def test_the_whole_recipe_on_one_image() -> None:
    recipe = recipe_of(auto_augment="rand-m9-mstd0.5-inc1", re_prob=0.25, interpolation="random")
    image = read_rgb(io.BytesIO(jpeg("RGB", (120, 90))))
    results = [train_transform(image, recipe, SIDE, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert results[0].shape == (SIDE, SIDE, 3)
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()
    jittered = train_transform(image, recipe_of(color_jitter=0.4), SIDE, np.random.default_rng(0))
    assert jittered.dtype == np.uint8
