"""Every machine but node 0: reports to the leader and does what the leader says."""

from __future__ import annotations

import time
from collections.abc import Sequence

from launcher.errors import NotFound, RunFailed, StoreUnreachable
from launcher.node.messages import LeaderMessage, Machine, NextAction, NodeMessage, StartOrder, StepReport
from launcher.node.peers import Check, DecideNext, MakeStartOrder, PeerStop
from launcher.node.rendezvous.folder import LEADER, follower_name
from launcher.node.rendezvous.member import Member
from launcher.node.rendezvous.timing import Timing
from launcher.runfolder.smallfiles import read_small_object
from launcher.runfolder.states import FirstFailure
from launcher.storage import ObjectStore
from launcher.units import show_duration

TABLE_S = 30.0
TELL_AGAIN_S = 2.0
"""The last message that matters is sent again so soon after the store did not take it."""


class Follower(Member):
    """Writes its NodeMessage, reads the LeaderMessage."""

    def __init__(
        self, store: ObjectStore, node: int, machine: Machine, timing: Timing, launch: str = ""
    ) -> None:
        super().__init__(store, machine, timing, launch)
        self._node = node
        self._message = NodeMessage(node=node, launch=launch, machine=machine)
        self._leader = LeaderMessage(launch=launch)
        self._listens = True

    # ---- called by the main thread

    def introduce(self, machine: Machine) -> None:
        self._machine = machine
        self._publish(machine=machine)

    def begin_step(self, step_index: int, make_order: MakeStartOrder, check: Check) -> StartOrder:
        """Say that this machine is ready, and wait for the leader's order. `make_order` is for the leader only."""
        self._eager = True
        self._publish(phase="ready", step_index=step_index, report=None)
        self._wait(lambda: self._is_over() or self._has_started(step_index), check)
        order = self._leader.order
        if self._is_over() or order is None:
            raise RunFailed(self._end_reason())
        if order.rank_table:  # the key of an object, see Leader
            order = order.model_copy(update={"rank_table": self._read_table(order.rank_table, check)})
        self._eager = False
        self._publish(phase="running")
        return order

    def _read_table(self, key: str, check: Check) -> str:
        """Node 0 wrote it before its order, but some stores answer a read from before the write. A store that is down or too
        busy is waited for, as everywhere in the rendezvous."""
        deadline = time.monotonic() + TABLE_S
        while True:
            try:
                return read_small_object(self._store, key).decode()
            except NotFound:
                if time.monotonic() >= deadline:
                    raise
            except StoreUnreachable:
                deadline = time.monotonic() + TABLE_S
            if self._is_over():
                raise RunFailed(self._end_reason())
            check()
            time.sleep(self._timing.eager_s)

    def peer_stop(self) -> PeerStop | None:
        with self._changed:
            leader = self._leader
            if leader.phase == "over":
                return PeerStop(self._end_reason())
            if leader.phase == "decided" and leader.step_index == self._message.step_index:
                orderly = leader.action is not None and leader.action.orderly
                return PeerStop("node 0 has stopped the gang", saving=orderly)
            lost = self._lost()
            return PeerStop(lost) if lost else None

    def end_step(self, step_index: int, report: StepReport, decide: DecideNext, check: Check) -> NextAction:
        """Report, and wait for the leader's decision. `decide` is for the leader only.

        A report that the leader waits for no more is not sent by itself: of many machines it would make the store busy
        while others still ask for the decision.
        """
        self._eager = True
        urgent = not self._has_decided(step_index)
        self._publish(urgent=urgent, phase="ended", step_index=step_index, report=report)
        self._wait(lambda: self._has_decided(step_index), check)
        leader = self._leader
        if leader.step_index > step_index:
            return NextAction(do="next")
        if leader.phase == "decided" and leader.action is not None:
            return leader.action
        return NextAction(do="end", reason=self._end_reason())

    def fail(self, reason: str, *, cancelled: bool = False, failure: FirstFailure | None = None) -> None:
        urgent = not self._has_ended_run()
        self._publish(urgent=urgent, phase="failed", reason=reason, failure=failure, cancelled=cancelled)
        if urgent:
            self._exchange()

    def leave_steps(self) -> None:
        self._listens = False

    def finish_uploads(self) -> Sequence[Machine]:
        """Blocks until the store has the message, without which node 0 would wait for this machine in vain, or node 0 takes it for lost."""
        self._eager = True
        self._publish(phase="uploaded")
        deadline = time.monotonic() + self._timing.lost_s
        while not self._exchange() and time.monotonic() < deadline:
            if self._closing.wait(TELL_AGAIN_S):
                break
        return ()

    # ---- the leader's message

    def _is_over(self) -> bool:
        """The leader may end the run before it has begun the step that this machine waits for."""
        return self._leader.phase == "over"

    def _has_ended_run(self) -> bool:
        """Whether the leader knows already that the run ends."""
        leader = self._leader
        decided = leader.phase == "decided" and leader.action is not None and leader.action.do == "end"
        return decided or self._is_over()

    def _has_started(self, step_index: int) -> bool:
        return self._leader.phase == "started" and self._leader.step_index >= step_index

    def _has_decided(self, step_index: int) -> bool:
        leader = self._leader
        decided = leader.phase == "decided" and leader.step_index == step_index
        return decided or self._is_over() or leader.step_index > step_index

    def _end_reason(self) -> str:
        action = self._leader.action
        return action.reason if action and action.reason else "node 0 has ended the run"

    def _lost(self) -> str:
        silence = self._presence.silence()
        return f"node 0 was not heard of for {show_duration(silence.seconds)}" if silence else ""

    def _absent(self) -> str:
        overdue_s = self._presence.overdue_s()
        if not overdue_s or self._presence.was_heard(0):
            return ""
        return f"node 0 did not come within {show_duration(overdue_s)}"

    # ---- messages

    def _publish(self, *, urgent: bool = True, **values: object) -> None:
        """What is not urgent goes out with the next message, or at the end."""
        with self._changed:
            self._message = self._message.model_copy(update=values)
        if urgent:
            self._wake.set()

    def _reset_messages(self) -> None:
        self._message = NodeMessage(node=self._node, launch=self._launch, machine=self._machine)
        self._leader = LeaderMessage(launch=self._launch)

    def _write(self) -> None:
        with self._changed:
            messages, message = self._messages, self._message
        text = messages.key(message.model_dump_json())
        if self._alive_is_due():
            messages.write_text(f"alive-{self._node}", f"{time.time()}\n")
            self._alive_at = time.monotonic()
        if text != self._written:
            messages.write(follower_name(self._node), message)
            self._written = text

    def _read(self) -> None:
        if not self._listens:
            return
        messages = self._messages
        leader = messages.read(LEADER, LeaderMessage)
        with self._changed:
            if leader is None or leader.launch != self._launch or messages is not self._messages:
                return
            if leader.alive_at != self._leader.alive_at:
                self._presence.note_heard(0)
            self._leader = leader
