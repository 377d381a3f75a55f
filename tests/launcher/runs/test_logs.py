import time
from pathlib import Path

import pytest

from launcher.errors import NoSuchRun
from launcher.runs.logs import LogReader
from tests.launcher.samples import Sample


@pytest.fixture
def sample(launcher_home: Path, tmp_path: Path) -> Sample:
    return Sample(tmp_path)


def texts(reader: LogReader) -> list[str]:
    return [line.text for line in reader.read()]


def test_all_processes_interleaved(sample: Sample) -> None:
    sample.log("rank-0", "2026-11-21 10:00:01 a\nafter a\n2026-11-21 10:00:03 c\n")
    sample.log("rank-1", "2026-11-21 10:00:02 b\n")
    sample.log("node", "2026-11-21 10:00:00,500 INFO begin\n")
    found = LogReader(sample.entry).read()
    assert [line.text[-1] for line in found] == ["n", "a", "a", "b", "c"]
    assert [(line.process, line.rank) for line in found[:2]] == [("node", None), ("rank-0", 0)]


def test_only_new_whole_lines_come_the_next_time(sample: Sample) -> None:
    path = sample.log("rank-0", "one\ntw")
    reader = LogReader(sample.entry)
    assert texts(reader) == ["one"]
    assert texts(reader) == []
    path.write_text("one\ntwo\nthree\n")
    assert texts(reader) == ["two", "three"]


def test_a_rotated_log_loses_no_line(sample: Sample) -> None:
    path = sample.log("rank-0", "1\n2\n")
    reader = LogReader(sample.entry)
    assert texts(reader) == ["1", "2"]
    path.with_name("rank-0.head.log").write_text("1\n2\n3\n4\n")
    path.write_text("5\n")
    assert texts(reader) == ["3", "4", "5"]
    path.write_text("5\n6\n7\n")
    assert texts(reader) == ["6", "7"]
    path.with_name("rank-0.old.log").write_text("5\n6\n7\n8\n")
    path.write_text("9\n")
    assert texts(reader) == ["8", "9"]
    assert texts(LogReader(sample.entry)) == ["1", "2", "3", "4", "5", "6", "7", "8", "9"]


def test_rank_node_and_attempt_choose(sample: Sample) -> None:
    sample.log("rank-0", "a\n")
    sample.log("rank-1", "b\n")
    sample.log("rank-8", "c\n", node=1)
    sample.log("rank-0", "d\n", attempt=2)
    assert texts(LogReader(sample.entry, rank=0)) == ["a", "d"]
    assert texts(LogReader(sample.entry, node=1)) == ["c"]
    assert texts(LogReader(sample.entry, rank=0, attempt=2)) == ["d"]
    with pytest.raises(NoSuchRun, match="there are node-0/rank-0, node-0/rank-1, node-1/rank-8"):
        LogReader(sample.entry, rank=5).read()


def test_a_run_of_another_machine_is_read_from_the_store(sample: Sample, tmp_path: Path) -> None:
    sample.log("rank-0", "a\nb\n")
    store = sample.entry.store.open()
    for path in sample.root.rglob("*"):
        if path.is_file():
            store.put(path.relative_to(sample.root).as_posix(), path.read_bytes())
    elsewhere = sample.entry.model_copy(update={"work_dir": str(tmp_path / "not-here")})
    assert texts(LogReader(elsewhere)) == ["a", "b"]


def test_lines_without_a_time_are_placed_by_their_arrival(sample: Sample) -> None:
    """`rank-0.times` says when: MindSpore's ranks print lines without one."""
    at = 1_763_719_200.0
    stamps = [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at + second)) for second in (1, 3)]
    sample.log("node", f"{stamps[0]},000 INFO b\n{stamps[1]},000 INFO d\n")
    path = sample.log("rank-0", "a\nc\ne\n")
    path.with_name("rank-0.times").write_text(f"0 {at}\n2 {at + 2}\n4 {at + 4}\nhal")
    found = LogReader(sample.entry).read()
    assert [line.text[-1] for line in found] == ["a", "b", "c", "d", "e"]
    assert found[0].time == at


def test_a_line_that_was_cut_by_the_rotation_is_whole(sample: Sample) -> None:
    path = sample.log("rank-0", "rth\nfifth\n")
    path.with_name("rank-0.head.log").write_text("first\nsec")
    path.with_name("rank-0.old.log").write_text("ond\nthird\nfou")
    assert texts(LogReader(sample.entry)) == ["first", "second", "third", "fourth", "fifth"]


def test_attempts_that_only_the_store_has_are_shown_too(sample: Sample) -> None:
    """The run's directory was deleted after attempt 1, and the run resumed here."""
    sample.entry.store.open().put("logs/attempt-1/node-0/rank-0.log", b"a\nb\n")
    sample.log("rank-0", "c\n", attempt=2)
    assert texts(LogReader(sample.entry)) == ["a", "b", "c"]
    assert texts(LogReader(sample.entry, attempt=1)) == ["a", "b"]
    assert texts(LogReader(sample.entry, attempt=2)) == ["c"]
