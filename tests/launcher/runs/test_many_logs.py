"""The logs of thousands of ranks: no value is made of a line that nobody needs, and equal failures are looked at once."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from launcher.diagnosis.stamps import stamp_of, stamps_of
from launcher.runfolder.states import State
from launcher.runs.explain import explain_run
from launcher.runs.logs import LogReader
from launcher.runs.processlog import text_of
from tests.launcher.counting import calls_of
from tests.launcher.samples import Sample

TRACEBACK = """Traceback (most recent call last):
  File "train.py", line 3, in <module>
RuntimeError: Distribute group failed, EI0002: The wait execution of the Notify register times out
"""


class Calls(NamedTuple):
    read: int
    errors: int
    explain: int


def calls(folder: Path, ranks: int, lines: int, *, all_fail: bool) -> Calls:
    """Of a run where rank 0 failed, or all did."""
    folder.mkdir()
    sample = Sample(folder)
    failure = {"process": "rank 0", "rank": 0, "node": 0, "exit": 1, "line": "ValueError: no"}
    sample.state(State.FAILED, "rank 0 failed", first_failure=failure)
    for rank in range(ranks):
        steps = (f"2026-11-28 10:00:{step % 60:02},{rank:03} step {step} loss 1.0\n" for step in range(lines))
        end = "ValueError: no\n" if rank == 0 else TRACEBACK if all_fail else ""
        sample.log(f"rank-{rank}", "".join(steps) + end)
    view = sample.run.view()

    def again(work: Callable[[], object]) -> int:
        work()  # what is imported or cached at first use
        return calls_of(work)

    return Calls(
        again(lambda: LogReader(sample.entry).read()),
        again(lambda: LogReader(sample.entry, errors_only=True).read()),
        again(lambda: explain_run(sample.entry, view)),
    )


@pytest.mark.parametrize("all_fail", [False, True])
def test_a_longer_log_makes_few_calls_more(launcher_home: Path, tmp_path: Path, all_fail: bool) -> None:
    """A value, a time and a place in the order for each line would be fifteen calls."""
    few, many = (
        calls(tmp_path / "a", 8, 20, all_fail=all_fail),
        calls(tmp_path / "b", 8, 220, all_fail=all_fail),
    )
    lines = 8 * 200
    most = Calls(3, 3, 3) if all_fail else Calls(3, 1, 1)
    per_line = [(more - less) / lines for less, more in zip(few, many, strict=True)]
    assert all(found < limit for found, limit in zip(per_line, most, strict=True)), per_line


def test_ranks_that_fail_alike_are_diagnosed_once(launcher_home: Path, tmp_path: Path) -> None:
    one, both = calls(tmp_path / "a", 8, 20, all_fail=True), calls(tmp_path / "b", 48, 20, all_fail=True)
    assert (both.explain - one.explain) / 40 < 240  # to diagnose one takes four hundred


def test_one_line_has_the_time_that_it_has_among_all(launcher_home: Path, tmp_path: Path) -> None:
    """With and without times of its own, arrival times, letters of two bytes, carriage returns and a second file."""
    sample, chance = Sample(tmp_path), random.Random(22)
    texts = ["2026-11-28 10:00:{:02} a", "b {}", "", "ä", "c\rd", "e\r"]
    for rank in range(40):
        part = texts[: chance.randint(2, len(texts))]
        log = "\n".join(chance.choice(part).format(chance.randrange(60)) for _ in range(12)) + "\n"
        path = sample.log(f"rank-{rank}", log)
        if rank % 3:
            marks = "".join(
                f"{50 * i} {1_795_860_000 + chance.randrange(99)}.5\n" for i in range(rank % 2, 4)
            )
            path.with_name(f"rank-{rank}.times").write_text(marks)
        if rank % 4 == 0:
            path.with_name(f"rank-{rank}.old.log").write_text("2026-11-28 09:00:00 f\ng\n")
    logs = LogReader(sample.entry).logs()
    assert len({time for log in logs for time in log.times}) > 50
    for log in logs:
        places = [place for place, letter in enumerate(log.text) if letter == "\n"]
        assert [log.time_at(place) for place in places] == log.times


def test_all_lines_have_the_times_that_each_has_alone() -> None:
    chance = random.Random(22)
    heads = [
        "2026-11-28 10:00:01",
        "2026-11-28T10:00:01",
        "[ERROR] ME(7,python):2026-11-28-10:00:01",
        "step",
        "",
    ]
    parts = [",123", ".123", ".123456", ",12", ".123.456", ",123Z", ""]
    ends = [" x", "", "Z", "7", "x", "\n", ".5"]
    lines = ["".join(map(chance.choice, (heads, parts, ends))) for _ in range(400)]
    assert stamps_of(lines) == list(map(stamp_of, lines))
    assert stamps_of(lines[::-1]) == list(map(stamp_of, lines[::-1]))


@pytest.mark.parametrize("data", [b"", b"\n", b"a", b"a\r\nb\rc\n", b"\xe4\xb8\n\xff\r\r\n", b"a\x0bb\x85\n"])
def test_text_has_the_lines_of_the_bytes(data: bytes) -> None:
    lines = [line.decode("utf-8", "replace").rstrip("\r\n") for line in data.splitlines(keepends=True)]
    assert text_of(data) == "".join(f"{line}\n" for line in lines)


def test_the_order_of_errors_is_that_of_all_lines(launcher_home: Path, tmp_path: Path) -> None:
    """A log whose clock goes back keeps its place, whether or not the lines before are shown."""
    sample = Sample(tmp_path)
    sample.log("rank-0", "2026-11-28 10:00:09 step 1\n2026-11-28 10:00:01 ERROR a\n")
    sample.log("rank-1", "2026-11-28 10:00:05 ERROR b\n")
    every, errors = LogReader(sample.entry).read(), LogReader(sample.entry, errors_only=True).read()
    assert [line.text[-1] for line in errors] == ["b", "a"]
    assert [line for line in every if "ERROR" in line.text] == errors
