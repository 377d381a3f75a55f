"""The rendezvous without node programs: silence, outages, leftovers of another start, many machines."""

import dataclasses
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from launcher.errors import RunFailed, StoreUnreachable
from launcher.node.decisions import first_cause
from launcher.node.ending import PeerFailed, end_of_error
from launcher.node.messages import Machine, NextAction, NodeMessage, StartOrder, StepReport
from launcher.node.rendezvous import Follower, Leader, Timing, member_of
from launcher.node.stopping import StopKind
from launcher.ranks.diagnose import Cause
from launcher.runfolder.states import FirstFailure, State
from launcher.storage import ObjectInfo, ObjectStore, open_store
from launcher.storage.backoff import StoreBusy
from tests.waiting import PATIENCE_S, wait_until

PATIENT = Timing(
    arrive_s=300.0, poll_s=0.05, eager_s=0.05, alive_s=0.1, lost_s=300.0, report_s=300.0, upload_s=300.0
)
IMPATIENT = dataclasses.replace(PATIENT, arrive_s=1.5, upload_s=3.0)
"""For tests in which somebody does not come, or does not end."""
LOST_S = 60.0


def nothing() -> None:
    """A check that never stops a wait."""


def start_order(machines: Any) -> StartOrder:
    return StartOrder(scheduler_host=machines[0].address, scheduler_port=7, step=4)


class Clock:
    """Time that stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Of what counts as silence."""
    clock = Clock()
    monkeypatch.setattr("launcher.node.rendezvous.presence.time", clock)
    return clock


class Flaky:
    """A store that can be switched off."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.down = False
        self.requests: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        self.requests[name] += 1
        if self.down and name in ("put", "read", "list", "head"):
            raise StoreUnreachable("no answer")
        return getattr(self._store, name)


class Party:
    """Several machines in one process."""

    def __init__(self, nodes: int, timing: Timing = PATIENT) -> None:
        self.url = f"memory://{uuid.uuid4().hex}/run"
        self.stores = [Flaky(open_store(self.url)) for _ in range(nodes)]
        self.members = [
            member_of(store, k, nodes, Machine(host=f"host{k}", address=f"10.0.0.{k}"), timing)  # type: ignore[arg-type]
            for k, store in enumerate(self.stores)
        ]

    def enter(self, *nodes: int, attempt: int = 1) -> None:
        for k in nodes:
            self.members[k].enter_attempt(attempt)

    def ask_stores(self) -> None:
        """Waits until all members have asked a few times more."""
        before = [store.requests.total() for store in self.stores]
        wait_until(
            lambda: all(s.requests.total() > n + 8 for s, n in zip(self.stores, before, strict=True)),
            "requests",
        )

    def all(self, call: Callable[[Leader | Follower], Any], *nodes: int) -> list[Any]:
        """The same call on all machines at once; what each returns or raises."""
        found: dict[int, Any] = {}

        def run(k: int) -> None:
            try:
                found[k] = call(self.members[k])
            except RunFailed as error:
                found[k] = error

        threads = [threading.Thread(target=run, args=(k,)) for k in nodes or range(len(self.members))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        return [found.get(k, "never returned") for k in nodes or range(len(self.members))]

    def begin(self, *nodes: int, step_index: int = 0) -> list[Any]:
        return self.all(lambda member: member.begin_step(step_index, start_order, nothing), *nodes)


@pytest.fixture
def make() -> Iterator[Callable[..., Party]]:
    made: list[Party] = []

    def party(nodes: int, timing: Timing = PATIENT) -> Party:
        made.append(Party(nodes, timing))
        return made[-1]

    yield party
    for each in made:
        for member in each.members:
            member.close()


def test_all_get_the_word_of_node_0(make: Callable[..., Party]) -> None:
    party = make(3)
    party.enter(0, 1, 2)
    assert party.begin() == [StartOrder(scheduler_host="10.0.0.0", scheduler_port=7, step=4)] * 3
    assert [member.peer_stop() for member in party.members] == [None] * 3
    ended = party.all(
        lambda m: m.end_step(0, StepReport(ok=True), lambda reports: NextAction(do="next"), nothing)
    )
    assert [action.do for action in ended] == ["next"] * 3


def test_node_0_hears_the_reports_of_all_and_decides_for_all(make: Callable[..., Party]) -> None:
    party = make(3)
    party.enter(0, 1, 2)
    party.begin()
    early = Cause(words="rank 2 broke", at=5.0)
    late = Cause(words="rank 0 lost its peer", at=4.0, consequence=True)
    reports = [StepReport(ok=False, cause=late), StepReport(ok=True), StepReport(ok=False, cause=early)]
    heard: list[StepReport] = []

    def decide(found: Any) -> NextAction:
        heard.extend(found)
        cause = first_cause(found).cause
        return NextAction(do="restart", attempt=2, reason=cause.words if cause else "")

    verdicts = party.all(lambda m: m.end_step(0, reports[party.members.index(m)], decide, nothing))
    assert {action.reason for action in verdicts} == {"rank 2 broke"}
    assert len(heard) == 3


def test_node_0_hears_in_fields_why_another_machine_failed(make: Callable[..., Party]) -> None:
    party = make(2)
    party.enter(0, 1)
    failure = FirstFailure(node=1, host="host1", rule="no-devices")
    party.members[1].fail("8 ascend910 devices asked for, 4 here", failure=failure)
    (found,) = party.begin(0)
    assert isinstance(found, PeerFailed)
    assert found.what == "node 1 (host1): 8 ascend910 devices asked for, 4 here"
    assert end_of_error(found, 0).failure == failure


@pytest.mark.system
def test_a_cancel_that_another_machine_hears_of_first_is_one(make: Callable[..., Party]) -> None:
    """It ends its node program outside of a step, while node 0 still runs its ranks or waits."""
    party = make(3)
    party.enter(0, 1, 2)
    party.all(lambda member: member.begin_step(0, start_order, nothing))
    leader, follower = party.members[0], party.members[1]
    follower.fail("cancelled on request", cancelled=True, failure=FirstFailure(node=1))
    wait_until(lambda: leader.peer_stop() is not None)
    stop = leader.peer_stop()
    assert stop is not None
    assert stop.saving
    reports: list[StepReport] = []

    def decide(found: Any) -> NextAction:
        reports.extend(found)
        return NextAction(do="end", stop=StopKind.CANCEL)

    party.all(lambda member: member.end_step(0, StepReport(ok=False), decide, nothing), 0, 2)
    assert StopKind.CANCEL in [report.stop for report in reports]
    with pytest.raises(PeerFailed) as caught:
        leader.begin_step(1, start_order, nothing)
    assert (end_of_error(caught.value, 0).state, end_of_error(caught.value, 0).reason) == (
        State.CANCELLED,
        "cancelled on request",
    )


@pytest.mark.system
def test_node_0_names_the_machines_that_did_not_upload(make: Callable[..., Party]) -> None:
    party = make(3, IMPATIENT)
    party.enter(0, 1, 2)
    party.begin()
    assert party.members[1].finish_uploads() == ()
    party.stores[2].down = True
    assert [machine.host for machine in party.members[0].finish_uploads()] == ["host2"]


@pytest.mark.system
@pytest.mark.parametrize(("silent", "watcher"), [(1, 0), (0, 1)])
def test_a_machine_that_falls_silent_is_named(
    make: Callable[..., Party], clock: Clock, silent: int, watcher: int
) -> None:
    party = make(2, dataclasses.replace(PATIENT, lost_s=LOST_S))
    party.enter(0, 1)
    party.begin()
    party.stores[silent].down = True  # as good as dead for everybody else
    party.ask_stores()
    clock.now += LOST_S + 1
    stop = wait_until(party.members[watcher].peer_stop)
    assert stop is not None
    assert f"node {silent} (" in stop.reason or f"node {silent} was" in stop.reason
    assert "was not heard of for" in stop.reason
    assert not stop.saving


@pytest.mark.system
def test_a_store_that_is_down_for_all_makes_nobody_guilty(make: Callable[..., Party], clock: Clock) -> None:
    party = make(2, dataclasses.replace(PATIENT, lost_s=LOST_S))
    party.enter(0, 1)
    party.begin()
    for store in party.stores:
        store.down = True
    party.ask_stores()
    clock.now += 1.5 * LOST_S
    party.ask_stores()
    assert [member.peer_stop() for member in party.members] == [None, None]
    for store in party.stores:
        store.down = False
    party.ask_stores()
    assert [member.peer_stop() for member in party.members] == [None, None]


@pytest.mark.system
def test_a_machine_that_never_comes_is_named_once_the_time_is_over(make: Callable[..., Party]) -> None:
    party = make(4, IMPATIENT)
    party.enter(0, 2)

    def begin(member: Leader | Follower) -> StartOrder:
        try:
            return member.begin_step(0, start_order, nothing)
        except RunFailed as error:
            member.fail(str(error))
            raise

    for error in party.all(begin, 0, 2):  # node 2 has it from node 0
        assert "nodes 1, 3 of 4 did not come within" in str(error)
    alone = make(2, IMPATIENT)
    alone.enter(1)
    assert "node 0 did not come within" in str(alone.begin(1)[0])


@pytest.mark.system
def test_what_another_start_of_the_same_attempt_left_is_not_believed(make: Callable[..., Party]) -> None:
    party = make(2, IMPATIENT)
    left = NodeMessage(node=1, launch="job 7", phase="ready", step_index=0, machine=Machine(host="ghost"))
    open_store(party.url).put("rendezvous/attempt-1/node-1.json", left.model_dump_json().encode())
    party.enter(0)
    assert "node 1 of 2 did not come" in str(party.begin(0)[0])


@pytest.mark.system
def test_a_new_attempt_starts_from_nothing(make: Callable[..., Party]) -> None:
    party = make(2, IMPATIENT)
    party.enter(0, 1)
    party.begin()
    party.enter(0, attempt=2)
    assert "node 1 of 2 did not come" in str(party.begin(0)[0])


@pytest.mark.parametrize("when", ["before the start", "between steps", "before a restart"])
def test_a_stop_of_node_0_reaches_those_that_wait_for_what_it_never_began(
    make: Callable[..., Party], when: str
) -> None:
    party = make(2)
    party.enter(0, 1)
    if when != "before the start":
        party.begin()
        action = NextAction(do="next") if when == "between steps" else NextAction(do="restart", attempt=2)
        party.all(lambda m: m.end_step(0, StepReport(ok=True), lambda reports: action, nothing))
    if when == "before a restart":
        party.enter(1, attempt=2)
    party.members[0].fail("the time limit of the allocation is near")
    (found,) = party.begin(1, step_index=1 if when == "between steps" else 0)
    assert isinstance(found, RunFailed)
    assert found.what == "the time limit of the allocation is near"


def test_the_rank_table_has_an_object_of_its_own_and_is_read_once(make: Callable[..., Party]) -> None:
    party = make(2)
    party.enter(0, 1)
    table = '{"server_list": []}' * 1000
    found = party.all(lambda m: m.begin_step(0, lambda machines: StartOrder(rank_table=table), nothing))
    assert [each.rank_table for each in found] == [table, table]
    assert len(open_store(party.url).read("rendezvous/attempt-1/leader.json")) < 2000


def test_a_machine_waits_for_a_store_that_is_too_busy_to_give_the_rank_table(
    make: Callable[..., Party],
) -> None:
    """It used to end the run."""
    party = make(2)
    party.enter(0, 1)
    store, tables = party.stores[1], []

    def read(key: str, start: int = 0, length: int | None = None) -> bytes:
        if "rank_table" in key:
            tables.append(key)
            if len(tables) < 3:
                raise StoreBusy("slow down")
        return store._store.read(key, start, length)

    store.read = read  # type: ignore[attr-defined]
    found = party.all(lambda m: m.begin_step(0, lambda machines: StartOrder(rank_table="a table"), nothing))
    assert [each.rank_table for each in found] == ["a table", "a table"]
    assert len(tables) == 3


def test_a_machine_says_again_that_it_has_uploaded_everything(
    make: Callable[..., Party], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else node 0 would wait for it, and then report its results as missing."""
    monkeypatch.setattr("launcher.node.rendezvous.follower.TELL_AGAIN_S", 0.01)
    party = make(2)
    party.enter(0, 1)
    party.begin()
    store, refused = party.stores[1], []

    def put(key: str, data: bytes, **how: Any) -> ObjectInfo:
        if b"uploaded" in data and len(refused) < 5:
            refused.append(key)
            raise StoreBusy("slow down")
        return store._store.put(key, data, **how)

    store.put = put  # type: ignore[attr-defined]
    assert party.all(lambda m: m.finish_uploads()) == [[], ()]
    assert len(refused) == 5


def test_a_machine_whose_steps_are_over_asks_node_0_for_nothing(make: Callable[..., Party]) -> None:
    party = make(2)
    party.enter(0, 1)
    party.begin()
    follower, store = party.members[1], party.stores[1]
    follower.leave_steps()
    follower._exchange()  # one that was under way is over
    before = store.requests["read"]
    follower.finish_uploads()
    follower.close()
    assert store.requests["read"] == before
    assert party.members[0].finish_uploads() == [], "node 0 still listens"


@pytest.mark.system
def test_two_hundred_machines_meet(make: Callable[..., Party]) -> None:
    """Only node 0 asks for the messages of all: the work of the others does not grow with their number."""
    timing = Timing(arrive_s=300, poll_s=0.5, eager_s=0.5, alive_s=5, lost_s=300)
    party = make(200, timing)
    party.enter(*range(200))
    assert len({each.scheduler_port for each in party.begin()}) == 1
    assert party.stores[0].requests["list"]
    assert not any(store.requests["list"] for store in party.stores[1:])
