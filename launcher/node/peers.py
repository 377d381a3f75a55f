"""The other machines of a run, as the node program sees them: one protocol, and its trivial case of one machine.

`launcher.node.rendezvous` implements it for several machines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from launcher.node.messages import Machine, NextAction, StartOrder, StepReport
from launcher.runfolder.states import FirstFailure

MakeStartOrder = Callable[[Sequence[Machine]], StartOrder]
"""Makes the common start from all machines, in node order; called on node 0."""

DecideNext = Callable[[Sequence[StepReport]], NextAction]
"""Decides from the reports of all machines what follows; called on node 0."""

Check = Callable[[], None]
"""Called repeatedly during a wait; it raises to end the wait."""


@dataclass(frozen=True, slots=True)
class PeerStop:
    """Why this machine stops its ranks because of another one. `saving`: the other ranks save a checkpoint, too."""

    reason: str
    saving: bool = False


class Peers(Protocol):
    """The other machines of a run. Made and used by the main thread."""

    def enter_attempt(self, attempt: int) -> None:
        """Drop the messages of the attempt before, and take part in this one."""

    def introduce(self, machine: Machine) -> None:
        """Publish the devices of this machine; before the first `begin_step`."""

    def begin_step(self, step_index: int, make_order: MakeStartOrder, check: Check) -> StartOrder:
        """Block until all machines are ready for a step. Raises RunFailed when one of them never is."""

    def peer_stop(self) -> PeerStop | None:
        """Why this machine should stop its ranks: another one has failed, or is lost. None: all is well."""

    def end_step(self, step_index: int, report: StepReport, decide: DecideNext, check: Check) -> NextAction:
        """Report how a step ended here, and block until node 0 has decided what follows."""

    def fail(self, reason: str, *, cancelled: bool = False, failure: FirstFailure | None = None) -> None:
        """Report to the others that this machine has failed. Safe after the end of the run has been decided."""

    def leave_steps(self) -> None:
        """What node 0 decides from now on does not matter to this machine, so it is no longer asked for."""

    def finish_uploads(self) -> Sequence[Machine]:
        """Tell that this machine has uploaded everything. Node 0 blocks until the others have, too.

        Returns, on node 0, the machines that have not: they did not report it in time, or are lost.
        """

    def close(self) -> None:
        """End the exchange of messages: the final state is written."""


class SingleMachine:
    """A run on one machine: there is no other one to wait for or to report to."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def enter_attempt(self, attempt: int) -> None:
        pass

    def introduce(self, machine: Machine) -> None:
        self.machine = machine

    def begin_step(self, step_index: int, make_order: MakeStartOrder, check: Check) -> StartOrder:
        return make_order([self.machine])

    def peer_stop(self) -> PeerStop | None:
        return None

    def end_step(self, step_index: int, report: StepReport, decide: DecideNext, check: Check) -> NextAction:
        return decide([report])

    def fail(self, reason: str, *, cancelled: bool = False, failure: FirstFailure | None = None) -> None:
        pass

    def leave_steps(self) -> None:
        pass

    def finish_uploads(self) -> Sequence[Machine]:
        return ()

    def close(self) -> None:
        pass
