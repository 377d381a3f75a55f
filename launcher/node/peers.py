"""What the node programs of one run say to each other, as values: JSON objects in the run's folder.

    rendezvous/attempt-<a>/node-<k>.json    a card: written by node k alone
    rendezvous/attempt-<a>/leader.json      the board: written by node 0 alone

A run on one machine needs neither; `SingleMachine` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from launcher.node.stopping import StopKind
from launcher.ranks.diagnose import Cause
from launcher.runfolder.states import FirstFailure

NodePhase = Literal["arriving", "ready", "running", "ended", "gone", "uploaded"]
LeaderPhase = Literal["waiting", "go", "decided", "over"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer launcher may have written more


class Machine(_Value):
    """A machine that takes part. `devices` are (physical id, address, SDID), empty without NPUs."""

    host: str
    address: str = ""
    devices: tuple[tuple[int, str, str], ...] = ()
    super_pod: str = ""


class StepReport(_Value):
    """How a program ended on one machine. `stop` and, in words, `stopped` are why it was stopped, when somebody asked for it."""

    ok: bool
    cause: Cause | None = None
    stopped: str = ""
    stop: StopKind | None = None


class StartOrder(_Value):
    """What node 0 lays down when everybody is ready. `step` is the checkpoint that all have to start from."""

    scheduler_host: str = "127.0.0.1"
    scheduler_port: int = 0
    rank_table: str = ""
    step: int | None = None


class NextAction(_Value):
    """What follows the end of a program, on all machines. `failure` is what it follows from; `stop`, who asked for the end."""

    do: Literal["next", "restart", "end"]
    reason: str = ""
    hint: str = ""
    failure: FirstFailure | None = None
    stop: StopKind | None = None
    attempt: int = 0
    pause_s: float = 0.0
    orderly: bool = False
    again: bool = False
    exclude_host: str = ""


class PeerStop(_Value):
    """Why a gang should stop for the sake of another machine. `saving`: all ranks are on their way to an orderly end."""

    reason: str
    saving: bool = False


class NodeMessage(_Value):
    """One machine. `program` is the place of a program in the plan; `launch` tells apart two starts of one attempt."""

    node: int
    launch: str = ""
    beat: float = 0.0
    phase: NodePhase = "arriving"
    program: int = -1
    machine: Machine
    step: int | None = None
    report: StepReport | None = None
    reason: str = ""


class LeaderMessage(_Value):
    """Node 0's word. Programs only go up, so a board that is further on implies `next` for the ones before."""

    launch: str = ""
    beat: float = 0.0
    phase: LeaderPhase = "waiting"
    program: int = -1
    go: StartOrder | None = None
    action: NextAction | None = None


DecideNext = Callable[[Sequence[StepReport]], NextAction]
"""From the reports of all machines to what follows; called on node 0."""

MakeStartOrder = Callable[[Sequence[Machine]], StartOrder]
"""From all machines, in node order, to the common start; called on node 0."""


class Peers(Protocol):
    """The other machines of a run. Waiting methods call `check` all the time, which may raise."""

    def enter(self, attempt: int) -> None:
        """This attempt begins."""

    def introduce(self, machine: Machine) -> None:
        """What this machine brings, once it is known; before the first `begin`."""

    def begin(
        self, program: int, step: int | None, make_order: MakeStartOrder, check: Callable[[], None]
    ) -> StartOrder:
        """Block until all machines are ready for a program. Raises RunFailed when one of them never is."""

    def trouble(self) -> PeerStop | None:
        """Why this machine should stop its ranks: another one has failed, or was lost. None when all is well."""

    def end(
        self, program: int, report: StepReport, decide: DecideNext, check: Callable[[], None]
    ) -> NextAction:
        """Tell how a program ended here; block until it is known what follows."""

    def fail(self, reason: str, *, cancelled: bool = False) -> None:
        """This machine gives up; the others need not wait for it."""

    def leave(self) -> None:
        """This machine has uploaded everything; node 0 blocks until the others have, too."""

    def over(self) -> None:
        """Node 0 has written the final state, or another node needs nothing any more."""


class SingleMachine:
    """A run on one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def enter(self, attempt: int) -> None:
        """Nobody to tell."""

    def introduce(self, machine: Machine) -> None:
        self.machine = machine

    def begin(
        self, program: int, step: int | None, make_order: MakeStartOrder, check: Callable[[], None]
    ) -> StartOrder:
        return make_order([self.machine])

    def trouble(self) -> PeerStop | None:
        return None

    def end(
        self, program: int, report: StepReport, decide: DecideNext, check: Callable[[], None]
    ) -> NextAction:
        return decide([report])

    def fail(self, reason: str, *, cancelled: bool = False) -> None:
        """Nobody to tell."""

    def leave(self) -> None:
        """Nobody to tell."""

    def over(self) -> None:
        """Nobody to tell."""
