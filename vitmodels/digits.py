"""scikit-learn's handwritten digits as an image folder: the smallest real data set for a whole run.

    python -m vitmodels.digits DEST

writes DEST/{train,val}/<digit>/<number>.jpg: 32x32 JPEGs, 1437 to train on and 360 to test, the same
share of every digit in both, always the same split. Files are complete or absent.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
from pathlib import Path

import numpy as np

from vitmodels.errors import UsageError
from vitmodels.program import end, finish, say

SIDE = 32
VAL_IMAGES = 360
SEED = 0
MARK = ".digits"
QUALITY = 95


def stratified_val(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """A boolean mask with `count` True, spread over the classes in proportion (largest remainders first)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    classes, sizes = np.unique(labels, return_counts=True)
    shares = sizes * count / len(labels)
    takes = np.floor(shares).astype(int)
    for index in np.argsort(takes - shares, kind="stable")[: count - takes.sum()]:
        takes[index] += 1
    mask = np.zeros(len(labels), dtype=bool)
    for cls, take in zip(classes, takes, strict=True):
        members = np.flatnonzero(labels == cls)
        mask[rng.permutation(members)[:take]] = True
    return mask


def image_names(labels: np.ndarray) -> list[str]:
    """The path of each image below the data folder."""
    in_val = stratified_val(labels, VAL_IMAGES, SEED)
    return [
        f"{'val' if val else 'train'}/{label}/{index:04d}.jpg"
        for index, (label, val) in enumerate(zip(labels, in_val, strict=True))
    ]


def encode_image(grey: np.ndarray) -> bytes:
    """JPEG bytes of an 8x8 array of 0..16, enlarged to 32x32."""
    from PIL import Image

    pixels = np.clip(np.rint(grey * (255.0 / 16.0)), 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB")
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def write_image(path: Path, grey: np.ndarray) -> None:
    """One image, whole or absent. Raises UsageError where it can't be written."""
    temp = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temp.write_bytes(encode_image(grey))
        temp.replace(path)
    except OSError as error:
        raise UsageError(f"can't write {path}: {error.strerror}", hint="name another folder") from error


def write_digits(dest: Path) -> dict[str, int]:
    """Write the folders under `dest`; returns the number of images of each split.

    In a folder that this function completed before, images that are missing are written again. Raises
    UsageError for any other folder that is not empty, and where it can't write.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UsageError(
            "scikit-learn is not installed", hint="pip install 'ascend-launcher[digits]'"
        ) from error
    dest = Path(dest)
    ours = (dest / MARK).is_file()
    if not ours and dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
        raise UsageError(f"{dest} exists and is not empty", hint="name a new folder")
    bunch = load_digits()
    images, labels = np.asarray(bunch.images), np.asarray(bunch.target)
    names = image_names(labels)
    counts = {split: sum(name.startswith(split) for name in names) for split in ("train", "val")}
    if ours:
        for name, image in zip(names, images, strict=True):
            if not (dest / name).is_file():
                write_image(dest / name, image)
        return counts
    temp = dest.with_name(f".{dest.name}.tmp-{os.getpid()}")
    try:
        for name, image in zip(names, images, strict=True):
            write_image(temp / name, image)
        (temp / MARK).write_text("written by vitmodels.digits\n", encoding="utf-8")
        if dest.is_dir():
            dest.rmdir()
        temp.replace(dest)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return counts


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m vitmodels.digits", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("dest", type=Path, metavar="DEST", help="new or empty folder")
    args = parser.parse_args(argv)
    return finish(lambda: _run(args.dest))


def _run(dest: Path) -> int:
    counts = write_digits(dest.resolve())
    say(f"{dest}: {counts['train']} images to train on, {counts['val']} to test")
    return 0


if __name__ == "__main__":
    end(main())
