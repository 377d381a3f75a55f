"""Where random tests get their draws: a fixed seed, or the fresh one of `make test-all` in LAUNCHER_TEST_SEED."""

import os
import random

import pytest
from hypothesis import settings

SEED = os.environ.get("LAUNCHER_TEST_SEED", "")
settings.register_profile("fixed", derandomize=True, database=None, deadline=None, max_examples=40)
settings.register_profile("fresh", print_blob=True, database=None, deadline=None)


def examples(few: int, many: int) -> int:
    """How often a random test draws: `few` times with the fixed seed, `many` times with a fresh one."""
    return many if SEED else few


def rng_of(name: str) -> random.Random:
    """The draws of the test of this name."""
    return random.Random(f"{SEED} {name}")


def campaign(few: int, many: int) -> list[object]:
    """The cases of a campaign, to parametrize a test with: `make test` runs `few` of them, `make test-all` all."""
    return [pytest.param(k, marks=[pytest.mark.slow] if k >= few else []) for k in range(many)]
