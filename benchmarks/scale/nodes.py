"""Node programs of one run by the clock of the simulation. Of `launcher.node.program` only devices, data, ranks and signals are made up."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from greenlet import getcurrent

from benchmarks.scale.clock import EPOCH, Clock, Task, in_place
from benchmarks.scale.store import Bucket, Service, serve
from launcher.node import (
    board,
    checkpoints,
    decisions,
    finalupload,
    heartbeat,
    notices,
    statefile,
    steps,
    stopping,
    upload,
)
from launcher.node.checkpoints import restore_newest
from launcher.node.messages import Machine, StartOrder
from launcher.node.program import NodeProgram
from launcher.node.rendezvous import follower, leader, member, presence
from launcher.node.statefile import newest_step
from launcher.node.steps import StepRunner
from launcher.plan.model import Plan, Step
from launcher.ranks.gang import Exit, Outcome, Process
from launcher.results import collector, files
from launcher.runfolder import attempts, manifest
from launcher.runfolder.states import State
from launcher.runs.index import RunEntry
from launcher.runs.records import read_records
from launcher.runs.view import PATIENCE_S
from launcher.storage import backoff, base, registry
from launcher.storage.address import StoreAddress

MODULES = [
    *(attempts, backoff, board, base, checkpoints, collector, decisions, files, finalupload, follower),
    *(heartbeat, leader, manifest, member, notices, presence, statefile, steps, stopping, upload),
]
"""Everything that waits or asks for the time."""
CHECK_S = 2.0
"""A real node program looks after its ranks once a second; nothing is asked of the store for it."""
READER = -2
"""The `node` of requests that `status` makes."""
STATUS_AT = 0.75
"""At this share of the time of training somebody types `status`."""
FAILURE = "ValueError: the loss is nan\n"


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens. Nodes come evenly over `arrive_s`; ranks log every `log_every_s` seconds for `run_s`, then those of `failing_node` fail."""

    run_s: float = 300.0
    arrive_s: float = 60.0
    log_every_s: float = 10.0
    line: str = "step 100 loss 1.234 3456 images/s\n"
    failing_node: int | None = None


@dataclass
class Moments:
    """When it happened, in seconds of the clock, by node."""

    came: dict[int, float] = field(default_factory=dict)
    started: dict[int, float] = field(default_factory=dict)
    stopped: dict[int, float] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)
    codes: dict[int, int] = field(default_factory=dict)
    shown: int = 0
    """How many nodes `status` knew of."""


@dataclass(frozen=True, slots=True)
class World:
    """What all node programs of the simulation share."""

    clock: Clock
    bucket: Bucket
    scenario: Scenario
    moments: Moments


class _Ranks(StepRunner):
    """Steps whose ranks only write their logs."""

    world: World

    def _run_gang(self, step: Step, order: StartOrder) -> Outcome:
        world, node = self.world, self._context.node
        clock, moments, scenario = world.clock, world.moments, world.scenario
        self._note_running(step)
        here = [rank.rank for rank in self._plan.ranks_of(node)]
        progress = {0: self._run_dir.progress_of(0)} if node == 0 else {}
        self._context.heartbeat.watch(progress)
        moments.started[node] = clock.now
        ends_at = clock.now + scenario.run_s
        ranks = SimpleNamespace(check=_no_order, warning="", pump=SimpleNamespace(lost_bytes=0))
        logged_at = float("-inf")
        while clock.now < ends_at:
            if clock.now - logged_at >= scenario.log_every_s:
                logged_at = clock.now
                self._log(here, progress, scenario.line)
            if end := self._tick(ranks, ranks):  # type: ignore[arg-type]
                moments.stopped[node] = clock.now
                return Outcome((), end_order=end)
            if request := self._context.stopper.request:
                moments.stopped[node] = clock.now
                return Outcome((), stopped=request.words)
            clock.pause(min(CHECK_S, scenario.log_every_s))
        moments.stopped[node] = clock.now
        if node == scenario.failing_node:
            return self._failed(here[0])
        if scenario.failing_node is not None:
            return self._wait_for_order(ranks)
        return Outcome(())

    def _wait_for_order(self, ranks: Any) -> Outcome:
        """Train on until another machine's failure is known."""
        while not (end := self._tick(ranks, ranks)):
            self.world.clock.pause(CHECK_S)
        self.world.moments.stopped[self._context.node] = self.world.clock.now
        return Outcome((), end_order=end)

    def _log(self, here: list[int], progress: dict[int, Path], line: str) -> None:
        for log in (self._run_dir.rank_log(self.attempt, self._context.node, rank) for rank in here):
            _append(log, line)
            _append(log.with_suffix(".times"), f"0 {self.world.clock.now:.3f}\n")
        for path in progress.values():
            event = {"t": EPOCH + self.world.clock.now, "event": "step", "step": int(self.world.clock.now)}
            _append(path, json.dumps(event) + "\n")

    def _failed(self, rank: int) -> Outcome:
        path = self._run_dir.rank_log(self.attempt, self._context.node, rank)
        _append(path, FAILURE)
        process = Process(f"rank {rank}", rank, (), {}, path.parent, path)
        failure = Exit(process, 1, EPOCH + self.world.clock.now)
        return Outcome((failure,), failure=failure, logs={process.name: FAILURE})


class SimulatedNode(NodeProgram):
    """One machine of the run."""

    def __init__(self, plan: Plan, node: int, world: World) -> None:
        super().__init__(plan, node, 1)
        self._world = world

    def go(self) -> None:
        """The whole life of the node program."""
        self._world.moments.codes[self.node] = self.run()
        self._world.moments.ended[self.node] = self._world.clock.now

    def _start_services(self) -> None:
        """Without signals, which are those of the simulation."""
        self.context.state.save(State.QUEUED)

    def _run_plan(self) -> None:
        plan, context, clock = self.plan, self.context, self._world.clock
        context.peers.enter_attempt(self.first_attempt)
        self._start_threads()
        context.state.note_phase("staging")
        context.state.save(State.RUNNING)
        if self.node == 0:
            restore_newest(context)
        context.state.note_resumed(newest_step(plan.run_dir.checkpoints))
        context.state.save(State.RUNNING)
        self._world.moments.came[self.node] = clock.now
        context.peers.introduce(_machine(self.node, len(plan.ranks_of(self.node))))
        devices = SimpleNamespace(ids=tuple(range(plan.devices_per_node)))
        runner = _Ranks(context, self.first_attempt, devices, Path())  # type: ignore[arg-type]
        runner.world = self._world
        for index, step in enumerate(plan.steps):
            runner.run(index, step)


def simulate(plan: Plan, folder: Path, service: Service, scenario: Scenario, seed: int = 0) -> World:
    """The run of this plan from its first node program to the end of the last one."""
    clock = Clock()
    world = World(clock, Bucket(clock, service, seed), scenario, Moments())
    name = f"scale-{seed}"
    serve(name, world.bucket)
    store = plan.store.model_copy(update={"url": f"memory://{name}/{plan.run_id}"})
    with ExitStack() as stack:
        stack.enter_context(in_place(clock, MODULES))
        stack.enter_context(_model_store(float(plan.upload_every_s)))
        stack.enter_context(_logs_of_nodes())
        for node in range(plan.nodes):
            here = plan.model_copy(update={"work_dir": str(folder / f"node-{node}"), "store": store})
            program = SimulatedNode(here, node, world)
            comes_at = scenario.arrive_s * node / max(1, plan.nodes - 1)
            _log_of(program)
            clock.spawn(program.go, node, comes_at)
        reads_at = scenario.arrive_s + scenario.run_s * STATUS_AT
        clock.spawn(lambda: _read_status(plan, store, world.moments), READER, reads_at)
        clock.run()
    return world


def _read_status(plan: Plan, store: StoreAddress, moments: Moments) -> None:
    """What `launcher status` reads of a run that lives on other machines."""
    entry = RunEntry(
        run_id=plan.run_id,
        name=plan.name,
        backend=plan.backend,
        submitted_at=EPOCH,
        store=store,
        work_dir="",
        named_by_url=True,
    )
    records = read_records(entry, PATIENCE_S)
    records.silent_s()
    moments.shown = len(records.nodes)


def _machine(node: int, devices: int) -> Machine:
    high, low = divmod(node, 250)
    ids = tuple((device, f"10.{high}.{low + 1}.{device + 1}", "") for device in range(devices))
    return Machine(host=f"m{node}", address=f"172.16.{high}.{low + 1}", devices=ids)


def _no_order() -> None:
    """No hang, and nothing to end the ranks for."""


def _append(path: Path, text: str) -> None:
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(parents=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(file, text.encode())
    os.close(file)


@contextmanager
def _model_store(beat_s: float) -> Iterator[None]:
    """`memory://` is the model. What a node looks at on its own disk meanwhile it looks at less often than a real one does: a
    status is written no more often than it is uploaded, and a wait that an event ends anyway looks for other events seldom. No task
    lowers the priority of this process."""
    seldom = [(heartbeat, "BEAT_S", beat_s), (member, "WAIT_S", CHECK_S), (finalupload, "POLL_S", CHECK_S)]
    seldom += [(upload, "give_way", lambda: None)]
    before = registry._OPENERS["memory"], [vars(module)[name] for module, name, _ in seldom]
    registry._OPENERS["memory"] = "benchmarks.scale.store:open_model"
    for module, name, seconds in seldom:
        setattr(module, name, seconds)
    try:
        yield
    finally:
        registry._OPENERS["memory"] = before[0]
        for (module, name, _), seconds in zip(seldom, before[1], strict=True):
            setattr(module, name, seconds)


class _NodeLogs(logging.Handler):
    """Lines of the node programs, each into the node.log of the machine whose task writes it."""

    paths: dict[int, Path]

    def emit(self, record: logging.LogRecord) -> None:
        task = getcurrent()
        if isinstance(task, Task) and task.node in self.paths:
            _append(self.paths[task.node], self.format(record) + "\n")


_LOGS = _NodeLogs()


def _log_of(program: SimulatedNode) -> None:
    _LOGS.paths[program.node] = program.plan.run_dir.node_log(1, program.node)


@contextmanager
def _logs_of_nodes() -> Iterator[None]:
    root = logging.getLogger("launcher")
    before, _LOGS.paths = (root.level, root.propagate), {}
    root.addHandler(_LOGS)
    root.setLevel(logging.INFO)
    root.propagate = False
    try:
        yield
    finally:
        root.removeHandler(_LOGS)
        root.level, root.propagate = before
