"""Small image files of every shape that data sets have, and of damage that decoders judge differently. Each is made here."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image, features

_JPEG_KINDS: dict[str, dict[str, object]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "restart markers": {"restart_marker_blocks": 2},
    "RGB, not YCbCr": {"keep_rgb": True},
}


def gradient(height: int, width: int, channels: int = 3) -> np.ndarray:
    """uint8 (H, W, C), other in each channel and pixel; (H, W) for one channel."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [(x * 7 + y * 3 + channel * 40) % 256 for channel in range(channels)]
    return np.stack(planes, -1).astype(np.uint8).reshape((height, width, channels)[: 2 + (channels > 1)])


RGB = Image.fromarray(gradient(37, 53))
GREY = Image.fromarray(gradient(37, 53, 1))
RGBA = Image.fromarray(gradient(37, 53, 4))
CMYK = Image.fromarray(gradient(37, 53, 4), "CMYK")
PALETTE = RGB.convert("P")
DEEP = Image.fromarray(gradient(37, 53, 1).astype(np.uint16) * 257)  # 16 bits


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _jpegs() -> Iterator[tuple[str, bytes]]:
    for name, options in _JPEG_KINDS.items():
        yield f"{name}.jpg", encoded(RGB, "JPEG", **options)
    yield "grey.jpg", encoded(GREY, "JPEG")
    yield "grey, progressive.jpg", encoded(GREY, "JPEG", progressive=True)
    cmyk = encoded(CMYK, "JPEG")
    adobe = cmyk.index(b"Adobe")
    yield "CMYK.jpg", cmyk
    yield "YCCK.jpg", cmyk[: adobe + 11] + b"\x02" + cmyk[adobe + 12 :]
    yield "CMYK without Adobe's marker.jpg", cmyk[: adobe - 4] + cmyk[adobe + 12 :]
    yield "two pictures.mpo", encoded(RGB, "MPO", save_all=True, append_images=[GREY.convert("RGB")])
    plain = encoded(RGB, "JPEG")
    yield "more behind its end.jpg", plain + b"more" * 9
    yield "a damaged EXIF.jpg", plain[:2] + b"\xff\xe1\x00\x12Exif\0\0MM\0*\xff\xff\xff\xff\0\0" + plain[2:]


def _rotated() -> Iterator[tuple[str, bytes]]:
    for orientation in (3, 6, 8):
        exif = Image.Exif()
        exif[0x112] = orientation
        for kind in ("JPEG", "PNG", "TIFF", "WEBP"):
            yield f"EXIF orientation {orientation}.{kind.lower()}", encoded(RGB, kind, exif=exif)


def _modes() -> Iterator[tuple[str, bytes]]:
    deep = gradient(37, 53, 1).astype(np.int32) * 900
    yield "16 bits.png", encoded(DEEP, "PNG")
    yield "16 bits.tif", encoded(DEEP, "TIFF")
    yield "16 bits, big end first.tif", encoded(Image.fromarray(deep.astype(">u2")), "TIFF")
    yield "32 bits.tif", encoded(Image.fromarray(deep), "TIFF")
    yield "floats.tif", encoded(Image.fromarray(deep.astype(np.float32)), "TIFF")
    yield "CMYK.tif", encoded(CMYK, "TIFF")
    yield "YCbCr.tif", encoded(RGB.convert("YCbCr"), "TIFF")
    yield "palette.png", encoded(PALETTE, "PNG")
    yield "palette, one colour clear.png", encoded(PALETTE, "PNG", transparency=3)
    yield "palette, each colour with alpha.png", encoded(PALETTE, "PNG", transparency=bytes(range(256)))
    yield "one colour clear.png", encoded(RGB, "PNG", transparency=(0, 40, 80))
    yield "LA.png", encoded(Image.merge("LA", (GREY, GREY)), "PNG")
    yield "RGBA.png", encoded(RGBA, "PNG")
    yield "RGBA.webp", encoded(RGBA, "WEBP", lossless=True)
    yield "PA.tif", encoded(PALETTE.convert("PA"), "TIFF")
    for kind in ("PNG", "TIFF", "BMP", "PPM", "GIF"):
        yield f"one bit.{kind.lower()}", encoded(GREY.convert("1"), kind)


def _formats() -> Iterator[tuple[str, bytes]]:
    square = RGB.resize((32, 32))
    kinds = ["BMP", "ICO", "WEBP", "PPM", "TGA", "PCX", "GIF"]
    kinds += ["JPEG2000"] * features.check("jpg_2000") + ["AVIF"] * features.check("avif")
    for kind in kinds:
        yield f"plain.{kind.lower()}", encoded(square, kind)
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        timed = {} if kind == "TIFF" else {"duration": 40}
        yield (
            f"moving.{kind.lower()}",
            encoded(RGB, kind, save_all=True, append_images=[GREY.convert("RGB")], **timed),
        )
    rest = [GREY.convert("RGB"), RGB]
    yield (
        "moving, with a still of its own.png",
        encoded(RGB, "PNG", save_all=True, default_image=True, append_images=rest),
    )
    yield "16 bits.pgm", b"P5\n4 2\n65535\n" + struct.pack(">8H", *range(0, 64000, 8000))
    yield "100 levels.pgm", b"P5\n4 2\n100\n" + bytes(range(0, 96, 12))
    yield "text.ppm", b"P3\n# a comment\n2 2\n255\n1 2 3 4 5 6 7 8 9 10 11 12\n"
    for kind in ("PNG", "JPEG", "BMP", "WEBP"):
        yield f"1 x 90.{kind.lower()}", encoded(Image.fromarray(gradient(90, 1)), kind)
        yield f"90 x 1.{kind.lower()}", encoded(Image.fromarray(gradient(1, 90)), kind)
        yield f"1 x 1.{kind.lower()}", encoded(Image.fromarray(gradient(1, 1)), kind)


def _damaged() -> Iterator[tuple[str, bytes]]:
    for kind, options in (
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("GIF", {}),
        ("BMP", {}),
    ):
        whole = encoded(RGB, kind, **options)
        for end in (0, 3, len(whole) // 2, len(whole) - 30, len(whole) - 1):
            yield f"cut off at {end}{' progressive' if options else ''}.{kind.lower()}", whole[:end]
    jpeg = encoded(RGB.resize((200, 160)), "JPEG", quality=95)
    frame, middle = jpeg.index(b"\xff\xc0"), len(jpeg) // 2
    size = struct.pack(">H", 400)
    yield "a flipped byte.jpg", jpeg[:middle] + bytes([jpeg[middle] ^ 0x55]) + jpeg[middle + 1 :]
    yield "an end in the middle.jpg", jpeg[:middle] + b"\xff\xd9" + jpeg[middle + 2 :]
    yield "taller than its data.jpg", jpeg[: frame + 5] + size + jpeg[frame + 7 :]
    yield "12 bits.jpg", jpeg[: frame + 4] + b"\x0c" + jpeg[frame + 5 :]
    yield "no rows.jpg", jpeg[: frame + 5] + b"\0\0" + jpeg[frame + 7 :]
    yield "lossless.jpg", jpeg[: frame + 1] + b"\xc3" + jpeg[frame + 2 :]
    yield "words.jpg", b"no image at all"


FILES = dict(case for make in (_jpegs, _rotated, _modes, _formats, _damaged) for case in make())
"""Content by name."""
