"""A clock that jumps to the next moment at which something happens, and tasks that wait by it.

Each task is a greenlet, so exactly one runs at a time, and a run with the same seed does the same. Stand-ins take the place of the modules
`threading` and `time`, so what is written for threads runs as it is, locks included.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace, TracebackType
from typing import Any

from greenlet import getcurrent, greenlet

EPOCH = 1_800_000_000.0


class Task(greenlet):
    """One thread of the simulation. `node` is the machine that it belongs to."""

    node: int = -1
    turn: int = 0
    """Grows with each wait, so that a timer of an earlier wait does not end a later one."""


class Clock:
    """Seconds since the start, and the tasks that wait."""

    def __init__(self) -> None:
        self.now = 0.0
        self.errors: list[BaseException] = []
        self._due: list[tuple[float, int, Task, int]] = []
        self._count = 0
        self._hub = getcurrent()

    def spawn(self, work: Callable[[], None], node: int = -1, after_s: float = 0.0) -> Task:
        """Run `work` as a task of its own, from `after_s` on."""
        task = Task(lambda: self._guarded(work), self._hub)
        task.node = node
        self._wake_at(self.now + after_s, task)
        return task

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # raised by `run`
            self.errors.append(error)

    def run(self) -> None:
        """Blocks until no task waits for a moment any more. Raises the first error of a task."""
        while self._due and not self.errors:
            at, _, task, turn = heapq.heappop(self._due)
            if task.dead or task.turn != turn:
                continue
            self.now = max(self.now, at)
            task.turn += 1
            task.switch()
        if self.errors:
            raise self.errors[0]

    def pause(self, seconds: float) -> None:
        """Let others run for so long."""
        task = current()
        self._wake_at(self.now + max(0.0, seconds), task)
        self._hub.switch()

    def park(self, waiting: deque[Task], timeout_s: float | None = None) -> bool:
        """Wait until `wake` finds this task in the queue. False when the time was over before."""
        task = current()
        waiting.append(task)
        if timeout_s is not None:
            self._wake_at(self.now + max(0.0, timeout_s), task)
        self._hub.switch()
        if task in waiting:
            waiting.remove(task)
            return False
        return True

    def wake(self, waiting: deque[Task]) -> None:
        """Let the first task of the queue go on."""
        if waiting:
            self._wake_at(self.now, waiting.popleft())

    def _wake_at(self, at: float, task: Task) -> None:
        self._count += 1
        heapq.heappush(self._due, (at, self._count, task, task.turn))


def current() -> Task:
    """The task that runs."""
    task = getcurrent()
    assert isinstance(task, Task), "only a task may wait by the clock"
    return task


class Lock:
    """`threading.Lock` and, with `again`, `threading.RLock`."""

    def __init__(self, clock: Clock, *, again: bool) -> None:
        self._clock, self._again = clock, again
        self._holder: Any = None
        self._depth = 0
        self._waiting: deque[Task] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        me = getcurrent()
        while self._holder is not None and not (self._again and self._holder is me):
            if not blocking or not self._clock.park(self._waiting, None if timeout < 0 else timeout):
                return False
        self._holder, self._depth = me, self._depth + 1
        return True

    def release(self) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._holder = None
            self._clock.wake(self._waiting)

    def give_up(self) -> int:
        """Release a lock wholly; returns how often it was held."""
        depth, self._depth = self._depth, 1
        self.release()
        return depth

    def take_back(self, depth: int) -> None:
        """Hold it so often again."""
        self.acquire()
        self._depth = depth

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Condition(Lock):
    """`threading.Condition` with a lock of its own."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, again=True)
        self._notified: deque[Task] = deque()

    def wait(self, timeout: float | None = None) -> bool:
        depth = self.give_up()
        notified = self._clock.park(self._notified, timeout)
        self.take_back(depth)
        return notified

    def notify(self) -> None:
        self._clock.wake(self._notified)

    def notify_all(self) -> None:
        while self._notified:
            self.notify()


class Event:
    """`threading.Event`."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._set = clock, False
        self._waiting: deque[Task] = deque()

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        while self._waiting:
            self._clock.wake(self._waiting)

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self._set:
            self._clock.park(self._waiting, timeout)
        return self._set


class Thread:
    """`threading.Thread`; it belongs to the machine of the task that made it."""

    def __init__(
        self,
        clock: Clock,
        *,
        target: Callable[..., None],
        args: tuple[Any, ...] = (),
        name: str = "",
        daemon: bool = True,
    ) -> None:
        self._clock, self._target, self._args, self.name = clock, target, args, name
        self._task: Task | None = None
        self._joining: deque[Task] = deque()

    @property
    def ident(self) -> int | None:
        return id(self._task) if self._task else None

    def start(self) -> None:
        self._task = self._clock.spawn(self._run, current().node)

    def _run(self) -> None:
        try:
            self._target(*self._args)
        finally:
            while self._joining:
                self._clock.wake(self._joining)

    def is_alive(self) -> bool:
        return self._task is not None and not self._task.dead

    def join(self, timeout: float | None = None) -> None:
        if self.is_alive():
            self._clock.park(self._joining, timeout)


def threading_by(clock: Clock) -> SimpleNamespace:
    """In place of the module `threading`."""
    return SimpleNamespace(
        Lock=partial(Lock, clock, again=False),
        RLock=partial(Lock, clock, again=True),
        Condition=partial(Condition, clock),
        Event=partial(Event, clock),
        Thread=partial(Thread, clock),
    )


class Time:
    """In place of the module `time`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def monotonic(self) -> float:
        return self._clock.now

    def time(self) -> float:
        return EPOCH + self._clock.now

    def sleep(self, seconds: float) -> None:
        self._clock.pause(seconds)


@contextmanager
def in_place(clock: Clock, modules: list[Any]) -> Iterator[None]:
    """Let these modules run by the clock: each gets the stand-ins for those of `time` and `threading` that it imports."""
    stand_ins = {"time": Time(clock), "threading": threading_by(clock)}
    before = [
        (module, name, vars(module)[name]) for module in modules for name in stand_ins if name in vars(module)
    ]
    for module, name, _ in before:
        setattr(module, name, stand_ins[name])
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
