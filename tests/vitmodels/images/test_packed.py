"""Images read from shards: the same as from the folders that were packed, in the same order, for every rank."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.vitmodels.images.samples import SIDE, jpeg, recipe_of
from vitmodels.config import Recipe
from vitmodels.errors import DataError
from vitmodels.images.batches import Batches, Slicing
from vitmodels.images.data import MemoryImages, Request, scan_folder
from vitmodels.images.packed import open_packed, packed_splits
from vitmodels.images.workers import FileImages
from vitmodels.training.assemble import divide, open_split

ROOT = Path(__file__).parents[3]
STAGE = (
    "import sys; from pathlib import Path; from launcher.storage import open_store;"
    "from launcher.dataset.packed import Part; from launcher.dataset.stage import stage_data;"
    "part = Part(int(sys.argv[3]), int(sys.argv[4])) if sys.argv[3:] else None;"
    "print(stage_data(open_store(sys.argv[1]), Path(sys.argv[2]), unpacked=False, part=part).path)"
)


def pack(source: Path, dest: Path, size: str = "30KB") -> Path:
    """The launcher is a program here, as it is for ranks."""
    command = [sys.executable, "-m", "launcher", "pack", str(source), str(dest), "--shard-size", size]
    command += ["--jobs", "1", "--work-dir", str(dest.parent / "scratch")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return dest


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes; one has no image that counts, one only few."""
    root = tmp_path_factory.mktemp("folders")
    for split, count in (("train", 40), ("val", 9)):
        for index in range(count):
            path = root / split / ("cat" if index % 4 else "dog") / f"{index:02d}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg("RGB", (40 + index, 60 - index)))
        (root / split / "emu").mkdir()
        (root / split / "emu" / "notes.txt").write_text("none yet")
        (root / split / "cat" / ".hidden.jpg").write_bytes(b"x")
    return root


@pytest.fixture(scope="module")
def packed(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(folders, tmp_path_factory.mktemp("packed") / "out")


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_same_images_in_the_same_order(folders: Path, packed: Path, split: str) -> None:
    wanted, found = scan_folder(folders / split), open_packed(packed, split)
    assert found.classes == wanted.classes == ("cat", "dog", "emu")
    assert found.files == wanted.files
    np.testing.assert_array_equal(found.labels, wanted.labels)
    for index in range(len(wanted)):
        assert found.source(index).read() == wanted.path(index).read_bytes()
    assert packed_splits(packed) == {"train", "val"}
    assert packed_splits(folders) is None


def test_class_folders_at_the_top(folders: Path, tmp_path: Path) -> None:
    out = pack(folders / "train", tmp_path / "out")
    assert open_split(recipe_of(num_classes=3), out, "train").files == scan_folder(folders / "train").files
    with pytest.raises(DataError, match="no images packed for val"):
        open_split(recipe_of(num_classes=3), out, "val")
    recipe = recipe_of(num_classes=3, val_data_url=str(folders / "val"))
    assert open_split(recipe, out, "val").files == scan_folder(folders / "val").files


@pytest.mark.system
def test_workers_and_memory_read_shards(folders: Path, packed: Path) -> None:
    recipe = recipe_of(auto_augment="rand-m9")
    request = Request(np.arange(24), np.arange(24), 1)
    pixels = []
    for folder in (scan_folder(folders / "train"), open_packed(packed, "train")):
        images = FileImages(folder, recipe, SIDE, 24, print)
        pixels.append(next(images.stream([request]))[0].copy())
        images.close()
    np.testing.assert_array_equal(pixels[0], pixels[1])
    decoded = [
        MemoryImages(folder, recipe_of(), SIDE, train=False).pixels
        for folder in (scan_folder(folders / "val"), open_packed(packed, "val"))
    ]
    np.testing.assert_array_equal(decoded[0], decoded[1])


def test_unreadable_images_are_counted_in_the_same_way(folders: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    for index in range(6):
        path = broken / "train" / "a" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no image" if index in (1, 4) else jpeg("RGB"))
    out = pack(broken, tmp_path / "out")
    notes: list[str] = []
    images = MemoryImages(
        open_packed(out, "train"), recipe_of(max_corrupt=2), SIDE, train=True, note=notes.append
    )
    assert [index for index in range(6) if images._used[index] != index] == [1, 4]
    assert len(notes) == 2
    assert "train-00000.tar/train/a/1.jpg" in notes[0]
    with pytest.raises(DataError, match="2 unreadable"):
        MemoryImages(open_packed(out, "train"), recipe_of(max_corrupt=1), SIDE, train=True)


@pytest.mark.parametrize("what", ["cut", "gone", "index"])
def test_shards_that_are_not_complete_are_refused(packed: Path, tmp_path: Path, what: str) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(packed), str(copy)], check=True)
    tar = copy / "shards" / "train-00001.tar"
    if what == "cut":
        tar.write_bytes(tar.read_bytes()[:-512])
    elif what == "gone":
        tar.unlink()
    else:
        tar.with_suffix(".tsv").write_bytes(tar.with_suffix(".tsv").read_bytes().replace(b".JPEG", b".jpeg"))
    with pytest.raises(DataError, match=r"train-00001\.(tar|tsv)"):
        open_packed(copy, "train")


class Indices:
    """A source that gives back which images were asked for."""

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def stream(self, requests):  # type: ignore[no-untyped-def]
        for request in requests:
            yield request.indices[:, None], request.indices

    def close(self) -> None: ...


def seen_by(
    slicing: Slicing, recipe: Recipe, labels: np.ndarray, epoch: int, first: int = 0
) -> list[list[int]]:
    batches = Batches(Indices(labels), recipe, slicing, SIDE, 0)
    return [
        [int(index) for micro in step for index in micro.images[:, 0]] for step in batches.epoch(epoch, first)
    ]


@pytest.mark.system
def test_parts_make_equal_steps_and_see_only_their_own_images(
    packed: Path, tmp_path: Path, folders: Path
) -> None:
    recipe = recipe_of(batch_size=2, num_classes=3)
    folder_of: Callable[[int], Path] = lambda part: Path(  # noqa: E731
        subprocess.run(
            [sys.executable, "-c", STAGE, str(packed), str(tmp_path), str(part), "2"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    )
    parts = [open_split(recipe, folder_of(part), "train") for part in range(2)]
    assert sorted(parts[0].files + parts[1].files) == sorted(scan_folder(folders / "train").files)
    assert parts[0].parts == parts[1].parts == (len(parts[0]), len(parts[1]))
    steps = set()
    for rank in range(4):
        mine = parts[rank // 2]
        slicing = divide(mine, recipe, rank, 4)
        epochs = [seen_by(slicing, recipe, mine.labels, epoch) for epoch in range(2)]
        steps |= {len(each) for each in epochs}
        assert epochs[0] != epochs[1]
        other = divide(mine, recipe, rank ^ 1, 4)
        both = epochs[0] + seen_by(other, recipe, mine.labels, 0)
        together = [index for step in both for index in step]
        assert len(together) == len(set(together)), "no image twice in an epoch"
        assert seen_by(slicing, recipe, mine.labels, 0, 2) == epochs[0][2:], "resumed in the same order"
    assert steps == {min(parts[0].parts) // 4}
    with pytest.raises(DataError, match="part 0 of 2, which is not that of rank 3"):
        divide(parts[0], recipe, 3, 4)
    with pytest.raises(DataError, match="of 3"):
        divide(parts[0], recipe, 0, 3)
    facts = json.loads((parts[0].root / "part.json").read_text())
    (parts[0].root / "part.json").write_text(json.dumps({**facts, "train_images": [3, 3]}))
    with pytest.raises(DataError, match=r"part\.json says 3"):
        open_packed(parts[0].root, "train")


def test_global_positions_stay_unique_with_parts() -> None:
    whole, halves = Slicing(64, 4, 0, 4), [Slicing(32, 4, rank, 4, parts=2) for rank in range(4)]
    assert {each.steps for each in halves} == {whole.steps} == {4}
    assert [each.part for each in halves] == [0, 0, 1, 1]
    for step in range(4):
        positions = np.concatenate([each.positions(step, 0) for each in halves])
        np.testing.assert_array_equal(positions, np.arange(16 * step, 16 * step + 16))
        places = [each.places(step, 0) for each in halves]
        np.testing.assert_array_equal(np.concatenate(places[:2]), np.arange(8 * step, 8 * step + 8))
        np.testing.assert_array_equal(places[0], places[2])
    np.testing.assert_array_equal(whole.places(3, 0), whole.positions(3, 0))
