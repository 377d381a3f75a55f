"""The protocol of attempts in every order of requests: the real code of two to four starters, each a thread that waits for
its turn before each request. Pauses of any length and crashes between any two requests are orders, too."""

import itertools
import random
import threading
from collections.abc import Iterator, Sequence

import pytest

from launcher.errors import NotFound
from launcher.runfolder.attempts import SETTLE_S, Fence, Superseded, newest_begun, read_holder
from launcher.storage import ObjectStore, open_store
from launcher.storage.base import NoConditionalPut, ObjectInfo
from launcher.submission.claim import AttemptTaken, claim_next


class Crash(BaseException):
    """The process of a starter was killed."""


class Turns:
    """Lets one starter go at a time: `order` has the starter of each request, and what is left of it goes at the end.

    `crashes`: starter -> the request before which it is killed.
    """

    def __init__(self, count: int, order: Sequence[int], crashes: dict[int, int]) -> None:
        self._count, self._order, self._crashes = count, list(order), crashes
        self._made, self._done = [0] * count, [False] * count
        self._turn = threading.Condition()

    def wait(self, starter: int) -> None:
        """Blocks until it is the starter's turn. Raises Crash."""
        with self._turn:
            self._made[starter] += 1
            if self._crashes.get(starter) == self._made[starter]:
                raise Crash
            self._turn.wait_for(lambda: self._next() == starter)
            if self._order:
                del self._order[0]
            self._turn.notify_all()

    def end(self, starter: int) -> None:
        with self._turn:
            self._done[starter] = True
            self._turn.notify_all()

    def _next(self) -> int | None:
        while self._order and self._done[self._order[0]]:
            del self._order[0]
        return (
            self._order[0]
            if self._order
            else next((n for n in range(self._count) if not self._done[n]), None)
        )


class Simulated:
    """A store in which each request of a starter waits for its turn. `stale`: its listings show what was there at the beginning."""

    def __init__(
        self, base: ObjectStore, turns: Turns, starter: int, *, conditions: bool, stale: bool
    ) -> None:
        self.url, self._base, self._turns, self._starter = base.url, base, turns, starter
        self._conditions = conditions
        self._seen = list(base.list()) if stale else None

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        self._turns.wait(self._starter)
        return self._base.read(key)

    def put(self, key: str, data: bytes) -> ObjectInfo:
        self._turns.wait(self._starter)
        return self._base.put(key, data)

    def put_new(self, key: str, data: bytes) -> bool:
        self._turns.wait(self._starter)
        if self._conditions:
            return self._base.put_new(key, data)
        self._base.put(key, data)  # as a server that ignores the condition
        raise NoConditionalPut("ignored")

    def delete(self, key: str) -> None:
        self._base.delete(key)  # of a mark that nobody else reads: not a turn

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._turns.wait(self._starter)
        found = self._base.list(prefix) if self._seen is None else self._seen
        return iter([info for info in found if info.key.startswith(prefix)])


class World:
    """Starters that all saw attempt 1 end, and want to start the next one."""

    def __init__(
        self,
        name: str,
        count: int,
        order: Sequence[int],
        *,
        crashes: dict[int, int] | None = None,
        **kind: bool,
    ) -> None:
        self.base = open_store(f"memory://attempts/{name}")
        for info in list(self.base.list()):
            self.base.delete(info.key)
        self.base.put("claims/1", b"")
        self.base.put("attempts/1", b"")
        self._turns = Turns(count, order, crashes or {})
        self._stores = [Simulated(self.base, self._turns, n, **kind) for n in range(count)]  # type: ignore[arg-type]
        self.started: dict[int, int] = {}
        self.told: dict[int, str] = {}
        self.fences: dict[int, Fence] = {}
        self.crashed: set[int] = set()
        threads = [threading.Thread(target=self._go, args=(n,)) for n in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _go(self, starter: int) -> None:
        store = self._stores[starter]
        try:
            claim = claim_next(store, 1, "", force=False)  # type: ignore[arg-type]
            self.started[starter] = claim.attempt
            fence = Fence(store, claim.attempt, takes=True)  # type: ignore[arg-type]
            self.fences[starter] = fence
            fence.check()
        except AttemptTaken as error:
            self.told[starter] = error.what
        except Superseded as error:
            self.told[starter] = error.what
        except Crash:
            self.crashed.add(starter)
        finally:
            self._turns.end(starter)

    def writers(self) -> list[int]:
        """Starters whose node program may write now, asked when all requests have arrived."""
        allowed = []
        for starter, fence in self.fences.items():
            fence._store = self.base
            try:
                fence.check()
            except Superseded:
                continue
            allowed.append(starter)
        return allowed


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the requests stands for all pauses."""
    assert SETTLE_S > 0
    monkeypatch.setattr("launcher.runfolder.attempts.SETTLE_S", 0.0)


REQUESTS = 6
"""More than enough turns for the interesting part of one starter."""


def orders_of_two() -> Iterator[tuple[int, ...]]:
    """Every order in which the first requests of two starters can arrive."""
    for places in itertools.combinations(range(2 * REQUESTS), REQUESTS):
        yield tuple(0 if n in places else 1 for n in range(2 * REQUESTS))


@pytest.mark.system
@pytest.mark.parametrize("stale", [False, True])
def test_with_conditions_one_of_two_starts_whatever_the_order(stale: bool) -> None:
    for order in orders_of_two():
        world = World("two", 2, order, conditions=True, stale=stale)
        assert sorted(world.started.values()) == [2], order
        assert world.writers() == list(world.started), order
        assert len(world.told) == 1
        assert "@" in next(iter(world.told.values()))  # who won


@pytest.mark.system
def test_with_conditions_a_crash_anywhere_never_makes_two(rng: random.Random) -> None:
    for crashed_at, order in itertools.product(range(1, 12), rng.sample(list(orders_of_two()), 60)):
        world = World("crash", 2, order, crashes={0: crashed_at}, conditions=True, stale=False)
        assert len(world.started) <= 1 or world.started[0] != world.started[1], order
        assert len(world.writers()) <= 1, (crashed_at, order)


@pytest.mark.system
@pytest.mark.parametrize("conditions", [True, False])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_never_two_writers(count: int, conditions: bool, rng: random.Random) -> None:
    for _ in range(400):
        order = [n for n in range(count) for _ in range(12)]
        rng.shuffle(order)
        crashes = {n: rng.randrange(1, 14) for n in range(count) if rng.random() < 0.2}
        stale = rng.random() < 0.3
        world = World("many", count, order, crashes=crashes, conditions=conditions, stale=stale)
        assert len(world.writers()) <= 1, (order, crashes)
        if conditions:
            assert len(set(world.started.values())) == len(world.started), (order, crashes)
        if not crashes:
            assert len(world.writers()) == 1, order


@pytest.mark.system
def test_without_conditions_never_two_writers_whatever_the_order() -> None:
    for order in orders_of_two():
        world = World("plain", 2, order, conditions=False, stale=False)
        assert len(world.writers()) == 1, order


def test_a_number_of_an_earlier_version_names_somebody(tmp_path: object) -> None:
    store = open_store("memory://attempts/old")
    store.put("attempts/3", b"")
    assert newest_begun(store) == 3
    holder = read_holder(store, "attempts/3")
    assert holder is not None
    assert (holder.token, holder.words) == ("", "somebody")


def test_a_fence_sees_a_later_attempt_and_another_owner_of_its_own() -> None:
    store = open_store("memory://attempts/fence")
    fence, follower = Fence(store, 1, takes=True), Fence(store, 1, takes=False)
    fence.check()
    follower.check()
    with pytest.raises(Superseded, match="attempt 1 of this run is that of"):
        Fence(store, 1, takes=True).check()
    fence.enter(2)
    fence.check()
    with pytest.raises(Superseded, match="attempt 2"):
        follower.check()
    follower.enter(2)
    follower.check()
    Fence(store, 5, takes=True).check()
    for each in (fence, follower):
        with pytest.raises(Superseded, match="attempt 5"):
            each.check()
    with pytest.raises(NotFound):
        store.read("attempts/3")


def test_odd_names_beside_the_numbers_are_ignored() -> None:
    store = open_store("memory://attempts/odd")
    for name in ("x", "3.abc", "-1", "٣", "9" * 5000, "1e9"):
        store.put(f"attempts/{name[:200]}", b"")
    assert newest_begun(store) == 0
