"""From a JPEG to a crop of the net's size: fast libraries where they are installed, Pillow elsewhere.

simplejpeg decodes with the library that Pillow uses, in less time; cykooz-resizer computes Pillow's filters with vector
instructions. Both differ from Pillow by rounding: at most two levels of 255, where no value is cut off at black or
white. `[train]` installs them where wheels exist (x86-64; the resizer has none for ARM).
"""

from __future__ import annotations

import ctypes
import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vitmodels.images.data import FILTERS, Source, decode

try:
    import simplejpeg
except ImportError:
    simplejpeg = None
try:
    import cykooz_resizer as resizer
except ImportError:
    resizer = None

_NAMES = {FILTERS["bilinear"]: "bilinear", FILTERS["bicubic"]: "catmull_rom", FILTERS["lanczos"]: "lanczos3"}
PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # Pillow refuses images with more: they are decompression bombs


def keep_memory() -> None:
    """Make this process keep the memory that it frees: fetching new pages for every image takes much of the time."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD
        library.mallopt(-1, 128 << 20)  # M_TRIM_THRESHOLD


def read_rgb(source: Source) -> np.ndarray:
    """uint8 (H, W, 3) of an image file of any kind. Raises like `decode`, but for JPEGs whose pixels are good and whose APP0 or APP14
    marker is too short for Pillow: these it reads."""
    data = source.read_bytes() if isinstance(source, Path) else source.read()
    if simplejpeg is not None and data[:2] == b"\xff\xd8":
        try:
            height, width, *_ = simplejpeg.decode_jpeg_header(data)
            if height * width <= PIXELS:
                return simplejpeg.decode_jpeg(data)
        except Exception:  # noqa: S110  (CMYK, damaged, or too large: Pillow reads some of these, and names the reason)
            pass
    return np.asarray(decode(io.BytesIO(data)))


def crop_resize(pixels: np.ndarray, box: tuple[int, int, int, int], side: int, kernel: int) -> np.ndarray:
    """uint8 (side, side, 3): the box (left, top, right, bottom) of uint8 (H, W, 3), resized with anti-aliasing.

    `kernel` is a number of `FILTERS`. Pixels outside of the box have no influence on the result.
    """
    left, top, right, bottom = box
    height, width = pixels.shape[:2]
    cut = np.ascontiguousarray(pixels.reshape(height, width * 3)[top:bottom, left * 3 : right * 3])
    cut = cut.reshape(bottom - top, right - left, 3)
    if resizer is None or kernel not in _NAMES:
        return np.asarray(Image.fromarray(cut).resize((side, side), Image.Resampling(kernel)))
    source = resizer.ImageData(right - left, bottom - top, resizer.PixelType.U8x3, cut.tobytes())
    target = resizer.ImageData(side, side, resizer.PixelType.U8x3)
    tool, options = _resizer(kernel)
    tool.resize(source, target, options)
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(side, side, 3)


@lru_cache(maxsize=8)
def _resizer(kernel: int) -> tuple[Any, Any]:
    """A resizer with its buffers, and the options for one kernel."""
    filter_type = resizer.FilterType[_NAMES[kernel]]
    options = resizer.ResizeOptions(resize_alg=resizer.ResizeAlg.convolution(filter_type), use_alpha=False)
    return resizer.Resizer(), options
