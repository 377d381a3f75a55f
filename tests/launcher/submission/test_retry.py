"""A run that was only resumed on this machine has its job file and record in the store."""

import shutil
from pathlib import Path

import pytest

from launcher.errors import NotFound
from launcher.runfolder import paths
from launcher.runs.trust import find_plan
from launcher.submission.retry import read_of_run
from tests.launcher.samples import Sample


def test_what_is_not_here_comes_from_the_store(tmp_path: Path, launcher_home: Path) -> None:
    sample = Sample(tmp_path)
    stored = tmp_path / "store" / sample.plan.run_id
    shutil.copytree(sample.root, stored)
    (sample.root / paths.JOB).unlink()
    folder = find_plan(sample.entry).folder
    assert folder.source == sample.root
    assert read_of_run(sample.plan, folder, paths.JOB) == (stored / paths.JOB).read_bytes()
    assert read_of_run(sample.plan, folder, paths.PLAN) == (sample.root / paths.PLAN).read_bytes()
    (stored / paths.JOB).unlink()
    with pytest.raises(NotFound):
        read_of_run(sample.plan, folder, paths.JOB)
