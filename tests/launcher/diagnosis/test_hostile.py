"""Logs that nobody meant well: no exception, and time and memory that grow with the log only."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.diagnosis.cut import LINE_LIMIT
from launcher.diagnosis.evidence import MOST, evidence_of
from launcher.diagnosis.verdict import Ended, find_first
from tests.cost import answer_within

SIZE = 20_000_000
UNITS = {
    "errors": "ERROR: x failed\n",
    "one line": "ERROR hccl ",
    "tracebacks": "Traceback (most recent call last):\n",
    "codes": "EI0002: ",
    "progress": "\r 10%|###| 5/50 [00:01<00:03, 3.1it/s] Error failed",
    "patterns": "hccl Broadcast shape of the shape Checkpoint Role name GetNext " * 60 + "\n",
    "endless traceback": "  File x Error\n",
    "zeros": "\0",
    "escapes": "\x1b[0;0;0;0;0;0",
    "other letters": "Ошибка failed: таймаут\n",
    "blocks": "- Ascend Error Message:\nEE9999: Inner Error!\n",
}


@pytest.mark.system
@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_a_hostile_log_is_judged_in_bounded_time_and_memory(unit: str) -> None:
    log = "Traceback (most recent call last):\n" + unit * (SIZE // len(unit))
    found = answer_within(20, lambda: find_first([Ended("rank 0", 0, 1, 1.0, log)]))
    assert len(found.evidence) <= MOST
    assert all(len(each.line) <= LINE_LIMIT for each in found.evidence)


@pytest.mark.system
def test_memory_does_not_grow_with_the_log() -> None:
    log = UNITS["errors"] * (SIZE // 16)
    tracemalloc.start()
    try:
        evidence_of(log)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


LINES = st.sampled_from(
    [
        "Traceback (most recent call last):",
        '  File "x", line 1',
        "ValueError: x",
        "RuntimeError: ",
        "EI0002: remote rank:[3]",
        "- Ascend Error Message:",
        "[ERROR] HCCL(1,python): x",
        "epoch 3 loss 2.1",
        "[rank1]: KeyError: 'x'",
        "\x1b]0;title\x07",
        "\r",
        "error: ret: 507011",
        "",
    ]
)


@given(st.lists(LINES | st.text(max_size=40), max_size=60), st.integers(-64, 255), st.booleans())
def test_whatever_a_log_holds_there_is_a_verdict(lines: list[str], code: int, asked: bool) -> None:
    ended = Ended("rank 0", 0, code, 5.0, "\n".join(lines), asked=asked, asked_at=4.0)
    other = Ended("rank 1", 1, 1, 6.0, "")
    found = find_first([ended, other])
    assert found.rule.id and found.strength in range(4)
    assert found.means
