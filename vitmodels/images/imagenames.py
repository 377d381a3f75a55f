"""Which files are images of a class: one rule for folders, object stores and packed shards. Pure.

The rule is torchvision's: an image belongs to the class folder that it lies in, at any depth. Besides the known suffixes, a
file without one is an image if its content begins like one.
"""

from __future__ import annotations

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
)
SPLITS = ("train", "val")
HEAD = 16
"""Bytes of a file that tell whether it is an image."""
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\x00", b"MM\x00*", b"GIF87a", b"GIF89a")


def suffix_of(name: str) -> str:
    """`.jpg` for `cat.JPG`; empty for a name without a suffix."""
    dot = name.rfind(".")
    return name[dot:].lower() if 0 < dot < len(name) - 1 else ""


def is_image(name: str) -> bool:
    """Whether a file of this name counts as an image: known extension, not hidden."""
    return not name.startswith(".") and suffix_of(name) in EXTENSIONS


def begins_like_image(head: bytes) -> bool:
    """Whether a file with these first `HEAD` bytes is an image."""
    if head.startswith(_SIGNATURES):
        return True
    netpbm = head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace()
    return netpbm or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


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
    """Split and class of an image that lies in a class folder; None for every other file."""
    return class_of(key) if not left_out(key) and suffix_of(key.rpartition("/")[2]) else None


def needs_look(key: str) -> bool:
    """Whether only the content tells if the file is an image of a class: it has no suffix."""
    return not left_out(key) and not suffix_of(key.rpartition("/")[2])


OUTSIDE = "outside of class folders"
HIDDEN = "hidden"
NO_IMAGE = "without suffix, and no image"


def left_out(key: str) -> str:
    """Why a file is no image of a class: its suffix, or one of the reasons above; empty where it is one, or may be one."""
    split = split_of(key)
    *folders, name = (key.removeprefix(f"{split}/") if split else key).split("/")
    if any(part.startswith(".") for part in (*folders, name)):
        return HIDDEN
    if not folders:
        return OUTSIDE
    suffix = suffix_of(name)
    return suffix if suffix and suffix not in EXTENSIONS else ""
