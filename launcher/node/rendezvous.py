"""How the node programs of a run on several machines meet: through small objects in the run's folder.

One thread writes this machine's own object and reads the other side's, about once a second; the main thread changes
what is written and waits for what is read. Node 0 lists the cards of all; the others read one object, the board. A store
that does not answer makes everybody wait and nobody guilty: silence counts only while the store answers.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError

from launcher.errors import LauncherError, NodeTrouble, NotFound, RunFailed
from launcher.node.peers import (
    DecideNext,
    LeaderMessage,
    Machine,
    MakeStartOrder,
    NextAction,
    NodeMessage,
    PeerStop,
    StartOrder,
    StepReport,
)
from launcher.node.stopping import StopKind
from launcher.ranks.diagnose import Cause
from launcher.storage import ObjectStore
from launcher.units import show_duration

log = logging.getLogger("launcher.node")

FOLDER = "rendezvous/"
_NAMES = re.compile(r"(node-|beat-)(\d+)(?:\.json)?")


@dataclass(frozen=True)
class Timing:
    """Seconds. `arrive_s`: for a machine that never came; `lost_s`: for one that fell silent; `report_s`: how long
    node 0 waits, after a failure, for the others to say what they saw; `leave_s`: for the others' last uploads.
    `eager_s` takes the place of `poll_s` while somebody waits."""

    arrive_s: float = 1800.0
    poll_s: float = 1.0
    eager_s: float = 0.25
    beat_s: float = 10.0
    lost_s: float = 120.0
    report_s: float = 5.0
    leave_s: float = 3600.0


class Rendezvous:
    """The other machines, as seen from `node` of `nodes`. Made and used by the main thread."""

    def __init__(
        self, store: ObjectStore, node: int, nodes: int, machine: Machine, timing: Timing, launch: str = ""
    ) -> None:
        self._store = store
        self._node, self._nodes, self._timing, self._launch = node, nodes, timing, launch
        self._changed = threading.Condition()
        self._card = NodeMessage(node=node, launch=launch, machine=machine)
        self._board = LeaderMessage(launch=launch)
        self._cards: dict[int, NodeMessage] = {}
        self._marks: dict[str, tuple[str, float, int]] = {}
        self._seen: dict[int, float] = {}
        self._attempt = 0
        self._begun = time.monotonic()
        self._written = ""
        self._silent_store = False
        self._io = threading.Lock()
        self._beaten = 0.0
        self._waiting = False
        self._end = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rendezvous", daemon=True)

    # ---- the main thread's side

    def enter(self, attempt: int) -> None:
        """A new attempt has a folder of its own: nothing of the one before is believed."""
        with self._changed:
            self._attempt = attempt
            self._cards, self._marks, self._seen = {}, {}, {}
            self._begun = time.monotonic()
            self._board = LeaderMessage(launch=self._launch)
            self._card = NodeMessage(node=self._node, launch=self._launch, machine=self._card.machine)
            self._written, self._beaten = "", 0.0
        if not self._thread.is_alive():
            self._thread.start()

    def introduce(self, machine: Machine) -> None:
        self._say_card(machine=machine)

    def begin(
        self, program: int, step: int | None, make_order: MakeStartOrder, check: Callable[[], None]
    ) -> StartOrder:
        self._say_card(phase="ready", program=program, step=step, report=None)
        self._waiting = True
        if self._node == 0:
            self._say_board(phase="waiting", program=program, go=None, action=None)
            self._wait(lambda: self._all("ready", program), check)
            go = make_order([self._cards[k].machine for k in range(self._nodes)])
            self._say_board(phase="go", go=self._with_table_aside(go, program))
        else:
            self._wait(
                lambda: self._over() or (self._board.program >= program and self._board.phase == "go"), check
            )
            if self._board.phase == "over" or self._board.go is None:
                raise RunFailed(self._end_reason())
            go = self._board.go
            if go.rank_table:
                go = go.model_copy(update={"rank_table": self._store.read(go.rank_table).decode()})
        self._waiting = False
        self._say_card(phase="running")
        return go

    def _with_table_aside(self, go: StartOrder, program: int) -> StartOrder:
        """The table of 8,192 ranks is a megabyte, and the board is read every second: the board names its object."""
        if not go.rank_table:
            return go
        key = f"{self._folder()}rank_table-{program}.json"
        self._store.put(key, go.rank_table.encode())
        return go.model_copy(update={"rank_table": key})

    def trouble(self) -> PeerStop | None:
        with self._changed:
            if self._node == 0:
                for node, card in self._cards.items():
                    report = card.report if card.phase == "ended" else None
                    if node and card.program == self._board.program and report is not None and not report.ok:
                        words = f"node {node} ({card.machine.host}) has ended"
                        return PeerStop(reason=words, saving=report.stop is not None)
            elif self._board.phase == "over":
                return PeerStop(reason=self._end_reason())
            elif self._board.phase == "decided" and self._board.program == self._card.program:
                orderly = self._board.action is not None and self._board.action.orderly
                return PeerStop(reason="node 0 has stopped the gang", saving=orderly)
            words = self._gone() or self._lost()
            return PeerStop(reason=words) if words else None

    def end(
        self, program: int, report: StepReport, decide: DecideNext, check: Callable[[], None]
    ) -> NextAction:
        self._waiting = True
        self._say_card(phase="ended", program=program, report=report)
        if self._node == 0:
            self._await_reports(program, report, check)
            action = decide(self._reports(program, report))
            self._say_board(phase="decided", action=action)
            self._flush()
            return action
        self._wait(lambda: self._decided(program), check)
        board = self._board
        if board.program > program:
            return NextAction(do="next")
        if board.phase == "decided" and board.action is not None:
            return board.action
        return NextAction(do="end", reason=self._end_reason())

    def fail(self, reason: str, *, cancelled: bool = False) -> None:
        decided = self._board.action if self._node == 0 and self._board.phase == "decided" else None
        if decided is not None and decided.do == "restart":
            self.enter(decided.attempt)  # where the others are going to wait
        self._say_card(phase="gone", reason=reason)
        if self._node == 0 and not self._over() and (decided is None or decided.do != "end"):
            stop = StopKind.CANCEL if cancelled else None
            action = NextAction(do="end", reason=reason, stop=stop)
            self._say_board(phase="over", action=action)
        self._flush()

    def leave(self) -> None:
        self._waiting = True
        self._say_card(phase="uploaded")
        self._flush()
        if self._node == 0:
            self._await_leaving()

    def over(self) -> None:
        if self._node == 0:
            self._say_board(phase="over")
        self._end.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._attempt:
            self._flush()

    # ---- waiting

    def _await_reports(self, program: int, own: StepReport, check: Callable[[], None]) -> None:
        """Until all have ended; a short while only, once one of them has failed: the rest waits for it in vain."""
        deadline = float("inf")
        while True:
            with self._changed:
                reports = self._reports(program, own)
                if len(reports) == self._nodes:
                    return
                if any(not report.ok for report in reports) or self._gone() or self._lost():
                    deadline = min(deadline, time.monotonic() + self._timing.report_s)
                if time.monotonic() > deadline:
                    return
                self._changed.wait(0.1)
            check()

    def _reports(self, program: int, own: StepReport) -> list[StepReport]:
        """Those that are here; a machine that is gone or lost has one, too."""
        found = [own]
        for node in range(1, self._nodes):
            card = self._cards.get(node)
            if card is not None and card.phase == "ended" and card.program == program and card.report:
                found.append(card.report)
        if trouble := self._gone() or self._lost():  # only its platform can start that node program again
            found.append(StepReport(ok=False, cause=Cause(words=trouble, rule="node-lost", restart=False)))
        return found

    def _await_leaving(self) -> None:
        """Machines that never came, or fell silent, are not waited for."""
        deadline = time.monotonic() + self._timing.leave_s
        while time.monotonic() < deadline:
            with self._changed:
                others = [card for node, card in self._cards.items() if node]
                if all(card.phase == "uploaded" for card in others) or self._lost():
                    return
                self._changed.wait(0.1)

    def _wait(self, condition: Callable[[], bool], check: Callable[[], None]) -> None:
        while True:
            with self._changed:
                if condition():
                    return
                if trouble := self._gone():
                    raise RunFailed(trouble)
                if trouble := self._lost() or self._absent():
                    raise NodeTrouble(trouble)
                self._changed.wait(0.2)
            check()

    def _all(self, phase: str, program: int) -> bool:
        cards = [card for card in self._cards.values() if card.phase == phase and card.program == program]
        return len(cards) == self._nodes

    def _over(self) -> bool:
        """Node 0 has ended the run; it may do so before it has begun the program that others wait for."""
        return self._board.phase == "over"

    def _decided(self, program: int) -> bool:
        board = self._board
        return (
            board.program > program
            or board.phase == "over"
            or (board.program == program and board.phase == "decided")
        )

    def _end_reason(self) -> str:
        action = self._board.action
        return action.reason if action and action.reason else "node 0 has ended the run"

    # ---- who is missing

    def _absent(self) -> str:
        """Names the machines that never came, once the time is over."""
        waited = time.monotonic() - self._begun
        if waited < self._timing.arrive_s or self._silent_store:
            return ""
        if self._node:
            return "" if self._seen else f"node 0 did not come within {show_duration(waited)}"
        missing = [k for k in range(self._nodes) if k not in self._cards]
        if not missing:
            return ""
        names = ", ".join(map(str, missing[:10])) + (" …" if len(missing) > 10 else "")
        return f"node{'s'[: len(missing) > 1]} {names} of {self._nodes} did not come within {show_duration(waited)}"

    def _gone(self) -> str:
        """A machine that said that it failed, on node 0."""
        for node, card in sorted(self._cards.items()):
            if node and card.reason:
                return f"node {node} ({card.machine.host}): {card.reason}"
        return ""

    def _lost(self) -> str:
        if self._silent_store:
            return ""
        now = time.monotonic()
        for node, at in sorted(self._seen.items()):
            if node != self._node and now - at > self._timing.lost_s:
                card = self._cards.get(node)
                if card is not None and card.phase == "uploaded":
                    continue
                host = f" ({card.machine.host})" if card else ""
                return f"node {node}{host} was not heard of for {show_duration(now - at)}"
        return ""

    # ---- the thread

    def _say_card(self, **values: object) -> None:
        with self._changed:
            self._card = self._card.model_copy(update=values)
            self._cards[self._node] = self._card
        self._wake.set()

    def _say_board(self, **values: object) -> None:
        with self._changed:
            self._board = self._board.model_copy(update=values)
        self._wake.set()

    def _flush(self) -> None:
        """What was said is in the store when this returns, or the store does not answer."""
        self._exchange()

    def _run(self) -> None:
        while not self._end.is_set():
            self._exchange()
            self._wake.wait(self._timing.eager_s if self._waiting else self._timing.poll_s)
            self._wake.clear()

    def _exchange(self) -> None:
        with self._io:
            self._exchange_once()

    def _exchange_once(self) -> None:
        try:
            self._write()
            self._read_cards() if self._node == 0 else self._read_board()
        except LauncherError as error:
            if not self._silent_store:
                log.warning("rendezvous: %s; waiting for the store", error)
            self._silent_store = True
            return
        with self._changed:
            if self._silent_store:
                log.info("rendezvous: the store answers again")
                now = time.monotonic()
                self._seen = dict.fromkeys(self._seen, now)
                self._begun = now if not self._seen else self._begun
            self._silent_store = False
            self._changed.notify_all()

    def _folder(self) -> str:
        return f"{FOLDER}attempt-{self._attempt}/"

    def _write(self) -> None:
        with self._changed:
            folder, card, board = self._folder(), self._card, self._board
        due = time.monotonic() - self._beaten >= self._timing.beat_s
        text = folder + card.model_dump_json() + (board.model_dump_json() if self._node == 0 else "")
        if text == self._written and not due:
            return
        now = time.time()
        if self._node == 0:
            self._put(folder + "leader.json", board.model_copy(update={"beat": now}))
        elif due:  # a listing shows that it changed; nobody has to read it
            self._store.put(f"{folder}beat-{self._node}", f"{now}\n".encode())
        if text != self._written:
            self._put(f"{folder}node-{self._node}.json", card)
        self._written = text
        self._beaten = time.monotonic() if due else self._beaten

    def _put(self, key: str, value: BaseModel) -> None:
        self._store.put(key, value.model_dump_json(indent=1).encode())

    def _read_cards(self) -> None:
        folder, attempt = self._folder(), self._attempt
        for info in self._store.list(folder):
            mark = (info.etag, info.mtime, info.size)
            if self._marks.get(info.key) == mark:
                continue
            match = _NAMES.fullmatch(info.key.removeprefix(folder))
            if match and match[1] == "beat-":
                with self._changed:
                    self._marks[info.key] = mark
                    if int(match[2]) in self._cards:
                        self._seen[int(match[2])] = time.monotonic()
            elif match and int(match[2]):
                self._read_card(info.key, mark, attempt)

    def _read_card(self, key: str, mark: tuple[str, float, int], attempt: int) -> None:
        try:
            card = NodeMessage.model_validate_json(self._store.read(key))
        except (ValidationError, NotFound):
            return
        with self._changed:
            if attempt != self._attempt:
                return
            self._marks[key] = mark
            if card.launch == self._launch and 0 < card.node < self._nodes:
                self._cards[card.node] = card
                self._seen[card.node] = time.monotonic()

    def _read_board(self) -> None:
        folder, attempt = self._folder(), self._attempt
        try:
            board = LeaderMessage.model_validate_json(self._store.read(folder + "leader.json"))
        except (ValidationError, NotFound):
            return
        with self._changed:
            if board.launch == self._launch and attempt == self._attempt:
                if board.beat != self._board.beat:
                    self._seen[0] = time.monotonic()
                self._board = board


def first_cause(reports: Sequence[StepReport]) -> StepReport:
    """The report that explains the others: what is no consequence goes first, then what came earliest."""
    failed = [report for report in reports if not report.ok]
    with_cause = [report for report in failed if report.cause is not None]
    if not with_cause:
        return failed[0]
    return min(with_cause, key=lambda r: (r.cause.consequence, r.cause.at) if r.cause else (True, 0.0))


__all__ = ["FOLDER", "Rendezvous", "Timing", "first_cause"]
