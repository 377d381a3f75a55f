"""Which names are images of a class: one rule for folders, object stores and packed shards. Pure."""

from __future__ import annotations

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"})
SPLITS = ("train", "val")


def is_image(name: str) -> bool:
    """Whether a file of this name counts as an image: known extension, not hidden."""
    dot = name.rfind(".")
    return dot > 0 and not name.startswith(".") and name[dot:].lower() in EXTENSIONS


def split_of(key: str) -> str:
    """`train` or `val` for what lies in a folder of that name, else an empty text."""
    first, slash, _ = key.partition("/")
    return first if slash and first in SPLITS else ""


def class_of(key: str) -> tuple[str, str] | None:
    """Split and class folder of `train/<class>/...`, or of `<class>/...` with the split ''; None outside of them."""
    split = split_of(key)
    name, slash, _ = (key.removeprefix(f"{split}/") if split else key).partition("/")
    return (split, name) if slash and not name.startswith(".") else None


def labelled(key: str) -> tuple[str, str] | None:
    """Split and class of an image that lies directly in a class folder; None for every other file."""
    split_and_class = class_of(key)
    if split_and_class is None or key.count("/") != (2 if split_and_class[0] else 1):
        return None
    return split_and_class if is_image(key.rpartition("/")[2]) else None
