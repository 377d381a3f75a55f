"""Whatever a starter of ranks, a logger or a collector of logs puts before each line, a traceback and a block of CANN stay what they are."""

import pytest

from launcher.diagnosis.verdict import Ended, Judgement, find_first
from launcher.runs.loglines import error_texts, first_statement

MARGINS = [
    "[rank1]: ",
    "[default0]:",
    "[1,0]<stderr>:",
    "[1,12]<stdout>: ",
    "3: ",
    " 3: ",
    "worker1: ",
    "(TaskRunner pid=30188) ",
    "(RayWorker pid=123, ip=10.1.2.3) ",
    "\x1b[36m(RayWorker pid=123)\x1b[0m ",
    "(Worker_DP0 pid=1444) ERROR 08-14 11:02:2{} [executor.py:945] ",
    "worker-1  | ",
    "[pod/train-0/main] ",
    "2026-05-08T10:00:0{}.123456Z ",
    "2026-05-08 10:00:0{},123 ERROR ",
    "2026-05-08 10:00:0{}.123 | ERROR    | __main__:main:10 - ",
    "[2026-05-08 10:00:0{},123][__main__][ERROR] - ",
    "May 08 10:00:0{} node1 python[123]: ",
]
TRACEBACK = """\
Traceback (most recent call last):
  File "train.py", line 9, in <module>
    main()
  File "train.py", line 5, in main
    x = d["a"]
KeyError: 'a'"""
BLOCK = """\
RuntimeError: call aclnnCast failed, detail:EZ9999: Inner Error!
EZ9999[PID: 7] 2026-08-14-11:02:22.995.679 (EZ9999):  Cannot parse json for config file [/usr/local/cast.json].
        TraceBack (most recent call last):
        Op Cast does not has any binary."""


def behind(margin: str, text: str) -> str:
    """The lines behind a margin whose time goes on."""
    return "".join(margin.format(number) + line + "\n" for number, line in enumerate(text.split("\n")))


def verdict(log: str) -> Judgement:
    return find_first([Ended("rank 0", 0, 1, 5.0, log)])


@pytest.mark.parametrize("margin", ["", *MARGINS])
def test_a_traceback_ends_with_its_exception(margin: str) -> None:
    log = behind(margin, f"step 1 loss 2.0\n{TRACEBACK}")
    found = verdict(log)
    assert (found.rule.id, found.line) == ("bug", "KeyError: 'a'")


@pytest.mark.parametrize("margin", ["", *MARGINS])
def test_details_below_a_code_belong_to_it(margin: str) -> None:
    assert verdict(behind(margin, BLOCK)).rule.id == "cann-installation"


@pytest.mark.parametrize("margin", ["", *MARGINS])
def test_errors_alone_are_whole_tracebacks(margin: str) -> None:
    texts = behind(margin, f"step 1\n{TRACEBACK}\nthe end").split("\n")[:-1]
    at_level = "ERROR" in margin  # which makes any line one
    assert error_texts(texts) == [at_level, *[True] * 6, at_level]
    first = first_statement(texts[1:], "\n".join(texts[1:]))
    assert first is not None and first.endswith("KeyError: 'a'")


def test_lines_of_two_ranks_in_one_log_are_told_apart() -> None:
    other = TRACEBACK.replace("KeyError: 'a'", "FileNotFoundError: [Errno 2] No such file: 'b.jpg'")
    pairs = zip(TRACEBACK.split("\n"), other.split("\n"), strict=True)
    log = "".join(f"[1,0]<stderr>:{one}\n[1,1]<stderr>:{two}\n" for one, two in pairs)
    lines = [piece.line for piece in verdict(log).evidence if piece.raised]
    assert lines == ["KeyError: 'a'", "FileNotFoundError: [Errno 2] No such file: 'b.jpg'"]
