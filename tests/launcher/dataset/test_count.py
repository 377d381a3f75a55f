"""Images of a local folder, counted from names."""

from __future__ import annotations

from pathlib import Path

from launcher.dataset.count import count_train_images


def test_only_images_in_class_folders_count(tmp_path: Path) -> None:
    for name in (
        "train/a/1.jpg",
        "train/a/2.PNG",
        "train/a/.x.jpg",
        "train/b/deep/3.jpg",
        "train/4.jpg",
        "val/a/5.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert count_train_images(tmp_path) == 2
    assert count_train_images(tmp_path, limit=3) is None
    assert count_train_images(tmp_path / "val") is None
