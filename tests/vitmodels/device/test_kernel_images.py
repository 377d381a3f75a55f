"""The compiled normalising and mixing of images against numpy in float64, and against MindSpore's operators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

ms = pytest.importorskip("mindspore")

from vitmodels.device.kernels import operators  # noqa: E402
from vitmodels.device.kernels.library import library, limit_threads  # noqa: E402
from vitmodels.images.mixing import neighbours  # noqa: E402
from vitmodels.nets.pixels import Normalise, normalise_layer  # noqa: E402

pytestmark = pytest.mark.skipif(library().path is None, reason=library().note)
MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


def draw(count: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, shares and boxes: mixup, cutmix, both, a whole box, an empty one."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, height, width, 3), np.uint8)
    lam = rng.random(count).astype(np.float32)
    box = np.stack([np.sort(rng.integers(0, side + 1, (count, 2)), axis=1) for side in (height, width)], 1)
    box = box.reshape(count, 4).astype(np.int32)
    lam[1::3], box[::3] = 1.0, 0
    box[-1] = (0, height, 0, width)
    return images, lam, box


def formula(images: np.ndarray, lam: np.ndarray, box: np.ndarray) -> np.ndarray:
    """What one image after the other should become, in float64."""
    x = (images.astype(np.float64) / 255.0 - MEAN) / STD
    other = neighbours(x)
    mixed = x * lam[:, None, None, None].astype(np.float64)
    mixed += other * (1.0 - lam[:, None, None, None].astype(np.float64))
    for i, (top, bottom, left, right) in enumerate(box):
        mixed[i, top:bottom, left:right] = other[i, top:bottom, left:right]
    return mixed.transpose(0, 3, 1, 2)


def run(cell: Any, *arrays: np.ndarray) -> np.ndarray:
    return np.asarray(cell(*map(ms.Tensor, arrays)).asnumpy())


SHAPES = [(2, 1, 1), (4, 5, 7), (6, 33, 16), (8, 40, 61)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_images_are_normalised_and_mixed(shape: tuple[int, int, int]) -> None:
    images, lam, box = draw(*shape)
    found = run(normalise_layer(MEAN, STD), images, lam, box)
    assert found.dtype == np.float32
    assert np.abs(found - formula(images, lam, box)).max() < 1e-6
    plain = Normalise(MEAN, STD)
    assert type(plain) is not type(normalise_layer(MEAN, STD)), "this would be the same operators twice"
    assert np.abs(found - run(plain, images, lam, box)).max() < 1e-6


def test_images_are_normalised_alone_and_in_odd_numbers() -> None:
    images = draw(3, 20, 9)[0]
    nothing = np.zeros((3, 4), np.int32)
    plain = Normalise(MEAN, STD)
    found = run(normalise_layer(MEAN, STD), images)
    x = (images.astype(np.float64) / 255.0 - MEAN) / STD
    assert np.abs(found - x.transpose(0, 3, 1, 2)).max() < 1e-6
    assert np.abs(found - run(plain, images)).max() < 5e-7
    unmixed = run(normalise_layer(MEAN, STD), images[:2], np.ones(2, np.float32), nothing[:2])
    assert np.array_equal(unmixed, found[:2]), "an image that keeps all of itself is as if never mixed"


def test_the_number_of_threads_changes_no_bit() -> None:
    given = draw(8, 40, 61)
    found = []
    try:
        for threads in (1, 2, 5):
            limit_threads(threads)
            found.append((run(normalise_layer(MEAN, STD), *given), run(normalise_layer(MEAN, STD), given[0])))
    finally:
        limit_threads(2)
    assert all(
        np.array_equal(one, other) for each in found[1:] for one, other in zip(found[0], each, strict=True)
    )


def test_other_types_are_refused() -> None:
    images, lam, box = draw(4, 5, 7)
    with pytest.raises(TypeError, match="normalise_and_mix_images takes int32"):
        operators.normalise_and_mix()(
            *map(
                ms.Tensor, (images, np.ones(3, np.float32), np.ones(3, np.float32), lam, box.astype(np.int64))
            )
        )
