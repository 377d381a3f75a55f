"""One answer to "how is this run": the run's folder, the back end's word and the age of the heartbeat put together."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from pydantic import BaseModel, ConfigDict, ValidationError

from launcher.backends import get_backend, starts_again
from launcher.backends.base import Life
from launcher.errors import LauncherError, NotFound, StoreError
from launcher.runfolder import paths
from launcher.runfolder.progress import Progress
from launcher.runfolder.states import Attempt, NodeStatus, RunState, State
from launcher.runs.adopt import adopted
from launcher.runs.index import Index, RunEntry
from launcher.units import show_duration

PATIENCE_S = 6.0
GLANCE_S = 2.0
"""For a question whose answer is most likely known."""
READERS = 8
SILENCE_S = 90.0
"""A node program writes at least every 10 s; one that was not heard of for longer than this may be gone."""


class RunView(BaseModel):
    """What `launcher status --json` prints."""

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
    platform: str = ""
    attempt: int
    reason: str
    progress: Progress
    results: dict[str, float] = {}
    safe_step: int | None = None
    submitted_at: float
    ended_at: float | None = None
    updated_at: float | None = None
    attempts: tuple[Attempt, ...] = ()
    nodes: tuple[NodeStatus, ...] = ()
    url: str


def view_of(entry: RunEntry, index: Index | None = None) -> RunView:
    """Reads the run's directory on this machine, or else its folder in the store. Raises StoreError.

    A final state is written into `index`, so that the next call needs no store.
    """
    state, nodes = (entry.final, ()) if entry.final is not None else _look(entry)
    if state.state.terminal and (entry.handle or entry.final) and _resumed_elsewhere(entry, state):
        return _view_of_the_other(entry.model_copy(update={"final": None, "handle": None}))
    if entry.final is not None:
        return _known(entry, entry.final)
    life = Life(alive=None)
    if entry.handle is None and state.state is not State.SUCCEEDED:
        entry, why = adopted(entry)
        life, index = Life(alive=None, detail=why), None  # a look at the run of another machine is not kept
    if entry.handle and not _is_final(entry, state):
        life = _poll([entry]).get(entry.run_id, life)
    return _settle(entry, state, nodes, life, index)


def _is_final(entry: RunEntry, state: RunState) -> bool:
    """Whether the run's own word is enough. A platform may start again what has failed, and says so itself."""
    again = entry.handle is not None and entry.final is None and starts_again(entry.backend)
    return state.state is State.SUCCEEDED or (state.state.terminal and not again)


def _view_of_the_other(entry: RunEntry) -> RunView:
    """What the store says of a run that another machine resumed: what lies here is of an attempt before that."""
    state, nodes = _look(entry, here=False)
    return _settle(entry, state, nodes, Life(alive=None), None)


def _resumed_elsewhere(entry: RunEntry, known: RunState) -> bool:
    """Whether the store has a later attempt than this machine knows of: somebody resumed the run from another one."""
    state = _stored_state(entry)
    return state is not None and state.attempt > known.attempt


def _stored_state(entry: RunEntry) -> RunState | None:
    """The state in the store; None when there is none, or no quick answer."""
    try:
        return _parse_state(entry.store.open(GLANCE_S).read(paths.STATE))
    except StoreError:
        return None


def views(entries: Sequence[RunEntry], index: Index) -> list[RunView]:
    """One view per entry, with one call to each platform for all its runs, and several stores asked at once.

    A store or a platform that does not answer makes its runs UNKNOWN instead of failing the list.
    """
    asked = [entry for entry in entries if entry.final is None]
    with ThreadPoolExecutor(max(1, min(READERS, len(asked)))) as pool:
        looks = dict(zip((entry.run_id for entry in asked), pool.map(_try_look, asked), strict=True))
    lives = _poll([entry for entry in asked if not _is_final(entry, looks[entry.run_id][0])])
    return [
        _known(entry, entry.final)
        if entry.final is not None
        else _settle(entry, *looks[entry.run_id], lives.get(entry.run_id, Life(alive=None)), index)
        for entry in entries
    ]


def _poll(entries: Sequence[RunEntry]) -> dict[str, Life]:
    """What the platforms say of runs that have not ended, by run id."""
    lives: dict[str, Life] = {}
    for backend in dict.fromkeys(entry.backend for entry in entries):
        asked = [
            (entry.run_id, entry.handle) for entry in entries if entry.backend == backend and entry.handle
        ]
        if not asked:
            continue
        try:
            answers = get_backend(backend).poll([handle for _, handle in asked])
        except LauncherError as error:  # also credentials that this machine does not have
            answers = [Life(alive=None, detail=error.what)] * len(asked)
        lives |= {run_id: life for (run_id, _), life in zip(asked, answers, strict=True)}
    return lives


def _look(entry: RunEntry, *, here: bool = True) -> tuple[RunState, tuple[NodeStatus, ...]]:
    state, nodes = _read(entry, here=here)
    return state or _unheard(entry), nodes


def _try_look(entry: RunEntry) -> tuple[RunState, tuple[NodeStatus, ...]]:
    try:
        return _look(entry)
    except StoreError as error:
        return _unheard(entry).model_copy(update={"reason": str(error)}), ()


def _known(entry: RunEntry, final: RunState) -> RunView:
    return _view(entry, final, entry.final_nodes or _local_nodes(entry))


def _settle(
    entry: RunEntry, state: RunState, nodes: tuple[NodeStatus, ...], life: Life, index: Index | None
) -> RunView:
    """Put the run's own word and the platform's together."""
    if life.alive and life.waiting:
        return _view(entry, _waiting(state, life), (), life).model_copy(update={"detail": life.detail})
    if life.alive and not _is_final(entry, state):
        if state.state.terminal:  # the platform is about to end it, or to start it again
            state = state.model_copy(update={"state": State.RUNNING, "ended_at": None, "reason": ""})
        return _view(entry, state, nodes, life)
    if life.alive is None and state.state.terminal and not _is_final(entry, state):
        reason = (
            f"it said {state.state}: {state.reason}; whether it is started again is not known: {life.detail}"
        )
        return _view(entry, state.model_copy(update={"state": State.UNKNOWN, "reason": reason}), nodes, life)
    if life.alive is False:
        with suppress(StoreError):  # it may have ended between the two looks
            state = _read(entry)[0] or state
        state = _with_platform(state, life)
    if not state.state.terminal and life.alive is False:
        state = _stored_end(entry, state)
    if not state.state.terminal:
        state = (
            state
            if state.state is State.UNKNOWN and life.alive is None
            else _judge(entry, state, nodes, life)
        )
    elif index is not None and entry.handle is not None:
        index.put(entry.model_copy(update={"final": state, "final_nodes": nodes}))
    return _view(entry, state, nodes, life)


def _waiting(state: RunState, life: Life) -> RunState:
    """No machine has it, or none any more: what was said of the last one is history."""
    changes = {"state": State.PENDING, "phase": "queued", "reason": "", "ended_at": None}
    return state.model_copy(update={**changes, "updated_at": time.time()})


def _with_platform(state: RunState, life: Life) -> RunState:
    """What the platform knows of an end: a failure before the node programs began, or that somebody cancelled it."""
    if life.cause and state.state is State.FAILED:
        return state.model_copy(update={"reason": f"{life.cause}; {state.reason}"})
    if life.cancelled and state.state is State.FAILED and state.reason.startswith("stopped by"):
        return state.model_copy(update={"state": State.CANCELLED, "reason": f"cancelled; {life.detail}"})
    return state


def _stored_end(entry: RunEntry, state: RunState) -> RunState:
    """A node program whose disk was full could say how it ended only in the store."""
    stored = _stored_state(entry)
    if stored is None or not stored.state.terminal or stored.attempt < state.attempt:
        return state
    return stored


def _cancel_requested(entry: RunEntry) -> bool:
    if entry.run_dir.cancel.exists():
        return True
    try:
        return entry.store.open(GLANCE_S).head(paths.CANCEL) is not None
    except StoreError:
        return False


def _judge(entry: RunEntry, state: RunState, nodes: Sequence[NodeStatus], life: Life) -> RunState:
    """The state of a run that has not said that it ended."""
    if life.alive:
        return state
    heard = max([state.updated_at, *(node.updated_at for node in nodes)])
    if life.forgotten and time.time() - heard < SILENCE_S:
        return state
    if life.alive is False:
        safe = (
            f"checkpoint step {state.safe_step} is in the store"
            if state.safe_step is not None
            else "no checkpoint was in the store yet"
        )
        why = life.detail or "its node program is gone without a word (killed, or the machine was restarted)"
        if _cancel_requested(entry) or life.cancelled:
            who = "cancelled on request" if not life.cancelled else "cancelled"
            gone = life.detail or "its node program is gone"
            reason = f"{who}; {gone}; {safe}"
            return state.model_copy(update={"state": State.CANCELLED, "reason": reason})
        reason = f"{why}; {safe}; `launcher resume {entry.run_id}` goes on"
        return state.model_copy(update={"state": State.FAILED, "reason": reason})
    if (age := time.time() - heard) < SILENCE_S:
        return state
    return state.model_copy(
        update={
            "state": State.UNKNOWN,
            "reason": "; ".join(
                filter(
                    None,
                    [
                        f"last heard of {show_duration(age)} ago",
                        life.detail,
                        "if it is gone, `launcher resume --force` takes over",
                    ],
                )
            ),
        }
    )


def _read(entry: RunEntry, *, here: bool = True) -> tuple[RunState | None, tuple[NodeStatus, ...]]:
    """From this machine when the run lives on it and `here` is true, else from the store."""
    path = entry.run_dir.state
    if here and (entry.handle is None or entry.handle.host == socket.gethostname()) and path.exists():
        return _parse_state(path.read_bytes()), _local_nodes(entry)
    store = entry.store.open(PATIENCE_S)
    try:
        state = _parse_state(store.read(paths.STATE))
    except NotFound:
        return None, ()
    keys = [info.key for info in store.list("status/")]
    return state, _parse_nodes(store.read(key) for key in keys)


def _local_nodes(entry: RunEntry) -> tuple[NodeStatus, ...]:
    return _parse_nodes(
        path.read_bytes() for path in sorted((entry.run_dir.root / "status").glob("node-*.json"))
    )


def _parse_state(data: bytes) -> RunState | None:
    try:
        return RunState.model_validate_json(data)
    except ValidationError:
        return None


def _parse_nodes(texts: Iterable[bytes]) -> tuple[NodeStatus, ...]:
    nodes = []
    for text in texts:
        try:
            nodes.append(NodeStatus.model_validate_json(text))
        except ValidationError:
            continue
    return tuple(sorted(nodes, key=lambda node: node.node))


def _unheard(entry: RunEntry) -> RunState:
    return RunState(
        run_id=entry.run_id,
        name=entry.name,
        backend=entry.backend,
        state=State.UNKNOWN,
        reason="no state.json in the run's folder",
        submitted_at=entry.submitted_at,
        updated_at=entry.submitted_at,
        url=entry.store.url,
    )


def _view(entry: RunEntry, state: RunState, nodes: Sequence[NodeStatus], life: Life | None = None) -> RunView:
    first = nodes[0] if nodes else None
    live = first if first and not state.state.terminal else None
    phase = live.phase if live else ("done" if state.state is State.SUCCEEDED else state.phase)
    if not phase and life and not state.state.terminal:
        phase = life.phase
    return RunView(
        run_id=state.run_id,
        name=state.name,
        group=entry.group,
        labels=entry.labels,
        backend=state.backend,
        state=state.state,
        phase=phase or ("queued" if state.state in (State.PENDING, State.QUEUED) else ""),
        phase_since=live.phase_since if live else None,
        detail=live.detail if live else "",
        platform=life.detail if life and not state.state.terminal else "",
        attempt=state.attempt,
        reason=state.reason,
        progress=first.progress if first else Progress(),
        results=state.results,
        safe_step=state.safe_step,
        submitted_at=state.submitted_at,
        ended_at=state.ended_at,
        updated_at=max([state.updated_at, *(node.updated_at for node in nodes)]),
        attempts=state.attempts,
        nodes=tuple(nodes),
        url=entry.store.url,
    )
