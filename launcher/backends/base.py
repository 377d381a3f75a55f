"""The protocol of back ends: describe the machines, render a request (pure), send it, and later report on the run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from launcher.findings import Finding
    from launcher.jobfile.spec import JobSpec
    from launcher.plan.machines import Machines
    from launcher.plan.model import Plan
    from launcher.ranktable.generate import NodeAddress
    from launcher.ranktable.sources import Choice


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Handle(Frozen):
    """What a back end needs to find a submitted run again; kept in the index of runs."""

    backend: str
    host: str = ""
    data: dict[str, Any] = {}


class Life(Frozen):
    """What a back end knows of a run: `alive` is None when it can't tell from here.

    `waiting`: it is alive but has no machine yet, or has lost it. `cancelled`: it was ended without launcher.
    `forgotten`: the platform has no record of it, which is no proof of its end while the run itself is still heard of.
    `cause`: the first failure, as the platform knows it. `phase`: what the platform does before the run reports a phase.
    `rule`: id of the kind of its end, as in advice.yaml, where the platform names one.
    """

    alive: bool | None
    detail: str = ""
    waiting: bool = False
    cancelled: bool = False
    forgotten: bool = False
    cause: str = ""
    rule: str = ""
    phase: str = ""


class Console(Frozen):
    """Lines that one container printed, and where the next call continues. `cleared`: the platform has none, and will have none."""

    lines: tuple[str, ...]
    after: str
    cleared: bool = False


class Backend(ABC):
    """A platform. No method reads the run's folder in the store; that is done in one place for all back ends."""

    runs_elsewhere: ClassVar[bool] = False
    """Runs are on other machines, so this one keeps no copy of their folders."""
    shares_files: ClassVar[bool] = True
    """The machines of a run see the paths and `file:` URLs of this machine."""
    starts_again: ClassVar[bool] = False
    """The platform starts a failed run again by itself: the run has failed only when the platform says so, too."""

    @abstractmethod
    def machines(self, spec: JobSpec, env: Mapping[str, str], cwd: Path) -> Machines:
        """What a plan must know of the machines. Pure. `env` and `cwd` are those of the person who submits."""

    @abstractmethod
    def render(self, plan: Plan, attempt: int) -> str:
        """The literal request that `submit` sends. Pure."""

    @abstractmethod
    def submit(self, plan: Plan, attempt: int) -> Handle:
        """Start the node programs. Not safe to repeat. Raises BackendError, with nothing left behind."""

    @abstractmethod
    def poll(self, handles: Sequence[Handle]) -> Sequence[Life]:
        """One answer per handle, with one call to the platform for all. Safe to repeat."""

    @abstractmethod
    def cancel(self, handle: Handle) -> None:
        """Ask the node programs to stop, with a checkpoint. Does not wait. Safe to repeat."""

    def rules(self, plan: Plan) -> Sequence[Finding]:
        """Findings on the plan that need no answer from the platform. Pure."""
        return ()

    def check(self, plan: Plan) -> Sequence[Finding]:
        """Findings that need answers from the platform. A platform that does not answer is a finding, too."""
        return ()

    def look(self, plan: Plan) -> Sequence[Finding]:
        """What the platform offers for the job: more questions than a submission asks, before anything is paid for. Changes nothing."""
        return ()

    def doctor_checks(self) -> Sequence[Finding]:
        """Whether this machine can use the platform at all."""
        return ()

    def keep_code(self, plan: Plan) -> Plan:
        """The plan of a run whose own code folders now lie in the store, for all its attempts. Safe to repeat. Raises PlanError, StoreError."""
        return plan

    def job_id(self, handle: Handle) -> str:
        """The platform's name of a run that others can wait for; empty where there are no such conditions."""
        return ""


@runtime_checkable
class ManyAtOnce(Protocol):
    """A back end that can start the runs of a sweep with one request."""

    def render_all(self, plans: Sequence[Plan]) -> str:
        """The literal request that `submit_all` sends. Pure."""

    def submit_all(self, plans: Sequence[Plan]) -> Sequence[Handle]:
        """One handle per plan, in order. Raises BackendError, with none of them started."""


@runtime_checkable
class Ends(Protocol):
    """A back end that can end a job from outside, for a second cancel of a run that does not stop."""

    def terminate(self, handle: Handle) -> None:
        """End the job from outside, without a checkpoint. Does not wait. Safe to repeat."""


@runtime_checkable
class Finds(Protocol):
    """A back end that finds the job of a run by the run's id, also from machines that did not submit it."""

    def find(self, plan: Plan, *, trusted: bool) -> Handle | None:
        """The newest job of the run. None when there is none. Raises LauncherError, also for missing credentials.

        A plan that is not `trusted` may name no address that credentials are sent to.
        """


@runtime_checkable
class Allocates(Protocol):
    """A back end whose machines a person can reserve without a run (an allocation), and reach all of them from a shell."""

    def allocated(self, chip: str, choice: Choice, super_pod: str = "") -> Sequence[NodeAddress]:
        """The machines of the allocation that this process is in. Raises UsageError outside of one, BackendError."""


@runtime_checkable
class Opens(Protocol):
    """A back end whose machines people may log in to while a run is on them."""

    def address(self, handle: Handle, node: int) -> str:
        """`ssh://user@host:port` of one machine. Raises BackendError where there is none, with what to do."""


@runtime_checkable
class Changes(Protocol):
    """A back end that can change a job that waits or runs."""

    def change(self, handle: Handle, *, priority: int | None, preemptible: bool | None) -> None:
        """Change what is not None. Safe to repeat. Raises BackendError."""


@runtime_checkable
class Platform(Protocol):
    """A back end whose platform keeps jobs, logs and a history of its own."""

    def console(self, handle: Handle, node: int, after: str) -> Console:
        """New lines of what the program on one machine printed, from where the last call ended; `after` is empty at first."""

    def kept_console(self, handle: Handle, node: int) -> str:
        """Pattern of the files in the run's folder that hold the same output, for when the platform has it no more."""

    def story(self, handle: Handle) -> tuple[str, ...]:
        """What the platform did to the job, as sentences for people."""

    def terminate(self, handle: Handle) -> None:
        """End the job from outside, without a checkpoint. Does not wait. Safe to repeat."""

    def delete(self, handle: Handle) -> None:
        """Remove the platform's record of a job that has ended. Raises BackendError while it lives. Safe to repeat."""
