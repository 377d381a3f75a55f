"""A tree of files to pack."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.launcher.dataset.packing import make_tree


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree")
