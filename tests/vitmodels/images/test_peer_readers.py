"""Random trees of class folders: the images, labels and counts of torchvision's ImageFolder and of timm's reader.

Where the two are not installed, their rules are restated here; where they are, the rules stated here are compared with them.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.vitmodels.images.shapes import FILES
from vitmodels.images.account import take
from vitmodels.images.classes import Classes, match
from vitmodels.images.data import ImageFolder, UnreadableImage, decode, scan_folder
from vitmodels.images.scan import BROKEN, list_split

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # torchvision's
CLASSES = ["a", "B", "b", "c2", "c10", "c 3", "n01440764", "007", "07", "7", "ü", "日本", "x.jpg", "-d", "#e"]
CLASSES += ["e\u0301", "b ", " f", "c\u200b2"]  # a letter in two characters, blanks, one that can't be seen
NAMES = [
    "1.jpg",
    "2.JPEG",
    "10.png",
    "b c.Bmp",
    "ß.tiff",
    "notes.txt",
    "x.jpg.bak",
    "y.webp",
    "z.tar.png",
    "q.pgm",
]


class Tree(NamedTuple):
    """What is drawn: files below class folders, empty classes, classes that are links to others, files beside classes."""

    files: list[tuple[str, str, str, str]]  # class, sub-folder or nothing, name, kind of content
    empty: list[str]
    links: list[tuple[str, str]]
    beside: list[str]


def trees(folders: list[str]) -> st.SearchStrategy[Tree]:
    name = st.sampled_from(CLASSES)
    kinds = st.sampled_from(["image", "damaged", "nothing", "link", BROKEN, *FILES])
    file = st.tuples(name, st.sampled_from(folders), st.sampled_from(NAMES), kinds)
    links = st.lists(st.tuples(st.sampled_from(["link1", "link20", "link3"]), name), max_size=2)
    return st.builds(
        Tree,
        st.lists(file, min_size=1, max_size=25),
        st.lists(name, max_size=3),
        links,
        st.lists(st.sampled_from(NAMES), max_size=2),
    )


def write(tree: Tree, top: Path) -> Path:
    """The tree on disk, with one image at least."""
    out = io.BytesIO()
    Image.new("RGB", (3, 2)).save(out, "PNG")
    content = {**FILES, "image": out.getvalue(), "damaged": out.getvalue()[:30], "nothing": b""}
    root, target = top / "split", top / "target.png"
    target.write_bytes(out.getvalue())
    for label, folder, name, kind in [*tree.files, ("a", "", "sure.png", "image")]:
        path = root / label / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() or path.is_symlink():
            continue
        if kind in ("link", BROKEN):
            path.symlink_to(target if kind == "link" else top / "nowhere.png")
        else:
            path.write_bytes(content.get(kind, out.getvalue()))
    for label in tree.empty:
        (root / label).mkdir(exist_ok=True)
    for link, label in tree.links:
        if (root / label).is_dir() and not (root / link).exists():
            (root / link).symlink_to(label)
    for name in tree.beside:
        if not (root / name).exists():
            (root / name).write_bytes(out.getvalue())
    return root


def torchvision_samples(root: Path) -> tuple[list[str], list[tuple[str, int]]]:
    """Class names and (file, label): folders in text order, files of known suffixes at any depth, links followed.

    Links to nothing, which torchvision takes for images and fails on, are not among them.
    """
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    samples = []
    for label, name in enumerate(names):
        for folder, _, files in sorted(os.walk(root / name, followlinks=True)):
            kept = [file for file in sorted(files) if file.lower().endswith(SUFFIXES)]
            samples += [(os.path.relpath(Path(folder, file), root), label) for file in kept]
    if not has_torchvision():
        return names, _there(root, samples)
    from torchvision.datasets import ImageFolder as Peer

    peer = Peer(str(root), allow_empty=True)
    assert (peer.classes, [(os.path.relpath(path, root), label) for path, label in peer.samples]) == (
        names,
        samples,
    )
    return names, _there(root, samples)


def _there(root: Path, samples: list[tuple[str, int]]) -> list[tuple[str, int]]:
    return [(file, label) for file, label in samples if (root / file).exists()]


def unreadable(root: Path, files: Iterable[str]) -> list[str]:
    """The files on which the loader of torchvision raises, or Pillow where it is not installed."""
    load = import_module("torchvision.datasets.folder").default_loader if has_torchvision() else _load
    bad = []
    for file in files:
        try:
            load(str(root / file))
        except Exception:  # of any class
            bad.append(file)
    return bad


def _load(path: str) -> Image.Image:
    with Image.open(io.BytesIO(Path(path).read_bytes())) as image:
        return image.convert("RGB")


_DECLARED: list[Any] = []
"""Declarations of operators, which are gone with the object that made them."""


@cache
def has_torchvision() -> bool:
    """Whether it can be imported. Where its compiled part fits another torch only, the operators that the import asks for are declared."""
    for _ in range(20):
        try:
            import_module("torchvision")
        except ImportError:
            return False
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            assert missing, error
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
            _DECLARED.append(import_module("torch").library.Library("torchvision", "FRAGMENT"))
            _DECLARED[-1].define(f"{missing[1]}(Tensor values) -> Tensor")
        else:
            return True
    return False


def timm_labels(root: Path) -> dict[str, int]:
    """Label of each file: the folders that hold images, in natural order."""

    def natural(text: str) -> list[int | str]:
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text.lower())]

    found = [
        (os.path.relpath(Path(folder, file), root), Path(folder).name)
        for folder, _, files in os.walk(root, followlinks=True)
        for file in files
        if file.lower().endswith((".png", ".jpg", ".jpeg")) and Path(folder) != root
    ]
    places = {name: place for place, name in enumerate(sorted({name for _, name in found}, key=natural))}
    labels = {file: places[name] for file, name in found}
    has_torchvision()  # which timm imports
    try:
        from timm.data.readers.reader_image_folder import find_images_and_targets
    except ImportError:
        return labels
    targets = {
        os.path.relpath(path, root): label
        for path, label in find_images_and_targets(str(root), types=(".png", ".jpg", ".jpeg"))[0]
    }
    beside = any("/" not in file for file in targets)  # timm makes a first class of images beside the folders
    assert {file: label - beside for file, label in targets.items() if "/" in file} == labels
    return labels


def is_readable(path: Path) -> bool:
    try:
        decode(path)
    except UnreadableImage:
        return False
    return True


def samples_of(folder: ImageFolder) -> list[tuple[str, int]]:
    return list(zip(folder.files, folder.labels.tolist(), strict=True))


RANDOM = settings(max_examples=80, deadline=None, derandomize=True, database=None)


@pytest.mark.system
@pytest.mark.filterwarnings("ignore")  # Pillow's, about damaged EXIF data
@RANDOM
@given(trees(["", "", "deep", "deep/er", "10", "9"]))
def test_images_labels_counts_and_bad_files_are_torchvisions(tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as top:
        root = write(tree, Path(top))
        names, samples = torchvision_samples(root)
        folder = scan_folder(root)
        assert list(folder.classes) == names
        assert samples_of(folder) == samples
        assert [file for file in folder.files if not is_readable(root / file)] == unreadable(
            root, folder.files
        )
        counts = Counter(label for _, label in samples)
        assert list(folder.empty) == [name for label, name in enumerate(names) if not counts[label]]
        files = sum(len(files) for _, _, files in os.walk(root, followlinks=True))
        assert files == len(folder) + sum(folder.left_out.values())
        known, account = take(folder, "val", match(folder.classes, Classes(), len(names), where="val"))
        assert (account.images, samples_of(known)) == (len(samples), samples)


@pytest.mark.system
@RANDOM
@given(trees([""]), st.sets(st.sampled_from(CLASSES), max_size=6))
def test_labels_by_name_survive_missing_and_unknown_classes(tree: Tree, more: set[str]) -> None:
    with tempfile.TemporaryDirectory() as top:
        root = write(tree, Path(top))
        _, samples = torchvision_samples(root)
        net = tuple(sorted({"a", *more}, key=lambda name: name[::-1]))
        folders = list_split(root).classes
        found, account = take(scan_folder(root), "val", match(folders, Classes(net), len(net), where="val"))
        wanted = [(file, file.split("/")[0]) for file, _ in samples]
        assert samples_of(found) == [(file, net.index(name)) for file, name in wanted if name in net]
        assert set(account.matching.unknown) == set(folders) - set(net)
        assert set(account.matching.missing) == set(net) - set(folders)


@pytest.mark.system
@RANDOM
@given(trees([""]))
def test_natural_order_gives_timms_labels(tree: Tree) -> None:
    plain = tree._replace(
        files=[
            file
            for file in tree.files
            if file[2].lower().endswith((".png", ".jpg", ".jpeg")) and file[3] != BROKEN
        ],
        empty=[],
    )
    plain = plain._replace(files=[file for file in plain.files if file[0] not in ("B", "07", "7")])  # ties
    with tempfile.TemporaryDirectory() as top:
        root = write(plain, Path(top))
        folder = scan_folder(root)
        matching = match(folder.classes, Classes(order="natural"), len(folder.classes), where="val")
        assert dict(samples_of(folder.relabelled(matching))) == timm_labels(root)
