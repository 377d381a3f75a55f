"""What a back end is: render a request (pure), send it, and later answer for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from launcher.findings import Finding
    from launcher.plan.model import Plan


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Handle(Frozen):
    """What a back end needs to find a submitted run again; kept in the index of runs."""

    backend: str
    host: str = ""
    data: dict[str, Any] = {}


class Life(Frozen):
    """What a back end knows of a run: `alive` is None when it can't tell from here.

    `waiting`: it is alive but has no machine yet, or none any more. `cancelled`: somebody ended it, past us.
    `forgotten`: the platform has no record of it, which is no proof of its end while it still says something.
    `cause`: what the platform was told to be the first failure. `phase`: what the platform does, before the run itself speaks.
    """

    alive: bool | None
    detail: str = ""
    waiting: bool = False
    cancelled: bool = False
    forgotten: bool = False
    cause: str = ""
    phase: str = ""


class Console(Frozen):
    """Lines that one container printed, and where to go on."""

    lines: tuple[str, ...]
    after: str


class Backend(Protocol):
    """A platform. No method reads the run's folder in the store; that is done in one place for all back ends."""

    def check(self, plan: Plan) -> Sequence[Finding]:
        """Findings on whether this back end, from this machine, can run the plan."""

    def render(self, plan: Plan, attempt: int) -> str:
        """The literal request that `submit` sends. Pure."""

    def submit(self, plan: Plan, attempt: int) -> Handle:
        """Start the node programs. Not safe to repeat. Raises BackendError, with nothing left behind."""

    def poll(self, handles: Sequence[Handle]) -> Sequence[Life]:
        """One answer per handle, with one call to the platform for all. Safe to repeat."""

    def cancel(self, handle: Handle) -> None:
        """Ask the node programs to stop, with a checkpoint. Does not wait. Safe to repeat."""


@runtime_checkable
class ManyAtOnce(Protocol):
    """A back end that can start the runs of a sweep with one request."""

    def render_all(self, plans: Sequence[Plan]) -> str:
        """The literal request that `submit_all` sends. Pure."""

    def submit_all(self, plans: Sequence[Plan]) -> Sequence[Handle]:
        """One handle per plan, in order. Raises BackendError, with none of them started."""


@runtime_checkable
class Ends(Protocol):
    """A back end that can end a run without its help, when somebody asks for its end a second time."""

    def terminate(self, handle: Handle) -> None:
        """End the job from outside, without a checkpoint. Does not wait. Safe to repeat."""


@runtime_checkable
class Finds(Protocol):
    """A back end whose platform can be asked for a run by its id: so from machines that did not submit it."""

    def find(self, plan: Plan) -> Handle | None:
        """The newest job of the run. None when there is none. Raises LauncherError, also for missing credentials."""


@runtime_checkable
class Platform(Protocol):
    """What a back end has besides, when its platform keeps jobs, logs and a history of its own."""

    def console(self, handle: Handle, node: int, after: str) -> Console:
        """New lines of what the program on one machine printed, from where the last call ended; `after` is empty at first."""

    def story(self, handle: Handle) -> tuple[str, ...]:
        """What the platform did to the job, in sentences."""

    def terminate(self, handle: Handle) -> None:
        """End the job from outside, without a checkpoint. Does not wait. Safe to repeat."""

    def delete(self, handle: Handle) -> None:
        """Remove the platform's record of a job that has ended. Raises BackendError while it lives. Safe to repeat."""
