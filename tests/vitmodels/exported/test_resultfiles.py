"""Results of any number of images: files as answers come, whole or absent, and memory that does not grow."""

from __future__ import annotations

import csv
import errno
import gc
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitmodels.errors import DataError
from vitmodels.exported.prepare import Images, Preparation, Unreadable
from vitmodels.exported.resultfiles import PREDICTIONS, UNREADABLE, ResultFiles
from vitmodels.exported.results import NAMED, Answers, Prediction, Tally, infer

CLASSES = ("ant", "bee", "cat")


def answers_of(*files: str) -> Answers:
    predictions = tuple(Prediction(file, 1, (2, 1, 0), (0.5, 0.3, 0.2), top5=True) for file in files)
    return Answers(predictions, (Unreadable("bad.jpg", 0, "no image, or\nhalf of one"),), 0.25)


def images_of(folder: Path, count: int) -> Images:
    """Two files again and again: every fourth one can't be read."""
    Image.new("RGB", (8, 8), "red").save(folder / "good.png")
    (folder / "bad.png").write_bytes(b"no image")
    files = tuple("bad.png" if number % 4 == 3 else "good.png" for number in range(count))
    return Images(folder, files, (0,) * count, CLASSES)


def alive(kind: type) -> int:
    """How many values of this kind the process holds."""
    return sum(type(each) is kind for each in gc.get_objects())


@pytest.mark.system
def test_answers_are_not_kept_however_many_images_there_are(tmp_path: Path) -> None:
    images, tally, batch = images_of(tmp_path, 1200), Tally(), 8
    before, most = (alive(Prediction), alive(Unreadable)), [0, 0]
    with ResultFiles(tmp_path, images.classes) as files:
        for answers in infer(lambda pixels: np.eye(3)[[0] * len(pixels)], images, Preparation(8), batch):
            tally.add(answers)
            files.write(answers)
            if (tally.predictions + tally.unreadable) % 200 == 0:
                most = [max(most[0], alive(Prediction)), max(most[1], alive(Unreadable))]
    assert most[0] - before[0] <= 2 * batch
    assert most[1] - before[1] <= NAMED + 2 * batch
    assert (tally.predictions, tally.unreadable, len(tally.first_unreadable)) == (900, 300, NAMED)
    for name, lines in ((PREDICTIONS, 901), (UNREADABLE, 301)):
        assert len((tmp_path / name).read_text().splitlines()) == lines
    summary = tally.summary("m", "e", images, 1.0)
    assert (summary.images, summary.unreadable, summary.top1) == (1200, 300, 0.75)


def test_lines_are_written_as_answers_come_and_the_names_at_the_end(tmp_path: Path) -> None:
    (tmp_path / PREDICTIONS).write_text("of an earlier run")
    with ResultFiles(tmp_path, CLASSES) as files:
        for number in range(2000):
            files.write(answers_of(f"{number}.png"))
        assert (tmp_path / PREDICTIONS).read_text() == "of an earlier run"
        assert not (tmp_path / UNREADABLE).exists()
        assert sum(one.stat().st_size for one in tmp_path.glob(".predictions*")) > 30_000
    assert sorted(one.name for one in tmp_path.iterdir()) == [PREDICTIONS, UNREADABLE]
    with (tmp_path / PREDICTIONS).open() as lines:
        rows = list(csv.reader(lines))
    assert rows[0] == ["file", "label", "predicted", "probability", "top5"]
    assert rows[1] == ["0.png", "bee", "cat", "0.5", "cat bee ant"]
    with (tmp_path / UNREADABLE).open() as lines:
        assert list(csv.reader(lines))[2] == ["bad.jpg", "ant", "no image, or\nhalf of one"]


@pytest.mark.parametrize("error", [DataError("lost"), KeyboardInterrupt()])
def test_an_error_leaves_the_files_of_before(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / PREDICTIONS).write_text("of an earlier run")
    with pytest.raises(type(error)), ResultFiles(tmp_path, CLASSES) as files:
        files.write(answers_of("a.png"))
        raise error
    assert [one.name for one in tmp_path.iterdir()] == [PREDICTIONS]
    assert (tmp_path / PREDICTIONS).read_text() == "of an earlier run"


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with ResultFiles(tmp_path, CLASSES) as files:
        files.write(answers_of("a.png"))
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left") as caught:
            files.__exit__(None, None, None)
    assert caught.value.filename == str(tmp_path / UNREADABLE)
    assert not list(tmp_path.iterdir())


def test_names_that_are_not_utf8_and_classes_without_a_name(tmp_path: Path) -> None:
    with ResultFiles(tmp_path, ("ant",)) as files:
        files.write(answers_of(os.fsdecode(b"caf\xe9.png")))
    assert b"caf\xe9.png,1,2,0.5,2 1 ant\n" in (tmp_path / PREDICTIONS).read_bytes()
