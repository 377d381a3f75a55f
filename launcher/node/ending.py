"""How a run ends on this machine, as one value: made from the error or the request, written into the state."""

from __future__ import annotations

import errno
import logging
import os
import socket
import traceback
from dataclasses import dataclass

from launcher.disk import os_error
from launcher.errors import LauncherError, NodeTrouble, RunFailed
from launcher.node.messages import NextAction
from launcher.node.stopping import CANCEL, StopKind, StopRequest
from launcher.runfolder.states import EndedBy, FirstFailure, State, UnsafeResults, with_hint, with_unsafe
from launcher.threads import lacks_threads

log = logging.getLogger("launcher.node")

AGAIN = "LAUNCHER_AGAIN"
"""Names a file. A platform that sets it starts the run again when node 0 has written that file."""


class ProgramFailed(RunFailed):
    """A program of the plan did not end well on some machine, and is not started again."""

    def __init__(self, action: NextAction) -> None:
        super().__init__(action.reason, hint=action.hint)
        self.again = action.again
        self.failure = action.failure
        self.ended_by = action.stop.ended_by if action.stop else EndedBy.PROGRAM


class PeerFailed(RunFailed):
    """Another machine of the run failed outside of a step, and its message has the reason. `cancelled`: it was asked to."""

    def __init__(self, what: str, failure: FirstFailure, *, cancelled: bool = False) -> None:
        super().__init__(what)
        self.failure, self.cancelled = failure, cancelled


@dataclass(frozen=True, slots=True)
class RunEnd:
    """`state` QUEUED means that the platform starts the run again. `unsafe` are results that the store does not have."""

    state: State
    reason: str = ""
    hint: str = ""
    ended_by: EndedBy = EndedBy.PROGRAM
    failure: FirstFailure | None = None
    unsafe: tuple[UnsafeResults, ...] = ()
    partly_searched: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Reason, unsafe results and hint, for people."""
        return with_hint(with_unsafe(self.reason, self.unsafe), self.hint)


def end_of_request(request: StopRequest, node: int) -> RunEnd:
    """The end of a run because somebody asked this node program to stop."""
    if request.kind is StopKind.CANCEL:
        return RunEnd(State.CANCELLED, request.words, ended_by=EndedBy.USER)
    failure = FirstFailure(node=node, host=socket.gethostname(), rule=request.kind.rule)
    state = _failed_unless_restarted(request.kind is StopKind.PLATFORM)
    return RunEnd(state, request.words, ended_by=request.kind.ended_by, failure=failure)


def end_of_error(error: Exception, node: int) -> RunEnd:
    """The end of a run by an error of this node program. Anything but a LauncherError goes to the log with its traceback."""
    host = socket.gethostname()
    failure = FirstFailure(node=node, host=host)
    if isinstance(error, ProgramFailed):
        state = _failed_unless_restarted(error.again)
        return RunEnd(state, error.headline, error.hint, error.ended_by, error.failure)
    if isinstance(error, PeerFailed) and error.cancelled:
        return end_of_request(CANCEL, node)
    if isinstance(error, PeerFailed):
        return RunEnd(State.FAILED, error.headline, "", EndedBy.LAUNCHER, error.failure)
    if isinstance(error, LauncherError):
        state = _failed_unless_restarted(isinstance(error, NodeTrouble))
        failure = failure.model_copy(update={"rule": error.rule})
        return RunEnd(state, error.headline, error.hint, EndedBy.LAUNCHER, failure)
    log.error("%s", traceback.format_exc())
    if isinstance(
        limit := lacks_threads(error) or error, OSError
    ):  # a full or broken disk, a limit of this machine
        full = limit.errno in (errno.ENOSPC, errno.EDQUOT)
        failure = failure.model_copy(update={"rule": "disk-full" if full else ""})
        where = f" ({limit.filename})" if limit.filename else ""
        reason = f"{host}: {limit.strerror or limit}{where}"
        return RunEnd(State.FAILED, reason, os_error(limit, where).hint, EndedBy.LAUNCHER, failure)
    reason = f"defect in launcher: {type(error).__name__}: {error}"
    return RunEnd(State.FAILED, reason, "", EndedBy.LAUNCHER, failure)


def _failed_unless_restarted(restart_helps: bool) -> State:
    """FAILED, or QUEUED where the platform will start the run again and another start may help."""
    return State.QUEUED if restart_helps and os.environ.get(AGAIN) else State.FAILED
