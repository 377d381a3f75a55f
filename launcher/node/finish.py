"""The end of a node program: tells the other machines, uploads everything, writes the final state, chooses the exit code."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from launcher.errors import StoreError
from launcher.node.context import NodeContext
from launcher.node.ending import AGAIN, RunEnd
from launcher.node.finalupload import LAST_WORD_S, FinalUpload, save_end
from launcher.node.messages import Machine
from launcher.node.notices import SEND_S
from launcher.node.stopping import SUPERSEDED, StopKind, StopRequest
from launcher.ranks.gang import TEMPORARY_FAILURE
from launcher.results.outputfiles import LeftOut
from launcher.runfolder.attempts import Superseded
from launcher.runfolder.states import EXIT_CODES, EndedBy, State, UnsafeResults

log = logging.getLogger("launcher.node")


def finish(context: NodeContext, end: RunEnd) -> int:
    """Upload everything of this run, then write how it ended. Blocks; returns the exit code."""
    succeeded = end.state is State.SUCCEEDED
    log.info("%s%s", "all programs ended well" if succeeded else "ending: ", end.words)
    if not succeeded:
        cancelled = end.state is State.CANCELLED
        context.peers.fail(end.words, cancelled=cancelled, failure=end.failure)
    context.peers.leave_steps()
    context.state.release_reserve()
    context.heartbeat.set(phase="uploading")
    context.state.note_phase("uploading")
    context.upload.stop()
    context.state.end_attempt(end)
    context.stopper.settle()
    context.tracking.end_files(end)
    try:
        end, interrupt = _upload_everything(context, end)
    except Superseded as error:
        context.upload.give_way(error.what)
        return finish_superseded(context)
    context.tracking.end_servers(end, *([LAST_WORD_S] if interrupt else []))
    context.heartbeat.set(phase="done" if end.state.terminal else "queued", last_error=end.words)
    context.heartbeat.stop()
    letters = context.notices.take_end(end)
    context.state.set_end(end)
    save_end(context, asked_again=interrupt is not None)
    context.peers.close()
    context.notices.send(letters, LAST_WORD_S if interrupt else SEND_S)
    context.board.end(last=interrupt is None)
    if not end.state.terminal and context.node == 0:
        _ask_for_another_start(context.state.value.exclude_hosts)
    return _exit_code(context, end.state)


def finish_superseded(context: NodeContext) -> int:
    """A later attempt has taken over: nothing is uploaded or written any more. Returns the exit code."""
    log.info("ending: %s", SUPERSEDED.words)
    context.upload.stop()
    context.heartbeat.stop()
    context.board.end(last=False)
    context.peers.close()
    return 0 if _only_leader_fails() else EXIT_CODES[State.FAILED]


def _upload_everything(context: NodeContext, end: RunEnd) -> tuple[RunEnd, StopRequest | None]:
    """The end after the last upload, and the request that interrupted it.

    A run whose results are not all in the store has not succeeded.
    """
    state, upload = end.state, FinalUpload(context, end.state, end.words)
    try:
        interrupt = upload.wait()
    except Superseded:
        raise
    except (StoreError, OSError) as error:
        state = State.FAILED if state.terminal else state
        return replace(_with_unsafe(context, end, str(error)), state=state), None
    if interrupt is None:
        unsafe = (*_of_others(context, upload.not_uploaded), *_left_out(context, upload.left_out))
        return replace(end, unsafe=unsafe, partly_searched=_partly_searched(context)), None
    if interrupt.kind is StopKind.CANCEL and state is not State.FAILED:
        end, state = replace(end, ended_by=EndedBy.USER), State.CANCELLED
    elif state.terminal:
        state = State.FAILED
    end = _with_unsafe(context, end, f"{interrupt.words} while they were uploaded")
    return replace(end, state=state), interrupt


def _with_unsafe(context: NodeContext, end: RunEnd, why: str) -> RunEnd:
    """The end, with the fact that some results are on this machine only."""
    unsafe = UnsafeResults(host=socket.gethostname(), folder=str(context.plan.run_dir.root), why=why)
    log.error("%s", unsafe.words())
    return replace(end, unsafe=(*end.unsafe, unsafe))


def _of_others(context: NodeContext, machines: Sequence[Machine]) -> tuple[UnsafeResults, ...]:
    """Results of machines that did not report their upload as complete."""
    folder, why = str(context.plan.run_dir.root), "it did not say that it has uploaded them"
    unsafe = tuple(UnsafeResults(host=machine.host, folder=folder, why=why) for machine in machines)
    for each in unsafe:
        log.error("%s", each.words())
    return unsafe


def _partly_searched(context: NodeContext) -> tuple[str, ...]:
    """Folders where a checkpoint may lie that nobody has seen."""
    places = context.collector.partly_searched
    for place in places:
        log.warning("%s has too many files: not all were looked at for checkpoints that the run wrote", place)
    return places


def _left_out(context: NodeContext, files: Sequence[LeftOut]) -> tuple[UnsafeResults, ...]:
    """Files that are results but stay on their machine, as one entry."""
    if not files:
        return ()
    names = "; ".join(f"{each.name} ({each.why})" for each in files[:5])
    more = f" and {len(files) - 5} more" if len(files) > 5 else ""
    folder = str(context.plan.run_dir.root)
    unsafe = UnsafeResults(host=socket.gethostname(), folder=folder, why=f"not uploaded: {names}{more}")
    log.error("%s", unsafe.words())
    return (unsafe,)


def _ask_for_another_start(exclude_hosts: Sequence[str]) -> None:
    """Ask the platform to start the run again, without these hosts."""
    with suppress(OSError):
        Path(os.environ[AGAIN]).write_text(",".join(exclude_hosts))


def _exit_code(context: NodeContext, final: State) -> int:
    if context.node != 0 and _only_leader_fails():
        return 0
    stopped = final is State.FAILED and context.stopper.request
    return TEMPORARY_FAILURE if stopped or not final.terminal else EXIT_CODES[final]


def _only_leader_fails() -> bool:
    """Whether only node 0 may exit with an error: some platforms kill a run for any node program that does."""
    return os.environ.get("LAUNCHER_EXIT") == "leader"
