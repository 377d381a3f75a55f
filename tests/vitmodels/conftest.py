"""A small set of images to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of noisy 16x16 pictures, bright at the top or at the bottom: 64 to train on, 10 to test."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for split, count in (("train", 32), ("val", 5)):
        for label, half in (("bottom", slice(8, 16)), ("top", slice(0, 8))):
            folder = root / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 128, (16, 16, 3), np.uint8)
                pixels[half] += 100
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return root
