"""Evaluation pixels against timm's; skipped where timm and PyTorch are not installed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.vitmodels.images.shapes import FILES
from tests.vitmodels.nets.timm_peer import import_timm
from vitmodels.images.data import UnreadableImage, decode, eval_transform

torch = pytest.importorskip("torch")
import_timm()
from timm.data.transforms_factory import create_transform  # noqa: E402  (after the skip)
from torchvision.datasets.folder import default_loader  # noqa: E402

ZERO, ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def timm_pixels(image: Image.Image, side: int, crop_pct: float, interpolation: str) -> np.ndarray:
    transform = create_transform(
        (3, side, side), interpolation=interpolation, crop_pct=crop_pct, mean=ZERO, std=ONE
    )
    return np.asarray((transform(image) * 255).round().to(torch.uint8).numpy().transpose(1, 2, 0))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "nearest"])
@pytest.mark.parametrize(("side", "crop_pct"), [(224, 0.875), (224, 0.9), (32, 1.0), (48, 0.875)])
def test_evaluation_has_timms_pixels(interpolation: str, side: int, crop_pct: float) -> None:
    rng = np.random.default_rng(side)
    for index in range(12):
        width, height = (int(value) for value in rng.integers(8, 520, 2))
        if index % 4 == 3:
            width = max(1, height // 30)
        out = io.BytesIO()
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(out, ("JPEG", "PNG")[index % 2])
        image = decode(io.BytesIO(out.getvalue()))
        np.testing.assert_array_equal(
            eval_transform(image, side, crop_pct, interpolation),
            timm_pixels(image, side, crop_pct, interpolation),
            err_msg=f"{width} x {height}",
        )


@pytest.mark.filterwarnings("ignore")  # Pillow's, about damaged EXIF data
@pytest.mark.parametrize("name", FILES)
def test_a_file_of_any_shape_has_timms_pixels_or_is_bad_for_both(name: str, tmp_path: Path) -> None:
    path = tmp_path / "named.jpg"  # the content decides
    path.write_bytes(FILES[name])
    try:
        wanted = timm_pixels(default_loader(str(path)), 32, 0.875, "bicubic")
    except Exception:  # of any class
        with pytest.raises(UnreadableImage):
            decode(path)
        return
    np.testing.assert_array_equal(eval_transform(decode(path), 32, 0.875, "bicubic"), wanted)
