"""Images that can't be read: one bad image each, whatever is wrong with it, and messages that name it."""

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
from vitmodels.images.data import (
    MemoryImages,
    Request,
    UnreadableImage,
    decode,
    scan_folder,
)
from vitmodels.images.pixels import read_rgb, simplejpeg


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
