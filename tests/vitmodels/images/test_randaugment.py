"""RandAugment: the string, every operation against arithmetic on arrays, and the statistics of the draws."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vitmodels.errors import RecipeError
from vitmodels.images.randaugment import NAMES, OPERATIONS, draw_magnitude, rand_augment, strength
from vitmodels.policy import Policy, parse_policy

FILL = (124, 116, 104)


def picture(seed: int = 0, side: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8))


def apply(name: str, level: float, image: Image.Image) -> np.ndarray:
    return np.asarray(OPERATIONS[name](image, level, Image.Resampling.BILINEAR, FILL)).astype(int)


def test_the_string_of_the_recipe() -> None:
    assert parse_policy("rand-m9-mstd0.5-inc1") == Policy(9.0, 2, 0.5, 10.0, True, 0.5)
    assert parse_policy("rand-n3-p0.25-mmax8") == Policy(10.0, 3, 0.0, 8.0, False, 0.25)
    assert parse_policy("rand-m7-mstd101").uniform


@pytest.mark.parametrize(
    "text", ["m9", "rand-x1", "rand-m", "rand-m9-m8", "rand-m11", "rand-p2", "augmix-m3"]
)
def test_other_strings_are_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="auto_augment"):
        parse_policy(text)


def test_all_fifteen_operations_are_there() -> None:
    assert len(NAMES) == 15
    for name in NAMES:
        image = picture()
        before = np.asarray(image).copy()
        found = apply(name, strength(name, 9, 1, True), image)
        assert found.shape == before.shape
        np.testing.assert_array_equal(np.asarray(image), before)
        assert np.abs(found - before).max() > 0 or name == "AutoContrast"  # whose input is full range already


@pytest.mark.parametrize(
    ("name", "at_0", "at_5", "at_10"),
    [
        ("Rotate", 0, 15, 30),
        ("ShearX", 0, 0.15, 0.3),
        ("TranslateYRel", 0, 0.225, 0.45),
        ("Posterize", 4, 2, 0),
        ("Solarize", 256, 128, 0),
        ("SolarizeAdd", 0, 55, 110),
        ("Color", 1, 1.45, 1.9),
        ("Sharpness", 1, 1.45, 1.9),
    ],
)
def test_strength_rises_with_the_magnitude(name: str, at_0: float, at_5: float, at_10: float) -> None:
    found = [strength(name, magnitude, 1.0, True) for magnitude in (0, 5, 10)]
    assert found == pytest.approx([at_0, at_5, at_10])


def test_directions_and_the_form_without_inc() -> None:
    assert strength("Rotate", 10, -1.0, True) == -30
    assert strength("Color", 10, -1.0, True) == pytest.approx(0.1)
    assert strength("Color", 0, 1.0, False) == pytest.approx(0.1)
    assert strength("Posterize", 10, 1.0, False) == 4
    assert strength("Solarize", 10, 1.0, False) == 256


def test_point_operations_are_the_arithmetic() -> None:
    image = picture()
    x = np.asarray(image).astype(int)
    np.testing.assert_array_equal(apply("Invert", 0, image), 255 - x)
    np.testing.assert_array_equal(apply("Solarize", 100, image), np.where(x < 100, x, 255 - x))
    np.testing.assert_array_equal(
        apply("SolarizeAdd", 40, image), np.where(x < 128, np.minimum(x + 40, 255), x)
    )
    np.testing.assert_array_equal(apply("Posterize", 3, image), x & 0b11100000)
    np.testing.assert_array_equal(apply("Posterize", 0, image), x & 0b10000000)
    np.testing.assert_array_equal(apply("Posterize", 8, image), x)
    low = Image.fromarray((np.asarray(image) // 4 + 50).astype(np.uint8))
    stretched = apply("AutoContrast", 0, low)
    assert stretched.min() == 0
    assert stretched.max() >= 254


def test_enhancements_blend_with_a_degenerate_image() -> None:
    image = picture()
    x = np.asarray(image).astype(float)
    grey = np.asarray(image.convert("L")).astype(float)
    for factor in (0.1, 1.0, 1.9):
        blends = {
            "Brightness": factor * x,
            "Color": grey[..., None] + factor * (x - grey[..., None]),
            "Contrast": round(grey.mean()) + factor * (x - round(grey.mean())),
        }
        for name, wanted in blends.items():
            assert np.abs(apply(name, factor, image) - np.clip(wanted, 0, 255)).max() <= 1.01, name
    assert np.abs(apply("Sharpness", 1.0, image) - x).max() == 0


def test_moves_take_the_fill_colour_from_outside() -> None:
    image = picture(side=40)
    x = np.asarray(image).astype(int)
    moved = apply("TranslateXRel", 0.25, image)
    np.testing.assert_array_equal(moved[:, :29], x[:, 10:39])
    np.testing.assert_array_equal(moved[:, 31:], np.broadcast_to(FILL, (40, 9, 3)))
    moved = apply("TranslateYRel", -0.25, image)
    np.testing.assert_array_equal(moved[11:], x[1:30])
    turned = np.asarray(OPERATIONS["Rotate"](image, 90.0, Image.Resampling.NEAREST, FILL)).astype(int)
    np.testing.assert_array_equal(turned, np.rot90(x))
    sheared = np.asarray(OPERATIONS["ShearX"](image, 1.5, Image.Resampling.BILINEAR, FILL)).astype(int)
    between = (0.25 * x[10, 15:39] + 0.75 * x[10, 16:40]).astype(int)  # 15.75: from the middle of a row
    np.testing.assert_array_equal(sheared[10, :24], between)


@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
@pytest.mark.parametrize("level", [-0.27, -0.1, 0.0, 0.05, 0.3])
def test_shear_and_shift_are_pillows_affine_transform(resample: Image.Resampling, level: float) -> None:
    image = picture(side=12).resize((70, 50), Image.Resampling.BICUBIC)
    matrices = {
        "ShearX": (1, level, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, level, 1, 0),
        "TranslateXRel": (1, 0, level * 70, 0, 1, 0),
        "TranslateYRel": (1, 0, 0, 0, 1, level * 50),
    }
    for name, matrix in matrices.items():
        wanted = image.transform(
            image.size, Image.Transform.AFFINE, matrix, resample=resample, fillcolor=FILL
        )
        found = np.asarray(OPERATIONS[name](image, level, resample, FILL)).astype(int)
        apart = np.abs(found - np.asarray(wanted).astype(int))
        assert apart.max() <= 1, name
        assert (apart > 0).mean() < 0.1, name  # where the sum is a whole number, or nearly


def test_magnitudes_are_drawn_as_the_policy_says() -> None:
    rng = np.random.default_rng(0)
    normal = [draw_magnitude(parse_policy("rand-m5-mstd0.5"), rng) for _ in range(4000)]
    assert np.mean(normal) == pytest.approx(5, abs=0.05)
    assert np.std(normal) == pytest.approx(0.5, abs=0.03)
    uniform = [draw_magnitude(parse_policy("rand-m8-mstd101"), rng) for _ in range(4000)]
    assert np.mean(uniform) == pytest.approx(4, abs=0.15)
    assert max(draw_magnitude(parse_policy("rand-m10-mstd3"), rng) for _ in range(100)) == 10
    assert draw_magnitude(parse_policy("rand-m7"), rng) == 7


def test_an_image_depends_on_its_generator_alone() -> None:
    policy = parse_policy("rand-m9-mstd0.5-inc1")
    results = [
        np.asarray(rand_augment(picture(), policy, np.random.default_rng(seed), FILL, "bicubic"))
        for seed in (1, 1, 2, 3, 4, 5)
    ]
    np.testing.assert_array_equal(results[0], results[1])
    assert any((results[0] != other).any() for other in results[2:])


def test_how_many_images_stay_as_they_are() -> None:
    policy = parse_policy("rand-m9-n2-p0.5-inc1")
    image = picture(side=8)
    same = sum(
        rand_augment(image, policy, np.random.default_rng(seed), FILL) is image for seed in range(2000)
    )
    assert same / 2000 == pytest.approx(0.25, abs=0.03)  # neither of two operations
