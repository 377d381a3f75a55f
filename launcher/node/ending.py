"""How a run ends on this machine, as one value: from what was raised to what is written into its state."""

from __future__ import annotations

import errno
import logging
import socket
import traceback
from dataclasses import dataclass

from launcher.errors import LauncherError, RunFailed
from launcher.node.messages import NextAction
from launcher.runfolder.states import EndedBy, FirstFailure, State, UnsafeResults, with_hint, with_unsafe

log = logging.getLogger("launcher.node")


class ProgramFailed(RunFailed):
    """A program of the plan did not end well on some machine, and is not started again."""

    def __init__(self, action: NextAction) -> None:
        super().__init__(action.reason, hint=action.hint)
        self.again = action.again
        self.failure = action.failure
        self.ended_by = action.stop.ended_by if action.stop else EndedBy.PROGRAM


@dataclass(frozen=True, slots=True)
class RunEnd:
    """`state` QUEUED means that the platform starts the run again. `unsafe` are results that the store does not have."""

    state: State
    reason: str = ""
    hint: str = ""
    ended_by: EndedBy = EndedBy.PROGRAM
    failure: FirstFailure | None = None
    unsafe: tuple[UnsafeResults, ...] = ()

    @property
    def words(self) -> str:
        """All of it for people."""
        return with_hint(with_unsafe(self.reason, self.unsafe), self.hint)


def end_of_error(error: Exception, node: int) -> RunEnd:
    """The end of a run by an error of this node program. Anything but a LauncherError goes to the log with its traceback."""
    host = socket.gethostname()
    failure = FirstFailure(node=node, host=host)
    if isinstance(error, ProgramFailed):
        return RunEnd(State.FAILED, error.headline, error.hint, error.ended_by, error.failure)
    if isinstance(error, LauncherError):
        failure = failure.model_copy(update={"rule": error.rule})
        return RunEnd(State.FAILED, error.headline, error.hint, EndedBy.LAUNCHER, failure)
    log.error("%s", traceback.format_exc())
    if isinstance(error, OSError):  # a full or broken disk, a limit of this machine
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        failure = failure.model_copy(update={"rule": "disk-full" if full else ""})
        where = f" ({error.filename})" if error.filename else ""
        reason = f"{host}: {error.strerror or error}{where}"
        return RunEnd(State.FAILED, reason, "", EndedBy.LAUNCHER, failure)
    reason = f"defect in launcher: {type(error).__name__}: {error}"
    return RunEnd(State.FAILED, reason, "", EndedBy.LAUNCHER, failure)
