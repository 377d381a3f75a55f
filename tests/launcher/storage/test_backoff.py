"""How a client slows down for a store that is too busy, and becomes quick again."""

import pytest

from launcher.errors import StoreUnreachable
from launcher.storage.backoff import Backoff, BackoffPolicy, StoreBusy, with_backoff
from launcher.storage.base import Pace


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every pause, in place of which nothing is waited for."""
    made: list[float] = []

    class Waiting:
        def wait(self, seconds: float) -> bool:
            return bool(made.append(seconds))

        def is_set(self) -> bool:
            return False

    monkeypatch.setattr("launcher.storage.base.threading.Event", Waiting)
    return made


def refusals(count: int) -> list[StoreUnreachable]:
    return [StoreBusy("slow down") for _ in range(count)]


def ask(policy: BackoffPolicy, *errors: StoreUnreachable, pace: Pace | None = None) -> None:
    """One operation that is answered after these errors."""
    waiting = list(errors)

    def request() -> None:
        if waiting:
            raise waiting.pop(0)

    with_backoff(policy, request, pace)


def test_a_client_remembers_that_the_store_was_busy(waits: list[float]) -> None:
    policy = BackoffPolicy(base_s=0.0)
    ask(policy)
    assert waits == []
    ask(policy, *refusals(4))
    before, pause_s = len(waits), policy.restraint.pause_s
    ask(policy)
    (wait,) = waits[before:]
    assert 0 < pause_s / 2 <= wait <= 1.5 * pause_s
    assert waits[before - 1] > waits[0], "each refusal makes the pause longer"


def test_answers_make_a_client_quick_again(waits: list[float]) -> None:
    policy = BackoffPolicy()
    ask(policy, *refusals(6))
    for _ in range(100):
        ask(policy)
    del waits[:]
    ask(policy)
    assert waits == []


def test_the_pause_stays_short_beside_the_patience(waits: list[float]) -> None:
    policy = BackoffPolicy(tries=30, base_s=0.0, patience_s=12.0)
    ask(policy, *refusals(20))
    assert 1.0 < policy.restraint.pause_s <= 12.0 / 6


def test_a_lost_answer_is_no_refusal(waits: list[float]) -> None:
    policy = BackoffPolicy()
    ask(policy, StoreUnreachable("no answer"))
    assert policy.restraint.pause_s == 0.0


def test_a_caller_with_a_pace_slows_down_by_itself(waits: list[float]) -> None:
    policy, pace = BackoffPolicy(), Pace()
    ask(policy, *refusals(3), pace=pace)
    assert policy.restraint.pause_s == 0.0


def test_clients_do_not_share_their_restraint(waits: list[float]) -> None:
    Backoff(first := BackoffPolicy()).wait(StoreBusy("slow down"))
    assert first.restraint.pause_s > 0.0
    assert BackoffPolicy().restraint.pause_s == 0.0
    assert first == BackoffPolicy()
