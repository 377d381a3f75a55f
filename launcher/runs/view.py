"""One answer to "how is this run": what the run wrote and what its platform says, put together.

    records of the run (state.json, heartbeats)  +  Life (the platform's answer)  ->  state  ->  RunView

`records` reads the files, `judge` decides, and here the two questions are asked: for one run, or for many at once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from pydantic import BaseModel, ConfigDict

from launcher.backends import get_backend, starts_again
from launcher.backends.base import Life
from launcher.errors import LauncherError, StoreError
from launcher.runfolder.progress import Progress
from launcher.runfolder.states import (
    Attempt,
    EndedBy,
    FirstFailure,
    NodeStatus,
    PhaseStart,
    RunState,
    Staging,
    State,
    UnsafeResults,
    safe_checkpoint,
    with_hint,
)
from launcher.runs import judge
from launcher.runs.adopt import adopted
from launcher.runs.index import Index, RunEntry
from launcher.runs.records import (
    Records,
    cancel_requested,
    local_nodes,
    read_records,
    stored_state,
    without_state,
)
from launcher.threads import Workers

PATIENCE_S = 6.0
READERS = 8
NOT_ASKED = Life(alive=None)


class RunView(BaseModel):
    """What `launcher status --json` prints. `reason` has the hint, `headline` has not."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    name: str
    group: str = ""
    labels: dict[str, str] = {}
    backend: str
    state: State
    phase: str
    phase_since: float | None = None
    detail: str = ""
    staging: Staging | None = None
    platform: str = ""
    attempt: int
    reason: str
    headline: str = ""
    hint: str = ""
    ended_by: EndedBy | None = None
    first_failure: FirstFailure | None = None
    unsafe: tuple[UnsafeResults, ...] | None = None
    partly_searched: tuple[str, ...] = ()
    progress: Progress
    results: dict[str, float] = {}
    safe_step: int | None = None
    safe_file: str = ""
    submitted_at: float
    ended_at: float | None = None
    updated_at: float | None = None
    attempts: tuple[Attempt, ...] = ()
    phase_times: tuple[PhaseStart, ...] = ()
    nodes: tuple[NodeStatus, ...] = ()
    url: str

    @property
    def safe(self) -> str:
        """The newest checkpoint in the store, for people; empty when there is none."""
        return safe_checkpoint(self.safe_step, self.safe_file)


def view_of(entry: RunEntry, index: Index | None = None) -> RunView:
    """Reads the run's directory on this machine, or else its folder in the store. Raises StoreError.

    A final state is written into `index`, so that the next call needs no store.
    """
    known = entry.final is not None
    records = Records(entry.final) if entry.final is not None else read_records(entry, PATIENCE_S)
    if records.state.state.terminal and (entry.handle or known) and _resumed_elsewhere(entry, records.state):
        other = entry.model_copy(update={"final": None, "handle": None})
        return _settle(other, read_records(other, PATIENCE_S, here=False), NOT_ASKED, None)
    if known:
        return _view_of_known_end(entry, records.state)
    life = NOT_ASKED
    if entry.handle is None and records.state.state is not State.SUCCEEDED:
        entry, why = adopted(entry)
        life, index = Life(alive=None, detail=why), None  # a look at the run of another machine is not kept
    if entry.handle and not _is_final(entry, records.state):
        life = _poll([entry]).get(entry.run_id, life)
    return _settle(entry, records, life, index)


def views(entries: Sequence[RunEntry], index: Index) -> list[RunView]:
    """One view per entry, with one call to each platform for all its runs, and several stores asked at once.

    A store or a platform that does not answer makes its runs UNKNOWN instead of failing the list.
    """
    unended = [entry for entry in entries if entry.final is None]
    with Workers(max(1, min(READERS, len(unended)))) as pool:
        records = dict(zip((entry.run_id for entry in unended), pool.map(_try_read, unended), strict=True))
    lives = _poll([entry for entry in unended if not _is_final(entry, records[entry.run_id].state)])
    return [
        _view_of_known_end(entry, entry.final)
        if entry.final is not None
        else _settle(entry, records[entry.run_id], lives.get(entry.run_id, NOT_ASKED), index)
        for entry in entries
    ]


def _try_read(entry: RunEntry) -> Records:
    try:
        return read_records(entry, PATIENCE_S)
    except StoreError as error:
        return Records(without_state(entry, str(error)))


def _poll(entries: Sequence[RunEntry]) -> dict[str, Life]:
    """The platforms' answers on runs that have not ended, by run id."""
    lives: dict[str, Life] = {}
    for backend in dict.fromkeys(entry.backend for entry in entries):
        handles = [
            (entry.run_id, entry.handle) for entry in entries if entry.backend == backend and entry.handle
        ]
        if not handles:
            continue
        try:
            answers = get_backend(backend).poll([handle for _, handle in handles])
        except LauncherError as error:  # also credentials that this machine does not have
            answers = [Life(alive=None, detail=error.what)] * len(handles)
        lives |= {run_id: life for (run_id, _), life in zip(handles, answers, strict=True)}
    return lives


def _is_final(entry: RunEntry, state: RunState) -> bool:
    """Whether the run's own word is enough. A platform may start again what has failed, and says so itself."""
    may_restart = entry.handle is not None and entry.final is None and starts_again(entry.backend)
    return state.state is State.SUCCEEDED or (state.state.terminal and not may_restart)


def _resumed_elsewhere(entry: RunEntry, known: RunState) -> bool:
    """Whether the store has a later attempt than this machine knows of: somebody resumed the run from another one."""
    state = stored_state(entry)
    return state is not None and state.attempt > known.attempt


def _settle(entry: RunEntry, records: Records, life: Life, index: Index | None) -> RunView:
    """One state from the records and the platform's answer; an end is kept in `index`."""
    state, final = records.state, _is_final(entry, records.state)
    if life.alive and life.waiting:
        return _view(entry, Records(judge.without_machine(state, time.time())), life, detail=life.detail)
    if life.alive and not final:
        return _view(entry, Records(judge.alive(state), records.nodes), life)
    if life.alive is None and state.state.terminal and not final:
        return _view(entry, Records(judge.perhaps_again(state, life), records.nodes), life)
    if life.alive is False:
        state = _newest_word(entry, state, life)
    if state.state.terminal:
        if index is not None and entry.handle is not None:
            index.keep_end(entry, state, records.nodes)
    elif life.alive is False:
        requested = cancel_requested(entry)
        silent_s = records.silent_s() if life.forgotten else None
        state = judge.gone(state, life, cancel_requested=requested, silent_s=silent_s)
    elif state.state is not State.UNKNOWN:
        state = judge.silent(state, life, records.silent_s())
    return _view(entry, Records(state, records.nodes), life)


def _newest_word(entry: RunEntry, state: RunState, life: Life) -> RunState:
    """What a run that has ended wrote last: it may have done so after `state` was read."""
    with suppress(StoreError):
        newest = read_records(entry, PATIENCE_S).state
        state = newest if newest.state is not State.UNKNOWN else state
    state = judge.with_platform(state, life)
    if state.state.terminal:
        return state
    stored = stored_state(
        entry
    )  # a node program whose disk was full could say how it ended only in the store
    if stored is None or not stored.state.terminal or stored.attempt < state.attempt:
        return state
    return stored


def _view_of_known_end(entry: RunEntry, final: RunState) -> RunView:
    return _view(entry, Records(final, entry.final_nodes or local_nodes(entry)), NOT_ASKED)


def _view(entry: RunEntry, records: Records, life: Life, *, detail: str = "") -> RunView:
    state, first = records.state, records.nodes[0] if records.nodes else None
    live = first if first and not state.state.terminal else None
    headline = judge.headline(state)
    return RunView(
        run_id=state.run_id,
        name=state.name,
        group=entry.group,
        labels=entry.labels,
        backend=state.backend,
        state=state.state,
        phase=_phase(state, live, life),
        phase_since=live.phase_since if live else None,
        detail=live.detail if live else detail,
        staging=live.staging if live else None,
        platform=life.detail if not state.state.terminal else "",
        attempt=state.attempt,
        reason=with_hint(headline, state.hint),
        headline=headline,
        hint=state.hint,
        ended_by=state.ended_by,
        first_failure=state.first_failure,
        unsafe=state.unsafe,
        partly_searched=state.partly_searched,
        progress=first.progress if first else Progress(),
        results=state.results,
        safe_step=state.safe_step,
        safe_file=state.safe_file,
        submitted_at=state.submitted_at,
        ended_at=state.ended_at,
        updated_at=records.heard_at,
        attempts=state.attempts,
        phase_times=state.phase_times,
        nodes=_ended(records.nodes) if state.state.terminal else records.nodes,
        url=entry.store.url,
    )


def _ended(nodes: Sequence[NodeStatus]) -> tuple[NodeStatus, ...]:
    """The machines of a run that has ended: whatever its ranks last said, they have ended, too."""
    return tuple(
        node.model_copy(
            update={"ranks": tuple(rank.model_copy(update={"phase": "ended"}) for rank in node.ranks)}
        )
        for node in nodes
    )


def _phase(state: RunState, live: NodeStatus | None, life: Life) -> str:
    """The heartbeat's phase while the run lives, else the platform's or the state's own."""
    phase = live.phase if live else ("done" if state.state is State.SUCCEEDED else state.phase)
    if not phase and not state.state.terminal:
        phase = life.phase
    return phase or ("queued" if state.state in (State.PENDING, State.QUEUED) else "")
