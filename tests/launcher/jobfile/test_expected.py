"""What the models of this project say about their values, in words."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.jobfile.spec import JobSpec
from vitmodels.config import Recipe
from vitmodels.validation.schema import schema_of


@pytest.mark.parametrize(
    ("model", "path", "words"),
    [
        (JobSpec, ("resources", "nodes"), "a whole number from 1 to 1024"),
        (JobSpec, ("data", "train_images"), "a whole number ≥ 1"),
        (JobSpec, ("after", "eval"), "true or false"),
        (JobSpec, ("after", "export"), "a list of values, each MINDIR, ONNX or AIR"),
        (JobSpec, ("after", "export", 0), "MINDIR, ONNX or AIR"),
        (JobSpec, ("program",), "a list of texts, at least 1"),
        (JobSpec, ("model",), "a section with 'key: value' lines"),
        (JobSpec, ("env", "X"), "text"),
        (JobSpec, ("model", "set", "anything"), ""),
        (JobSpec, ("nothing", "here"), ""),
        (Recipe, ("base_lr",), "a number > 0"),
        (Recipe, ("label_smoothing",), "a number ≥ 0 and < 1"),
        (Recipe, ("mixup_prob",), "a number from 0 to 1"),
        (Recipe, ("mean",), "a list of 3 numbers"),
        (Recipe, ("image_size",), "a whole number from 8 to 2048"),
        (Recipe, ("nonlinearity",), "'GELU', the only choice"),
        (Recipe, ("seed",), "a whole number ≥ 0 and < 4294967296"),
    ],
)  # fmt: skip
def test_words_for_what_is_expected(model: Any, path: tuple[str | int, ...], words: str) -> None:
    schema = schema_of(model)
    assert schema.words(schema.at(path) or {}) == words
