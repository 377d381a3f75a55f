"""Node 0: waits for the other machines, starts each step on all of them, and decides for all what follows."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence

from launcher.node.ending import PeerFailed
from launcher.node.messages import LeaderMessage, Machine, NextAction, NodeMessage, StartOrder, StepReport
from launcher.node.peers import Check, DecideNext, MakeStartOrder, PeerStop
from launcher.node.rendezvous.folder import LEADER, MessageFolder, follower_of
from launcher.node.rendezvous.member import Member
from launcher.node.rendezvous.timing import Timing
from launcher.node.stopping import CANCEL, StopKind
from launcher.ranks.diagnose import Cause
from launcher.runfolder.states import FirstFailure
from launcher.storage import ObjectStore
from launcher.units import show_duration

_ALIVE = re.compile(r"alive-(\d+)")
LOOK_S = 0.1


class Leader(Member):
    """Writes the LeaderMessage, reads the NodeMessages that have changed."""

    def __init__(
        self, store: ObjectStore, nodes: int, machine: Machine, timing: Timing, launch: str = ""
    ) -> None:
        super().__init__(store, machine, timing.of_leader(), launch)
        self._nodes = nodes
        self._message = LeaderMessage(launch=launch)
        self._followers: dict[int, NodeMessage] = {}

    # ---- called by the main thread

    def introduce(self, machine: Machine) -> None:
        self._machine = machine

    def begin_step(self, step_index: int, make_order: MakeStartOrder, check: Check) -> StartOrder:
        self._eager = True
        self._publish(phase="waiting", step_index=step_index, order=None, action=None)
        self._wait(self._all_ready, check)
        others = [self._followers[node].machine for node in range(1, self._nodes)]
        order = make_order([self._machine, *others])
        self._publish(phase="started", order=self._store_table(order))
        self._eager = False
        return order

    def _store_table(self, order: StartOrder) -> StartOrder:
        """The order with the key of its rank table: a table of 8,192 ranks is a megabyte, and followers poll."""
        if not order.rank_table:
            return order
        key = self._messages.key(f"rank_table-{self._message.step_index}.json")
        self._store.put(key, order.rank_table.encode())
        return order.model_copy(update={"rank_table": key})

    def peer_stop(self) -> PeerStop | None:
        with self._changed:
            for node, report in self._reports():
                if not report.ok:
                    host = self._followers[node].machine.host
                    return PeerStop(f"node {node} ({host}) has ended", saving=report.stop is not None)
            if self._is_cancelled():
                return PeerStop(CANCEL.words, saving=True)
            missing = self._missing()
            return PeerStop(missing.words) if missing else None

    def end_step(self, step_index: int, report: StepReport, decide: DecideNext, check: Check) -> NextAction:
        self._eager = True
        self._wake.set()
        action = decide(self._wait_for_reports(report, check))
        self._publish(phase="decided", action=action)
        self._exchange()
        return action

    def fail(self, reason: str, *, cancelled: bool = False, failure: FirstFailure | None = None) -> None:
        action = self._message.action if self._message.phase == "decided" else None
        if action is not None and action.do == "restart":
            self.enter_attempt(action.attempt)  # the followers go there, and wait
        already_over = self._message.phase == "over" or (action is not None and action.do == "end")
        if not already_over:
            stop = StopKind.CANCEL if cancelled else None
            action = NextAction(do="end", reason=reason, stop=stop, failure=failure)
            self._publish(phase="over", action=action)
        self._exchange()

    def leave_steps(self) -> None:
        """Node 0 goes on listening: it waits for the uploads of the others."""

    def finish_uploads(self) -> Sequence[Machine]:
        """Wait until every follower has uploaded. Machines that never arrived or are lost are not waited for."""
        self._eager = True
        self._wake.set()
        deadline = time.monotonic() + self._timing.upload_s
        while time.monotonic() < deadline:
            with self._changed:
                if len(self._uploaded()) == len(self._followers) or self._lost():
                    break
                self._changed.wait(LOOK_S)
        with self._changed:
            uploaded = self._uploaded()
            return [each.machine for node, each in sorted(self._followers.items()) if node not in uploaded]

    def close(self) -> None:
        self._publish(phase="over")
        super().close()

    # ---- the followers' messages

    def _all_ready(self) -> bool:
        ready = [each for each in self._followers.values() if each.phase == "ready" and self._is_here(each)]
        return len(ready) == self._nodes - 1

    def _is_here(self, follower: NodeMessage) -> bool:
        """Whether a follower is at the same step of the plan as the leader."""
        return follower.step_index == self._message.step_index

    def _reports(self) -> Iterator[tuple[int, StepReport]]:
        """The followers' reports on the step under way, by node."""
        for node, follower in sorted(self._followers.items()):
            if follower.phase == "ended" and follower.report is not None and self._is_here(follower):
                yield node, follower.report

    def _wait_for_reports(self, own: StepReport, check: Check) -> list[StepReport]:
        """Block until all machines have reported; once one of them has failed, no longer than `report_s`."""
        deadline = float("inf")
        while True:
            with self._changed:
                reports = [own, *(report for _, report in self._reports())]
                if self._is_cancelled():
                    reports.append(StepReport(ok=False, stopped=CANCEL.words, stop=CANCEL.kind))
                elif missing := self._missing():
                    reports.append(StepReport(ok=False, cause=missing))
                if len(reports) >= self._nodes or time.monotonic() > deadline:
                    return reports
                if not all(report.ok for report in reports):
                    deadline = min(deadline, time.monotonic() + self._timing.report_s)
                self._changed.wait(LOOK_S)
            check()

    def _check_others(self) -> None:
        if failed := self._failed():
            raise failed
        super()._check_others()

    def _missing(self) -> Cause | None:
        """A follower that failed outside of a step, or is lost: only its platform can start its node program again."""
        failed = self._failed()
        words = failed.what if failed else self._lost()
        if not words:
            return None
        failure = failed.failure if failed else None
        return Cause(words=words, rule="node-lost", restart=False, failure=failure)

    def _failed(self) -> PeerFailed | None:
        """The first follower that failed outside of a step."""
        for node, follower in sorted(self._followers.items()):
            if follower.reason:
                words = f"node {node} ({follower.machine.host}): {follower.reason}"
                failure = follower.failure or FirstFailure(node=node, host=follower.machine.host)
                return PeerFailed(words, failure, cancelled=follower.cancelled)
        return None

    def _is_cancelled(self) -> bool:
        """Whether a follower has ended because somebody cancelled the run, which it may hear of before node 0."""
        return any(follower.cancelled for follower in self._followers.values())

    def _uploaded(self) -> set[int]:
        return {node for node, follower in self._followers.items() if follower.phase == "uploaded"}

    def _lost(self) -> str:
        silence = self._presence.silence(finished=self._uploaded())
        if silence is None:
            return ""
        host = self._followers[silence.node].machine.host
        return f"node {silence.node} ({host}) was not heard of for {show_duration(silence.seconds)}"

    def _absent(self) -> str:
        overdue_s = self._presence.overdue_s()
        missing = [node for node in range(1, self._nodes) if node not in self._followers]
        if not overdue_s or not missing:
            return ""
        names = ", ".join(map(str, missing[:10])) + (" …" if len(missing) > 10 else "")
        nodes = f"node{'s'[: len(missing) > 1]} {names}"
        return f"{nodes} of {self._nodes} did not come within {show_duration(overdue_s)}"

    # ---- messages

    def _publish(self, **values: object) -> None:
        with self._changed:
            self._message = self._message.model_copy(update=values)
        self._wake.set()

    def _reset_messages(self) -> None:
        self._message = LeaderMessage(launch=self._launch)
        self._followers = {}

    def _write(self) -> None:
        with self._changed:
            messages, message = self._messages, self._message
        text = messages.key(message.model_dump_json())
        if text != self._written or self._alive_is_due():
            messages.write(LEADER, message.model_copy(update={"alive_at": time.time()}))
            self._written, self._alive_at = text, time.monotonic()

    def _read(self) -> None:
        messages = self._messages
        for name in messages.changed():
            if match := _ALIVE.fullmatch(name):
                self._note_alive(int(match[1]), messages)
            elif follower_of(name) is not None:
                self._read_follower(name, messages)

    def _note_alive(self, node: int, messages: MessageFolder) -> None:
        with self._changed:
            if node in self._followers and messages is self._messages:
                self._presence.note_heard(node)

    def _read_follower(self, name: str, messages: MessageFolder) -> None:
        follower = messages.read(name, NodeMessage)
        with self._changed:
            if follower is None or follower.launch != self._launch or messages is not self._messages:
                return
            if 0 < follower.node < self._nodes:
                self._followers[follower.node] = follower
                self._presence.note_heard(follower.node)
