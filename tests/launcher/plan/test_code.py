"""code.zip: the same bytes for every back end."""

from pathlib import Path

import pytest

from launcher.errors import PlanError
from launcher.plan.code import code_digest, code_files, code_zip, write_archive


def test_both_ways_to_make_the_archive_give_the_same_bytes(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "code.zip", (), {})
    assert archive.path.read_bytes() == code_zip()
    assert (archive.digest, archive.bytes) == (code_digest(), len(code_zip()))
    assert archive.files == len(list(code_files()))


def test_a_folder_that_is_not_there_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="is no folder"):
        list(code_files([str(tmp_path / "none")]))
    (tmp_path / "a" / "src").mkdir(parents=True)
    (tmp_path / "b" / "src").mkdir(parents=True)
    with pytest.raises(PlanError, match="two folders"):
        list(code_files([str(tmp_path / "a" / "src"), str(tmp_path / "b" / "src")]))
