"""Recipes, images and requests of the tests of images."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

from vitmodels.config import Recipe
from vitmodels.images.data import MemoryImages, Request
from vitmodels.images.workers import FileImages
from vitmodels.recipe_file import make_recipe

SIDE = 32


def recipe_of(**changes: object) -> Recipe:
    return make_recipe({"arch": "vit_digits", "num_classes": 2, "num_parallel_workers": 2, **changes})


def jpeg(mode: str, size: tuple[int, int] = (50, 40), kind: str = "JPEG") -> bytes:
    channels = {"L": 1, "RGB": 3, "CMYK": 4, "RGBA": 4, "P": 1}[mode]
    pixels = np.random.default_rng(len(mode)).integers(0, 256, (size[1], size[0], channels), np.uint8)
    image = Image.fromarray(pixels.squeeze() if channels == 1 else pixels, "L" if mode == "P" else mode)
    out = io.BytesIO()
    (image.convert("P") if mode == "P" else image).save(out, kind)
    return out.getvalue()


def dds(flags: int) -> bytes:
    """The header of a DDS file with a pixel format that Pillow does not know."""
    header = bytearray(128)
    header[:8] = b"DDS " + struct.pack("<I", 124)
    struct.pack_into("<III", header, 8, 0x1007, 4, 4)
    struct.pack_into("<II", header, 76, 32, flags)
    return bytes(header)


def requests(count: int, batch: int, epoch: int | None) -> list[Request]:
    return [
        Request(np.arange(at, at + batch) % 24, np.arange(at, at + batch), epoch)
        for at in range(0, count, batch)
    ]


def read(images: FileImages | MemoryImages, wanted: list[Request]) -> tuple[np.ndarray, np.ndarray]:
    parts = [(pixels.copy(), used.copy()) for pixels, used in images.stream(wanted)]
    return np.concatenate([p for p, _ in parts]), np.concatenate([u for _, u in parts])
