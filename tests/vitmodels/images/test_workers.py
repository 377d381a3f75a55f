"""Images read by worker processes: the same pixels, bad files, and the end of a rank."""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.vitmodels.images.samples import SIDE, dds, read, recipe_of, requests
from tests.waiting import is_alive, wait_until
from vitmodels.errors import DataError
from vitmodels.images.data import MemoryImages, Request, scan_folder
from vitmodels.images.workers import FileImages

pytestmark = pytest.mark.system


@pytest.fixture
def files(folder: Path, notes: list[str]) -> Iterator[FileImages]:
    images = FileImages(scan_folder(folder), recipe_of(auto_augment="rand-m9"), SIDE, 24, notes.append)
    yield images
    images.close()


def test_workers_give_the_same_pixels_whatever_the_batch(files: FileImages, folder: Path) -> None:
    whole, used = read(files, requests(48, 24, 0))
    np.testing.assert_array_equal(used, np.arange(48) % 24)
    parts, _ = read(files, requests(48, 8, 0))
    np.testing.assert_array_equal(whole, parts)
    other, _ = read(files, requests(48, 24, 1))
    assert (whole != other).mean() > 0.5
    plain, _ = read(files, requests(24, 8, None))
    memory = MemoryImages(scan_folder(folder), recipe_of(), SIDE, train=False)
    np.testing.assert_array_equal(plain, memory.pixels)


def test_a_stream_can_be_left_early(files: FileImages) -> None:
    stream = files.stream(requests(240, 24, 0))
    next(stream)
    stream.close()
    again, _ = read(files, requests(24, 24, 3))
    fresh, _ = read(files, requests(24, 24, 3))
    np.testing.assert_array_equal(again, fresh)


def test_unreadable_images_are_replaced_counted_and_named(broken: Path, notes: list[str]) -> None:
    images = FileImages(scan_folder(broken), recipe_of(max_corrupt=3), SIDE, 8, notes.append)
    try:
        for epoch in (0, 1):
            _, used = read(images, [Request(np.arange(8), np.arange(8), epoch)])
            np.testing.assert_array_equal(used, [0, 3, 3, 3, 4, 5, 6, 0])
        assert sorted(images.unreadable) == [1, 2, 7]
        assert len(notes) == 3
        assert "1.jpg" in "".join(notes)
        pixels, used = read(images, [Request(np.arange(8), np.arange(8), None)])
        np.testing.assert_array_equal(used, [0, -1, -1, 3, 4, 5, 6, -1])
        assert not pixels[1].any()
    finally:
        images.close()


def test_too_many_unreadable_images_end_training(broken: Path, notes: list[str]) -> None:
    images = FileImages(scan_folder(broken), recipe_of(max_corrupt=2), SIDE, 8, notes.append)
    try:
        with pytest.raises(DataError, match="more than 2 unreadable images"):
            read(images, [Request(np.arange(8), np.arange(8), 0)])
    finally:
        images.close()


@pytest.mark.parametrize("train_crop", ["resize", "random_resized"])
def test_odd_and_thin_files_do_not_end_a_run(
    folder: Path, tmp_path: Path, notes: list[str], train_crop: str
) -> None:
    shutil.copytree(folder, tmp_path / "set")
    (tmp_path / "set" / "cat" / "01.JPEG").write_bytes(dds(8))
    Image.new("RGB", (2, 60_000), "red").save(tmp_path / "set" / "cat" / "02.JPEG", "PNG")
    found = scan_folder(tmp_path / "set")
    recipe = recipe_of(train_crop=train_crop)
    images = FileImages(found, recipe, SIDE, 24, notes.append)
    try:
        pixels, used = read(images, [Request(np.arange(24), np.arange(24), 0)])
        assert used.tolist() == [0, 2, *range(2, 24)]
        assert (pixels[2] == [255, 0, 0]).all()
        pixels, used = read(images, [Request(np.arange(24), np.arange(24), None)])
        assert used.tolist() == [0, -1, *range(2, 24)]
        assert (pixels[2] == [255, 0, 0]).all()
    finally:
        images.close()
    assert len(notes) == 1
    assert notes[0].endswith("01.JPEG: Unknown pixel format flags 8")


PARENT = """
import sys, time
from pathlib import Path
import numpy as np
from vitmodels.recipe_file import make_recipe
from vitmodels.images.data import Request, scan_folder
from vitmodels.images.workers import FileImages
if __name__ == "__main__":
    recipe = make_recipe({"arch": "vit_digits", "num_classes": 2, "num_parallel_workers": 2})
    images = FileImages(scan_folder(Path(sys.argv[1])), recipe, 32, 24, print)
    next(images.stream([Request(np.arange(24), np.arange(24), 0)]))
    print("ready", flush=True)
    time.sleep(600)
"""


def test_workers_die_with_their_rank(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    root = str(Path(__file__).parents[3])
    with subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": root, "PATH": ""},
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        children = psutil.Process(parent.pid).children(recursive=True)
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        assert len(workers) == min(2, multiprocessing.cpu_count())
        parent.kill()
    wait_until(lambda: not any(is_alive(worker.pid) for worker in workers))
