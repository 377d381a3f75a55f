"""Logs of ranks: limits, full disks, closed pipes."""

import itertools
import os
import time
from pathlib import Path

import pytest

from launcher.ranks.logpump import EXCERPT_BYTES, Excerpt, LimitedLog, LogPump
from launcher.runfolder.logtimes import Times
from tests.waiting import wait_until


def test_a_log_keeps_its_beginning_and_its_end_within_the_limit(tmp_path: Path) -> None:
    log = LimitedLog(tmp_path / "rank-0.log", 30_000)
    for number in range(10_000):
        log.write(f"line {number:05}\n".encode())
    log.close()
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("*.log")}
    assert sizes.keys() == {"rank-0.log", "rank-0.head.log", "rank-0.old.log"}
    assert sum(sizes.values()) <= 30_000
    assert (tmp_path / "rank-0.head.log").read_text().startswith("line 00000\n")
    assert (tmp_path / "rank-0.log").read_text().endswith("line 09999\n")
    end = (tmp_path / "rank-0.old.log").read_text() + (tmp_path / "rank-0.log").read_text()
    numbers = [int(line.split()[1]) for line in end.splitlines()]
    assert numbers == list(range(numbers[0], 10_000))  # nothing is missing in between


def test_a_log_goes_on_after_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "rank-0.log").write_text("train\n")
    log = LimitedLog(tmp_path / "rank-0.log", 30_000)
    log.write(b"eval\n")
    log.close()
    assert (tmp_path / "rank-0.log").read_text() == "train\neval\n"


@pytest.mark.system
def test_a_full_disk_costs_lines_which_are_counted(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    log = LimitedLog(small_disk / "rank-0.log", 1 << 30)
    log.write(b"before\n")
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            pass
    for _ in range(1000):
        log.write(b"x" * 1000 + b"\n")
    assert log.lost_bytes > 900_000
    ballast.unlink()

    def writes_again() -> bool:
        log.write(b"after\n")
        return not log.lost_bytes

    wait_until(writes_again)
    log.close()
    text = (small_disk / "rank-0.log").read_text()
    assert text.startswith("before\n")
    assert "bytes of this log are lost: the disk was full]\n" in text
    assert text.endswith("after\n")


def test_the_pump_carries_what_is_written_and_knows_when(tmp_path: Path) -> None:
    pump = LogPump(1 << 20)
    first, second = (
        pump.open("rank 0", tmp_path / "a" / "rank-0.log"),
        pump.open("rank 1", tmp_path / "rank-1.log"),
    )
    begun = time.monotonic()
    os.write(first, b"hello\n")
    assert wait_until(lambda: pump.last_output_at("rank 0")) >= begun
    assert pump.last_output_at("rank 1") == 0.0
    os.close(first)  # closed its log
    os.write(second, b"still here\n")  # and this one is open at the end, held by a child of a rank
    pump.close()
    os.close(second)
    assert (tmp_path / "a" / "rank-0.log").read_text() == "hello\n"
    assert (tmp_path / "rank-1.log").read_text() == "still here\n"
    assert pump.excerpts["rank 1"].text == "still here\n"


def test_the_rest_of_a_pipe_is_read_whatever_time_that_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(time.monotonic(), 10.0)
    monkeypatch.setattr("launcher.ranks.logpump.time.monotonic", lambda: next(clock))
    pump = LogPump(3000)
    writing = pump.open("rank 0", tmp_path / "rank-0.log")
    os.write(writing, b"x" * 50_000 + b"the reason")
    pump.close()
    os.close(writing)
    assert pump.excerpts["rank 0"].text.endswith("the reason")


def test_an_excerpt_holds_both_ends() -> None:
    excerpt = Excerpt()
    excerpt.add(b"first\n")
    for _ in range(40):
        excerpt.add(b"." * 100_000)
    excerpt.add(b"\nlast\n")
    assert excerpt.text.startswith("first\n")
    assert excerpt.text.endswith("\nlast\n")
    assert len(excerpt.text) < 4 * EXCERPT_BYTES


def test_a_log_has_a_file_with_the_times_of_its_lines(tmp_path: Path) -> None:
    log = LimitedLog(tmp_path / "rank-0.log", 60)
    before = time.time()
    log.write(b"0123456789")
    log.write(b"within the same moment")
    log.write(b"in a new file")
    log.close()
    old = Times.parse((tmp_path / "rank-0.head.times").read_bytes())
    new = Times.parse((tmp_path / "rank-0.times").read_bytes())
    assert (old.offsets, new.offsets) == ([0], [0])
    assert old.at(15) == old.seconds[0] >= before - 0.001
    assert Times().at(3) is None
