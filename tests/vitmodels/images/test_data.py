"""Image folders, odd files, crops and erasing."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.vitmodels.images.samples import SIDE, jpeg, read, recipe_of
from vitmodels.errors import DataError
from vitmodels.images.augment import crop_box, erase, train_transform
from vitmodels.images.data import (
    MemoryImages,
    Request,
    UnreadableImage,
    decode,
    eval_transform,
    scan_folder,
    shift_images,
)
from vitmodels.images.pixels import crop_resize, read_rgb, simplejpeg


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


def test_memory_treats_unreadable_images_alike(broken: Path, notes: list[str]) -> None:
    recipe = recipe_of(max_corrupt=3, train_crop="resize", hflip=0.0)
    images = MemoryImages(scan_folder(broken), recipe, SIDE, train=True, note=notes.append)
    _, used = read(images, [Request(np.arange(8), np.arange(8), 0)])
    np.testing.assert_array_equal(used, [0, 3, 3, 3, 4, 5, 6, 0])
    assert len(notes) == 3
    images = MemoryImages(scan_folder(broken), recipe, SIDE, train=False)
    _, used = read(images, [Request(np.arange(8), np.arange(8), None)])
    np.testing.assert_array_equal(used, [0, -1, -1, 3, 4, 5, 6, -1])
    with pytest.raises(DataError, match="3 unreadable images"):
        MemoryImages(scan_folder(broken), recipe_of(max_corrupt=2), SIDE, train=True)
    (broken / "only" / "0.jpg").write_bytes(b"")  # first and last: the replacement goes round
    wrapped = MemoryImages(scan_folder(broken), recipe_of(max_corrupt=4), SIDE, train=True)
    _, used = read(wrapped, [Request(np.arange(8), np.arange(8), 0)])
    np.testing.assert_array_equal(used, [3, 3, 3, 3, 4, 5, 6, 3])


def test_a_bomb_is_an_unreadable_image(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    path = tmp_path / "bomb.jpg"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    with pytest.raises((OSError, ValueError)):
        decode(path)


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "PCX", "ICO", "DDS"]
)
def test_a_damaged_file_is_one_bad_image_whatever_its_decoder_raises(kind: str) -> None:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)).save(out, kind)
    good, rng, refused = out.getvalue(), np.random.default_rng(7), 0
    for _ in range(150):
        data = bytearray(good[: int(rng.integers(8, len(good) + 1))])
        for place in rng.integers(0, min(len(data), 200), int(rng.integers(1, 6))):
            data[place] = rng.integers(0, 256)
        for decoder in (decode, read_rgb):
            try:
                decoder(io.BytesIO(bytes(data)))
            except UnreadableImage as error:
                refused += 1
                assert str(error)
    assert refused > 10


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        NotImplementedError("pixel format"),
        RecursionError("deep"),
        KeyError("tag"),
        ZeroDivisionError("division by zero"),
        struct.error("unpack"),
        Image.DecompressionBombError("huge"),
        Image.DecompressionBombWarning("large"),
        RuntimeError("plugin"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_exception_of_a_decoder_is_a_bad_image(
    folder: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str], error: Exception
) -> None:
    opened = Image.open

    def open_or_fail(source: Path) -> Image.Image:
        if source.name == "03.JPEG":
            raise error
        return opened(source)

    monkeypatch.setattr(Image, "open", open_or_fail)
    images = MemoryImages(scan_folder(folder), recipe_of(), SIDE, train=False, note=notes.append)
    _, used = read(images, [Request(np.arange(24), np.arange(24), None)])
    assert np.flatnonzero(used < 0).tolist() == [3, 15]
    assert ["03.JPEG" in note for note in notes] == [True, True]
    assert all(note.partition("JPEG: ")[2] for note in notes)


def test_memory_that_is_missing_for_the_resize_is_a_bad_image(
    folder: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str]
) -> None:
    import vitmodels.images.data

    resize = vitmodels.images.data.eval_transform

    def resize_or_fail(image: Image.Image, *how: Any) -> np.ndarray:
        if image.width == 45:
            raise MemoryError
        return resize(image, *how)

    monkeypatch.setattr(vitmodels.images.data, "eval_transform", resize_or_fail)
    MemoryImages(scan_folder(folder), recipe_of(), SIDE, train=False, note=notes.append)
    assert [note.endswith("05.JPEG: not enough memory") for note in notes] == [True, True]


@pytest.mark.skipif(simplejpeg is None, reason="no simplejpeg")
def test_a_jpeg_bomb_is_not_decoded() -> None:
    data = bytearray(jpeg("RGB"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", 65_500, 65_500)
    with pytest.raises(UnreadableImage, match="decompression bomb"):
        read_rgb(io.BytesIO(bytes(data)))


def test_a_folder_called_like_an_image_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a" / "b.jpg").mkdir(parents=True)
    (tmp_path / "a" / "c.jpg").write_bytes(jpeg("RGB", (8, 8)))
    assert scan_folder(tmp_path).files == ("a/c.jpg",)


@pytest.mark.parametrize(
    "content", [b"", b"no image", b"\xff\xd8\xff\xe0 cut off"], ids=["empty", "text", "cut off"]
)
def test_messages_name_no_object_in_memory(tmp_path: Path, content: bytes, notes: list[str]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.jpg").write_bytes(jpeg("RGB", (8, 8)))
    (tmp_path / "a" / "1.jpg").write_bytes(content)
    MemoryImages(scan_folder(tmp_path), recipe_of(), SIDE, train=False, note=notes.append)
    with pytest.raises((OSError, ValueError, SyntaxError)) as caught:
        read_rgb(io.BytesIO(content))
    assert len(notes) == 1
    for text in (*notes, str(caught.value)):
        assert "BytesIO" not in text and " at 0x" not in text
