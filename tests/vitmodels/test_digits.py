"""scikit-learn's digits as folders of images: complete, always the same, repaired."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from vitmodels.digits import main as digits_main
from vitmodels.digits import stratified_val, write_digits
from vitmodels.errors import UsageError
from vitmodels.images.data import decode, scan_folder


@pytest.mark.system
def test_the_digits_are_complete_and_always_the_same(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    assert write_digits(tmp_path / "a") == {"train": 1437, "val": 360}
    assert write_digits(tmp_path / "a") == {"train": 1437, "val": 360}
    write_digits(tmp_path / "b")
    first = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.jpg"))
    assert first == sorted(path.relative_to(tmp_path / "b") for path in (tmp_path / "b").rglob("*.jpg"))
    for path in first[::97]:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
    val = scan_folder(tmp_path / "a" / "val")
    assert set(np.bincount(val.labels)) <= {35, 36, 37}
    assert decode(val.path(0)).size == (32, 32)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="not empty"):
        write_digits(tmp_path / "c")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_split_is_proportional_and_exact() -> None:
    labels = np.repeat(np.arange(3), (50, 30, 21))
    mask = stratified_val(labels, 20, 0)
    assert mask.sum() == 20
    np.testing.assert_array_equal(np.bincount(labels[mask]), [10, 6, 4])


@pytest.mark.system
def test_digits_that_are_missing_are_written_again(tmp_path: Path) -> None:
    write_digits(tmp_path)
    lost = sorted(tmp_path.glob("*/*/*.jpg"))[::400]
    before = [path.read_bytes() for path in lost]
    own = tmp_path / "train" / "0" / "mine.jpg"
    own.write_bytes(b"the user's")
    for path in lost:
        path.unlink()
    shutil.rmtree(tmp_path / "val" / "9")
    assert write_digits(tmp_path) == {"train": 1437, "val": 360}
    assert [path.read_bytes() for path in lost] == before
    assert len(list((tmp_path / "val").glob("*/*.jpg"))) == 360
    assert own.read_bytes() == b"the user's"


@pytest.mark.system
def test_digits_where_nothing_can_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert digits_main([str(tmp_path / "file" / "digits")]) == 2
    assert "Traceback" not in capsys.readouterr().err
