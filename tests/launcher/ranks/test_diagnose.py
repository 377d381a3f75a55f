"""From exits and logs to the one cause."""

from pathlib import Path

import pytest

from launcher.jobfile.spec_failures import RetryRule
from launcher.ranks.causes import own_rules
from launcher.ranks.diagnose import Cause, find_cause, find_own_cause, how_it_ended
from launcher.ranks.gang import EndOrder, Exit, Outcome, Process

TRACEBACK = """Traceback (most recent call last):
  File "train.py", line 3, in <module>
    main()
{}
"""
ALLREDUCE = TRACEBACK.format("RuntimeError: Launch kernel failed, name: Default/AllReduce-op12")


def process(name: str) -> Process:
    rank = int(name.split()[1]) if name.startswith("rank") else None
    return Process(name, rank, ("true",), {}, Path(), Path("log"))


def outcome(*ends: tuple[str, int, str, bool], end_order: EndOrder | None = None) -> Outcome:
    """Ends are (name, code, log, whether it was asked to end), in order of time."""
    exits = tuple(Exit(process(name), code, float(i), asked) for i, (name, code, _, asked) in enumerate(ends))
    failure = next((e for e in exits if e.code), None) if end_order is None else None
    return Outcome(exits, failure, end_order, logs={name: log for name, _, log, _ in ends})


def cause_of(*ends: tuple[str, int, str, bool], own: tuple[RetryRule, ...] = ()) -> Cause:
    return find_cause(outcome(*ends), "host", own_rules(own))


def test_the_first_failing_rank_is_named_with_the_line_that_says_why() -> None:
    found = cause_of(
        ("rank 3", 1, TRACEBACK.format("ValueError: image 17 is broken"), False), ("rank 0", -15, "", True)
    )
    assert found.words == "rank 3 on host (node 0) ended with exit code 1: ValueError: image 17 is broken"
    assert (found.restart, found.consequence) == (True, False)


def test_a_line_that_only_the_system_would_write_is_better_than_none() -> None:
    log = "epoch 1\ncan't write a checkpoint: [Errno 28] No space left on device\n"
    found = cause_of(("rank 0", 1, log, False))
    assert "can't write a checkpoint: [Errno 28] No space left on device" in found.words
    assert found.rule == "disk-full"


@pytest.mark.parametrize(
    "complaint",
    [
        ALLREDUCE,
        "[ERROR] HCCL: EI0006: Getting socket times out. Reason: Remote Rank did not send the data in time",
        "EI0002: The wait execution of the Notify register times out",
        "RuntimeError: Topology build timed out.",
        "ERROR: Failed to connect to the meta server node",
    ],
)
def test_a_complaint_about_a_lost_peer_yields_to_the_peer(complaint: str) -> None:
    """Rank 0 complains and ends first; rank 2, whose own end takes longer, had the error."""
    found = cause_of(
        ("rank 0", 1, complaint, False),
        ("rank 2", -9, TRACEBACK.format("MemoryError: no more of it"), True),
    )
    assert "rank 2" in found.words
    assert "MemoryError: no more of it" in found.words
    alone = cause_of(("rank 0", 1, complaint, False), ("rank 2", -9, "", True))
    assert alone.consequence
    assert "rank 0" in alone.words


def test_a_killed_rank_is_the_cause_even_when_a_peer_was_seen_first() -> None:
    found = cause_of(("scheduler", 1, "ERROR: The node: 1 is timed out", False), ("rank 1", -9, "", False))
    assert "rank 1 on host (node 0) killed by SIGKILL" in found.words


def test_within_one_log_the_own_error_goes_before_complaints_about_others() -> None:
    log = "ERROR: Connection reset by peer\n" + TRACEBACK.format(
        "OSError: [Errno 28] No space left on device"
    )
    found = cause_of(("rank 0", 1, log, False))
    assert "No space left on device" in found.words
    assert found.rule == "disk-full"


@pytest.mark.parametrize(
    ("code", "log", "rule"),
    [
        (2, "", "usage"),
        (127, "can't start no-such-program: No such file or directory", "no-program"),
        (1, TRACEBACK.format("ModuleNotFoundError: No module named 'mindspore'"), "import"),
        (1, "python: No module named my_train", "import"),
        (1, "[ERROR] EL0004: Failed to allocate memory", "device-memory"),
        (1, "EI0014: the rank table is inconsistent with the network adapter", "rank-table"),
        (1, "EI0005: the parameters of the ranks differ", "different-collectives"),
    ],
)
def test_what_fails_the_same_way_again_is_not_restarted(code: int, log: str, rule: str) -> None:
    found = cause_of(("rank 0", code, log, False))
    assert (found.rule, found.restart) == (rule, False)


@pytest.mark.parametrize(
    ("code", "log", "rule"),
    [
        (-9, "", "killed"),
        (137, "", "killed"),
        (-11, "", "crashed"),
        (75, "", "told-to-stop"),
        (1, TRACEBACK.format("RuntimeError: something new"), "unknown"),
        (1, "EJ0001: Failed to initialize the HCCP process", "device-busy"),
    ],
)
def test_what_a_restart_may_cure_is_restarted(code: int, log: str, rule: str) -> None:
    found = cause_of(("rank 0", code, log, False))
    assert (found.rule, found.restart) == (rule, True)


def test_rules_of_the_job_come_first() -> None:
    rules = (
        RetryRule(match="EI0006", do="fail", exclude_node=True),
        RetryRule(exit_code=2, do="restart"),
        RetryRule(signal="SIGKILL", do="fail"),
    )
    network = cause_of(("rank 0", 1, "EI0006: Getting socket times out", False), own=rules)
    assert (network.restart, network.exclude_node, network.rule) == (False, True, "retry.on[0]")
    assert cause_of(("rank 0", 2, "", False), own=rules).restart
    assert not cause_of(("rank 0", -9, "", False), own=rules).restart
    assert cause_of(("rank 0", -11, "", False), own=rules).rule == "crashed"


def test_an_order_to_end_is_the_cause_and_a_guard_is_not_restarted() -> None:
    hang = find_cause(
        outcome(("rank 0", -6, "", True), end_order=EndOrder("hang", "no progress", "dump")), "host"
    )
    assert (hang.words, hang.restart) == ("no progress (on host (node 0))", True)
    guard = find_cause(
        outcome(("rank 0", -9, "", True), end_order=EndOrder("not-learning", "the loss is nan")), "host"
    )
    assert (guard.words, guard.restart) == ("the loss is nan", False)


def test_a_process_that_can_not_be_killed_ends_the_run() -> None:
    found = find_cause(Outcome((), undying=("rank 5",)), "host", node=3)
    assert "rank 5 on host (node 3) did not end after SIGKILL" in found.words
    assert not found.restart


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-9, "killed by SIGKILL (out of memory, or by hand)"),
        (137, "killed by SIGKILL (out of memory, or by hand)"),
        (-15, "stopped by SIGTERM from outside"),
        (-64, "killed by SIGRTMAX"),
        (-40, "killed by signal 40"),
        (75, "stopped itself with a checkpoint (exit code 75)"),
        (9, "ended with exit code 9"),
    ],
)
def test_exit_codes_in_words(code: int, words: str) -> None:
    assert how_it_ended(code) == words


def test_a_gang_stopped_for_another_machine_tells_what_it_had_failed_at_itself() -> None:
    """Rank 8 of node 1 had its error before rank 0 of node 0 gave up waiting for it and was seen first."""
    order = EndOrder("peer", "rank 0 on a (node 0) ended with exit code 1")
    had_failed = outcome(
        ("rank 8", -9, TRACEBACK.format("KeyError: 'label_smoothing'"), True), end_order=order
    )
    found = find_own_cause(had_failed, "b", node=1)
    assert found is not None and found.failure is not None
    assert (found.failure.rank, found.failure.node, found.failure.line) == (
        8,
        1,
        "KeyError: 'label_smoothing'",
    )
    assert find_own_cause(outcome(("rank 8", -15, "epoch 1", True), end_order=order), "b", node=1) is None
    waited = outcome(("rank 8", -15, ALLREDUCE, True), end_order=order)
    assert find_own_cause(waited, "b", node=1) is None


def test_what_a_rank_wrote_after_the_order_to_stop_is_no_cause() -> None:
    stopped = Exit(process("rank 1"), 1, 9.0, asked=True)
    first = Exit(process("rank 0"), 1, 5.0)
    logs = {
        "rank 0": "EI0006: Getting socket times out\n",
        "rank 1": "EZ9999: x\nAicore kernel execute failed\n",
    }
    late = Outcome((first, stopped), first, logs=logs, times={"rank 1": ((0, 6.0),)})
    assert "rank 0" in find_cause(late, "host").words
    early = Outcome((first, stopped), first, logs=logs, times={"rank 1": ((0, 4.0),)})
    assert "rank 1" in find_cause(early, "host").words


def test_a_reason_is_one_short_line_without_what_drives_a_terminal() -> None:
    long = TRACEBACK.format("ValueError: \x07\x1b[31m" + "x" * 5000)
    words = cause_of(("rank 0", 1, long, False)).words
    assert len(words) <= 500 and "\x1b" not in words and "\\x07x" in words and "\n" not in words
