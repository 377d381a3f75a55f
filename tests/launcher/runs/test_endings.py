"""Which runs a list by state leaves out without opening their files: never one whose entry has changed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.runfolder.smallfiles import MOST_BYTES
from launcher.runfolder.states import RunState, State
from launcher.runs import endings
from launcher.runs.endings import KEEP_FROM, KEPT, SEEN
from launcher.runs.index import Index, RunEntry
from launcher.runs.listing import Filter, select
from tests.launcher.samples import NOW

COUNT = KEEP_FROM + 10
LIVE = Filter(states={state for state in State if not state.terminal})


class Ended:
    """An index of runs that have SUCCEEDED, and what is opened of it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.index = Index(root / "runs")
        self.url = root.as_uri()
        self.read: list[str] = []
        self.asked = 0
        glance, ctimes = Index.glance, endings._ctimes

        def noted(index: Index, run_id: str) -> object:
            self.read.append(run_id)
            return glance(index, run_id)

        def counted(index: Index) -> dict[str, int]:
            self.asked += 1
            return ctimes(index)

        monkeypatch.setattr(Index, "glance", noted)
        monkeypatch.setattr(endings, "_ctimes", counted)
        for number in range(COUNT):
            self.put(number, State.SUCCEEDED)

    def put(self, number: int, state: State | None) -> str:
        """The entry of a run that has ended in this state, or has not ended."""
        run_id = f"job-20261121-10{number:02}00-{number:04x}"
        facts = {"run_id": run_id, "name": "job", "backend": "local", "submitted_at": NOW + number}
        url = f"{self.url}/{run_id}"
        final = RunState(**facts, state=state, updated_at=NOW, url=url) if state else None
        self.index.put(RunEntry(**facts, store={"url": url}, work_dir="/nowhere", final=final))
        return run_id

    def settle(self) -> None:
        """As if the folder had last changed long ago."""
        os.utime(self.index.root, (NOW, NOW))

    def list(self, wanted: Filter = LIVE, limit: int | None = 20) -> list[str]:
        self.read, self.asked = [], 0
        return [view.run_id for view in select(self.index, wanted, limit)]


@pytest.fixture
def ended(launcher_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ended:
    return Ended(tmp_path, monkeypatch)


@pytest.fixture
def kept(ended: Ended) -> Ended:
    """With a cache, and a folder that has not changed since."""
    assert ended.list() == []
    assert len(ended.read) == COUNT
    ended.settle()
    assert ended.list() == []
    return ended


@pytest.mark.parametrize("limit", [20, None])
def test_no_file_is_opened_or_asked_for_its_time_while_the_folder_is_as_it_was(
    kept: Ended, limit: int | None
) -> None:
    assert kept.list(LIVE, limit) == []
    assert (kept.read, kept.asked) == ([], 0)


def test_after_a_change_only_what_has_changed_is_opened(kept: Ended) -> None:
    new = kept.put(COUNT, None)
    assert kept.list() == [new]
    assert (kept.read, kept.asked) == ([new], 1)


def test_a_run_that_goes_on_is_live_again(kept: Ended) -> None:
    again = kept.put(7, None)
    os.utime(kept.index.root / f"{again}.json", (NOW, NOW))
    for _ in range(2):
        assert kept.list() == [again]
        kept.settle()
    assert kept.list() == [again]
    assert kept.read == [again]
    kept.put(7, State.CANCELLED)
    assert kept.list() == []
    assert kept.list(Filter(states={State.CANCELLED})) == [again]


def test_runs_of_a_state_that_is_kept_are_read_from_their_entries(kept: Ended) -> None:
    found = kept.list(Filter(states={State.SUCCEEDED}), 3)
    assert found == kept.index.ids()[:3]
    assert kept.list(Filter(states={State.SUCCEEDED}, group="other")) == []
    assert len(kept.read) == COUNT


def test_a_removed_run_is_gone(kept: Ended) -> None:
    kept.index.remove(kept.index.ids()[0])
    assert kept.list() == []
    assert len(kept.list(Filter(states={State.SUCCEEDED}), None)) == COUNT - 1


def test_a_folder_that_has_just_changed_is_not_taken_for_settled(kept: Ended) -> None:
    """It might change once more within what its file system calls the same time."""
    soon = (kept.index.root / SEEN).stat().st_mtime + 3600
    os.utime(kept.index.root, (soon, soon))
    assert kept.list() == []
    assert not (kept.index.root / SEEN).exists()
    assert kept.list() == []
    assert kept.asked == 1


def remove(path: Path) -> None:
    path.unlink()


def make_garbage(path: Path) -> None:
    path.write_bytes(b"\xff{")


def make_another_form(path: Path) -> None:
    path.write_text('{"token": "", "ended": {"DONE": {"a": 1}}, "folder_ns": "x", "changed": 3}')


def make_huge(path: Path) -> None:
    os.truncate(path, MOST_BYTES + 1)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", [KEPT, SEEN])
@pytest.mark.parametrize("damage", [remove, make_garbage, make_another_form, make_huge, make_folder])
def test_a_damaged_cache_is_no_matter(kept: Ended, name: str, damage: Callable[[Path], None]) -> None:
    damage(kept.index.root / name)
    live = kept.put(3, None)
    assert kept.list() == [live]
    assert kept.list(Filter(states={State.FAILED})) == []
    assert len(kept.list(Filter(states={State.SUCCEEDED}), None)) == COUNT - 1


def test_of_few_runs_nothing_is_kept(launcher_home: Path, tmp_path: Path, ended: Ended) -> None:
    for run_id in ended.index.ids()[: COUNT - KEEP_FROM + 1]:
        ended.index.remove(run_id)
    assert ended.list() == []
    assert ended.asked == 0
    assert not (ended.index.root / KEPT).exists()
