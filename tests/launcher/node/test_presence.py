"""Which machine counts as lost or as absent, by a clock that the test sets."""

import pytest

from launcher.node.rendezvous.presence import Presence, Silence
from launcher.node.rendezvous.timing import Timing, quiet_s

TIMING = Timing(arrive_s=60.0, lost_s=10.0)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("launcher.node.rendezvous.presence.time", clock)
    return clock


def test_the_first_machine_that_is_silent_for_too_long_is_lost(clock: Clock) -> None:
    presence = Presence(TIMING)
    presence.note_heard(2)
    clock.now += 5
    presence.note_heard(1)
    clock.now += 5
    assert presence.silence() is None
    clock.now += 1
    assert presence.silence() == Silence(2, 11.0)
    assert presence.silence(finished={2}) is None


def test_nobody_is_lost_or_absent_while_the_store_is_down_and_clocks_start_again_after_it(
    clock: Clock,
) -> None:
    presence = Presence(TIMING)
    presence.note_heard(1)
    assert presence.note_store_down()
    assert not presence.note_store_down()
    clock.now += 100
    assert presence.silence() is None
    assert presence.overdue_s() == 0.0
    assert presence.note_store_up()
    assert not presence.note_store_up()
    clock.now += 10
    assert presence.silence() is None
    clock.now += 1
    assert presence.silence() == Silence(1, 11.0)


def test_arrival_is_overdue_after_its_time_without_outages_before_the_first_arrival(
    clock: Clock,
) -> None:
    presence = Presence(TIMING)
    clock.now += 59
    assert presence.overdue_s() == 0.0
    clock.now += 1
    assert presence.overdue_s() == 60.0
    presence.note_store_down()
    presence.note_store_up()
    assert presence.overdue_s() == 0.0


def test_a_new_attempt_has_heard_of_nobody(clock: Clock) -> None:
    presence = Presence(TIMING)
    presence.note_heard(1)
    clock.now += 100
    presence.reset()
    assert not presence.was_heard(1)
    assert presence.silence() is None
    assert presence.overdue_s() == 0.0


def test_many_machines_ask_the_store_less_often_each() -> None:
    few, many = (Timing.for_nodes(nodes, arrive_s=1.0, upload_s=1.0) for nodes in (16, 1024))
    assert (few.poll_s, few.eager_s, few.alive_s, few.lost_s) == (1.0, 0.25, 10.0, 120.0)
    assert (many.alive_s, many.lost_s) == (64.0, 256.0)
    assert many.poll_s == many.eager_s == 1024 / 56


def test_node_0_of_many_machines_still_looks_often() -> None:
    few, many = (Timing.for_nodes(nodes, arrive_s=1.0, upload_s=1.0) for nodes in (16, 1024))
    assert few.of_leader() == few
    assert (many.of_leader().poll_s, many.of_leader().eager_s) == (2.0, 1.0)


def test_after_its_ranks_a_machine_of_many_waits_until_all_have_asked_node_0() -> None:
    many = Timing.for_nodes(1024, arrive_s=1.0, upload_s=1.0)
    assert many.eager_s < quiet_s(1024) < 30.0
    assert quiet_s(16) == 0.0
