"""Folders of images, whole and broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vitmodels.images.samples import jpeg


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 12 images of several kinds."""
    root = tmp_path_factory.mktemp("images")
    for label in ("cat", "dog"):
        (root / label).mkdir()
        for index in range(12):
            (root / label / f"{index:02d}.JPEG").write_bytes(jpeg("RGB", (40 + index, 60 - index)))
    return root


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Eight images, of which three can't be read: cut off, empty, and text."""
    folder = tmp_path / "only"
    folder.mkdir()
    for index in range(8):
        (folder / f"{index}.jpg").write_bytes(jpeg("RGB"))
    (folder / "1.jpg").write_bytes(jpeg("RGB")[:300])
    (folder / "2.jpg").write_bytes(b"")
    (folder / "7.jpg").write_text("not an image")
    return tmp_path


@pytest.fixture
def notes() -> list[str]:
    return []
