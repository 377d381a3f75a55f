import os
from pathlib import Path

import pytest

from launcher.runfolder.progress import Progress
from launcher.runfolder.smallfiles import MOST_BYTES
from launcher.runfolder.states import NodeStatus, RunState, State
from launcher.runs.index import Index, RunEntry
from launcher.runs.listing import CACHE, Filter, parse_states, select
from tests.launcher.samples import NOW

COUNT = 60


@pytest.fixture
def index(launcher_home: Path, tmp_path: Path) -> Index:
    """Sixty ended runs, one a minute; every third failed; the newest ten belong to a group."""
    index = Index()
    for number in range(COUNT):
        run_id = f"job{number % 2}-20261121-{10 + number // 60:02}{number % 60:02}00-{number:04x}"
        values = {
            "run_id": run_id,
            "name": f"job{number % 2}",
            "backend": "local",
            "submitted_at": NOW + 60 * number,
        }
        state = RunState(
            **values,
            state=State.FAILED if number % 3 == 0 else State.SUCCEEDED,
            updated_at=NOW,
            url=f"{tmp_path.as_uri()}/{run_id}",
        )
        node = NodeStatus(
            node=0,
            host="h",
            pid=1,
            attempt=1,
            phase="done",
            phase_since=NOW,
            progress=Progress(step=number),
            updated_at=NOW,
        )
        index.put(
            RunEntry(
                **values,
                store={"url": state.url},
                work_dir=str(tmp_path / "work"),
                group="last-ten" if number >= COUNT - 10 else "",
                final=state,
                final_nodes=(node,),
            )
        )
    return index


def steps(index: Index, wanted: Filter, limit: int | None = None) -> list[int | None]:
    return [view.progress.step for view in select(index, wanted, limit)]


def test_newest_first_and_no_more_than_asked_for(index: Index) -> None:
    assert steps(index, Filter(), 3) == [59, 58, 57]
    assert steps(index, Filter()) == list(range(59, -1, -1))


def test_filters(index: Index) -> None:
    assert steps(index, Filter(states={State.FAILED}), 2) == [57, 54]
    assert steps(index, Filter(name="job1"), 2) == [59, 57]
    assert steps(index, Filter(name="job*"), 1) == [59]
    assert steps(index, Filter(since=NOW + 60 * 57)) == [59, 58, 57]
    assert steps(index, Filter(group="last-ten", states={State.SUCCEEDED}), 2) == [59, 58]
    assert steps(index, Filter(group="last"), 2) == [59, 58]
    assert steps(index, Filter(group="las"), 2) == []
    assert steps(index, Filter(backend="slurm")) == []


def test_a_rare_state_makes_no_views_of_the_others(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    newest = index.ids()[0]
    entry = index.get(newest)
    assert entry is not None
    assert entry.final is not None
    index.put(entry.model_copy(update={"final": entry.final.model_copy(update={"state": State.CANCELLED})}))
    read: list[str] = []
    get = Index.get
    monkeypatch.setattr(Index, "get", lambda self, run_id: read.append(run_id) or get(self, run_id))
    assert steps(index, Filter(states={State.CANCELLED}), 20) == [59]
    assert read == [newest]


def test_the_cache_gives_the_same_and_notices_what_changed(index: Index) -> None:
    before = select(index, Filter(), None)
    assert (index.root / CACHE).exists()
    assert select(index, Filter(), None) == before
    changed = index.get(before[5].run_id)
    assert changed is not None
    assert changed.final is not None
    index.put(changed.model_copy(update={"final": changed.final.model_copy(update={"reason": "new"})}))
    os.utime(index.root / f"{changed.run_id}.json", (NOW, NOW))
    again = select(index, Filter(), None)
    assert again[5].reason == "new"
    index.remove(changed.run_id)
    assert len(select(index, Filter(), None)) == COUNT - 1


def test_a_broken_cache_is_no_matter(index: Index) -> None:
    before = select(index, Filter(), None)
    (index.root / CACHE).write_text("{")
    assert select(index, Filter(), None) == before


def test_the_cache_of_very_many_runs_is_read(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is larger than any file of a run."""
    before = select(index, Filter(), None)
    cache = index.root / CACHE
    cache.write_bytes(cache.read_bytes() + b" " * MOST_BYTES)
    monkeypatch.setattr(Index, "get", lambda *_: pytest.fail("an entry was read"))
    assert select(index, Filter(), None) == before


def test_words_for_states() -> None:
    assert parse_states(["failed,Cancelled"]) == {State.FAILED, State.CANCELLED}
    assert State.RUNNING in parse_states(["live"])
    assert parse_states(["ended"]) == {State.SUCCEEDED, State.FAILED, State.CANCELLED}
    with pytest.raises(ValueError, match="expected ended, live or one of pending"):
        parse_states(["dead"])


def test_the_last_one_of_a_sweep_is_the_one_that_was_submitted_last(index: Index) -> None:
    """The four digits at the end of a run id have no order."""
    some = next(index.entries())
    for tail, at in (("ffff", NOW), ("0000", NOW + 0.5), ("8888", NOW + 0.2)):
        index.put(some.model_copy(update={"run_id": f"job0-20261121-235900-{tail}", "submitted_at": at}))
    assert index.find("last").run_id == "job0-20261121-235900-0000"
