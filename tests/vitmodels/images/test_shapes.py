"""Every shape of image file is what Pillow makes of it, as timm and torchvision read it; the rest is a bad image."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tests.vitmodels.images.shapes import FILES, RGB, encoded
from vitmodels.images.data import UnreadableImage, decode
from vitmodels.images.pixels import read_rgb


def pillows(data: bytes) -> np.ndarray | None:
    """What the loaders of timm and torchvision do; None where they raise."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except Exception:  # of any class
        return None


def ours(reader: object, data: bytes) -> np.ndarray | None:
    try:
        return np.asarray(reader(io.BytesIO(data)))  # type: ignore[operator]
    except UnreadableImage as error:
        assert str(error)
        return None


@pytest.mark.filterwarnings("ignore")  # Pillow's, about damaged EXIF data
@pytest.mark.parametrize("name", FILES)
def test_a_file_has_pillows_pixels_or_is_a_bad_image(name: str) -> None:
    wanted = pillows(FILES[name])
    for reader, levels in ((decode, 0), (read_rgb, 2)):  # simplejpeg rounds otherwise
        found = ours(reader, FILES[name])
        assert (found is None) == (wanted is None), reader
        if found is not None and wanted is not None:
            assert found.shape == wanted.shape, reader
            assert np.abs(found.astype(int) - wanted).max() <= levels, reader


def test_most_files_are_images_and_many_are_bad() -> None:
    bad = [name for name, data in FILES.items() if pillows(data) is None]
    assert len(FILES) - len(bad) > 60
    assert len(bad) > 15


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])  # Pillow itself turns a TIFF
def test_an_orientation_in_exif_data_turns_nothing(kind: str) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    for reader in (decode, read_rgb):
        turned, plain = (ours(reader, encoded(RGB, kind, **more)) for more in ({"exif": exif}, {}))
        assert turned is not None and turned.shape == (37, 53, 3)
        np.testing.assert_array_equal(turned, plain)
