"""What is restarted, how often, and the reason when it is not."""

import pytest

from launcher.jobfile.spec_failures import RetrySpec
from launcher.ranks.diagnose import Cause
from launcher.ranks.restarts import RestartPolicy

DAY_S = 24 * 3600


def cause(words: str = "rank 1 broke", **values: object) -> Cause:
    return Cause(words=words, **values)  # type: ignore[arg-type]


def test_restarts_are_counted_and_the_pause_doubles() -> None:
    policy = RestartPolicy(RetrySpec(max_restarts=3, backoff=100))
    pauses = [policy.decide(cause(), n, n + 1, 1000.0 + n) for n in range(4)]
    assert [d.restart for d in pauses] == [True, True, True, False]
    assert [d.pause_s for d in pauses[:3]] == [100.0, 200.0, 300.0]
    assert pauses[3].reason == "rank 1 broke (after 3 restarts)"


def test_restarts_of_yesterday_do_not_count() -> None:
    policy = RestartPolicy(RetrySpec(max_restarts=1, window=DAY_S, backoff=0))
    assert policy.decide(cause(), 0, 1, 0.0).restart
    assert policy.decide(cause(), 1, 2, DAY_S + 1.0).restart
    refused = policy.decide(cause(), 2, 3, DAY_S + 2.0)
    assert not refused.restart
    assert "1 restart within 1 d" in refused.reason


def test_without_a_window_all_restarts_count() -> None:
    policy = RestartPolicy(RetrySpec(max_restarts=1, window=0, backoff=0))
    assert policy.decide(cause(), 0, 1, 0.0).restart
    assert not policy.decide(cause(), 1, 2, 10.0 * DAY_S).restart


def test_two_restarts_without_progress_end_the_run() -> None:
    policy = RestartPolicy(RetrySpec(max_restarts=100, backoff=0))
    assert policy.decide(cause(), None, 4, 0.0).restart
    assert policy.decide(cause(), 4, 4, 1.0).restart
    refused = policy.decide(cause(), 4, 4, 2.0)
    assert not refused.restart
    assert "2 restarts in a row made no progress" in refused.reason


def test_progress_in_between_starts_the_count_again() -> None:
    policy = RestartPolicy(RetrySpec(max_restarts=100, backoff=0))
    steps = [(None, None), (None, None), (None, 2), (2, 2), (2, 2)]
    assert [policy.decide(cause(), *step, 0.0).restart for step in steps] == [True, True, True, True, False]


def test_fruitless_restarts_do_not_count_for_the_next_step() -> None:
    policy = RestartPolicy(RetrySpec(max_restarts=100, backoff=0))
    for _ in range(2):
        policy.decide(cause(), None, None, 0.0)
    policy.next_step()
    assert policy.decide(cause(), 4, 4, 0.0).restart


def test_what_would_fail_again_is_not_restarted_and_the_rule_is_named() -> None:
    refused = RestartPolicy(RetrySpec(max_restarts=9)).decide(cause(restart=False, rule="import"), 0, 1, 0.0)
    assert (refused.restart, refused.reason) == (False, "rank 1 broke")
    assert refused.hint == "a restart would fail the same way (import)"


def test_a_machine_to_be_left_out_ends_the_try_and_is_named() -> None:
    excluded = cause(exclude_node=True, host="node17", rule="retry.on[0]")
    refused = RestartPolicy(RetrySpec(max_restarts=9)).decide(excluded, 0, 1, 0.0)
    assert (refused.restart, refused.exclude_host) == (False, "node17")
    assert "node17 is to be left out, by retry.on[0]" in refused.reason


@pytest.mark.parametrize("restarts", [0, 1])
def test_a_run_without_restarts_has_a_plain_reason(restarts: int) -> None:
    policy = RestartPolicy(RetrySpec(max_restarts=0))
    assert policy.decide(cause(), 0, restarts, 0.0).reason == "rank 1 broke"


@pytest.mark.parametrize(("device", "pause_s"), [("cpu", 1), ("ascend910", 5), ("ascend910b", 5)])
def test_npus_get_a_moment_before_a_restart(device: str, pause_s: int) -> None:
    assert RetrySpec(max_restarts=1).with_backoff(device).backoff == pause_s
    assert RetrySpec(max_restarts=1, backoff=0).with_backoff(device).backoff == 0
