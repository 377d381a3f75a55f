"""A file that is far too large to be one of a run is not read, here or from the store."""

import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.api import find
from launcher.cli import main
from launcher.errors import IntegrityError
from launcher.runfolder.smallfiles import MOST_BYTES
from launcher.runfolder.states import State
from launcher.runs.records import DAMAGED_STATE
from tests.launcher.samples import Sample

HUGE_BYTES = 2 << 30


@pytest.fixture
def sample(launcher_home: Path, tmp_path: Path) -> Sample:
    sample = Sample(tmp_path)
    sample.state(State.FAILED, "rank 0 failed")
    sample.node()
    return sample


def make_huge(path: Path) -> None:
    """Of zeros, which take no room on the disk."""
    os.truncate(path, HUGE_BYTES)


def peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["state.json", "status/node-0.json", "plan.json", "record.json", "job.yaml"])
@pytest.mark.parametrize("by_url", [False, True], ids=["here", "by URL"])
def test_no_command_reads_it_whole(
    sample: Sample, name: str, by_url: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = sample.entry.run_id
    if by_url:
        folder = tmp_path / "copies" / run
        shutil.copytree(sample.root, folder)
        run = folder.as_uri()
    make_huge((folder if by_url else sample.root) / name)
    codes: list[int] = []
    assert peak_bytes(lambda: codes.append(main(["status", run]))) < 3 * MOST_BYTES
    shown = "".join(capsys.readouterr())
    assert "defect" not in shown
    if codes != [0]:
        assert (codes, "larger than" in shown, name in shown) == ([4], True, True)


def test_a_huge_state_is_a_damaged_one(sample: Sample) -> None:
    make_huge(sample.root / "state.json")
    view = sample.run.view()
    assert (view.state, view.reason) == (State.UNKNOWN, DAMAGED_STATE)


def test_a_huge_plan_is_an_error_that_names_it(sample: Sample) -> None:
    make_huge(sample.root / "plan.json")
    with pytest.raises(IntegrityError, match="larger than 67") as caught:
        find(sample.entry.run_id).plan()
    assert caught.value.where.endswith("plan.json")


def test_a_huge_entry_of_the_index_is_left_out(sample: Sample, launcher_home: Path) -> None:
    make_huge(sample.index.root / f"{sample.entry.run_id}.json")
    found: list[object] = []
    assert peak_bytes(lambda: found.append(sample.index.get(sample.entry.run_id))) < 3 * MOST_BYTES
    assert found == [None]
