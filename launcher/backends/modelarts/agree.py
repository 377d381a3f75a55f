"""How the containers of a run agree on which attempt they are, however often the platform starts them.

    launches/leader.json       by node 0: its token, the attempt, and the tokens of the others it has seen
    launches/node-<k>.json     by node k: a token made for this very start
    launches/job-<a>-<mark>    a job was made for attempt a: earlier jobs of this run must not go on

A follower believes a leader that names its token; what an earlier start left behind names another one. The counters
of the platform are not needed for that, as nobody says that they are the same on all machines.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from launcher.errors import NotFound, PlanError, RunFailed
from launcher.runfolder import paths
from launcher.runfolder.paths import ATTEMPTS
from launcher.runfolder.states import RunState, State
from launcher.storage import ObjectStore
from launcher.units import show_duration

FOLDER = "launches/"
LEADER = f"{FOLDER}leader.json"
POLL_S = 0.5
NODES_PER_POLL_S = 128
"""With many machines each asks the store less often."""


@dataclass(frozen=True, slots=True)
class Start:
    """What all containers of one start agree on."""

    attempt: int
    launch: str


def mark_job(store: ObjectStore, attempt: int) -> str:
    """Called before a job is made: containers of jobs for earlier attempts end when they start again.

    Returns the mark, which is the caller's own: another machine may be about to make a job for the same attempt.
    """
    mark = f"{FOLDER}job-{attempt}-{secrets.token_hex(4)}"
    store.put(mark, b"")
    return mark


def unmark_job(store: ObjectStore, mark: str) -> None:
    """No job was made by who has this mark."""
    store.delete(mark)


def outdated(store: ObjectStore, attempt: int) -> bool:
    """Whether a job for a later attempt was made."""
    found = [
        re.fullmatch(r"job-(\d+)-\w+", info.key.removeprefix(FOLDER)) for info in store.list(f"{FOLDER}job-")
    ]
    return any(int(match[1]) > attempt for match in found if match)


def ended_before(store: ObjectStore, attempt: int) -> State | None:
    """SUCCEEDED or CANCELLED, when a run that the platform starts once more has ended so already."""
    try:
        state = RunState.model_validate_json(store.read(paths.STATE))
    except (NotFound, ValueError):
        return None
    final = state.state in (State.SUCCEEDED, State.CANCELLED) and state.attempt >= attempt
    return state.state if final else None


def agree(
    store: ObjectStore,
    node: int,
    nodes: int,
    attempt: int,
    *,
    timeout_s: float,
    sleep: Callable[[float], None] = time.sleep,
) -> Start:
    """Blocks until all containers of this start are there. Raises RunFailed naming who is missing, and StoreError."""
    token = secrets.token_hex(8)
    pause_s = max(POLL_S, nodes / NODES_PER_POLL_S)
    if node == 0:
        number = _next_attempt(store, attempt)
        return Start(
            number,
            token if nodes == 1 else _lead(store, nodes, number, token, timeout_s, lambda: sleep(pause_s)),
        )
    return _follow(store, node, token, timeout_s, lambda: sleep(pause_s))


def _next_attempt(store: ObjectStore, attempt: int) -> int:
    """The job's own one, until a node program has begun it: then the platform has started the job again."""
    marks = (info.key.removeprefix(ATTEMPTS) for info in store.list(ATTEMPTS))
    begun = max((int(mark) for mark in marks if mark.isdecimal()), default=0)
    return attempt if begun < attempt else begun + 1


class _Cards:
    """What the other containers say, read anew only where a listing shows a change."""

    def __init__(self, store: ObjectStore, nodes: int) -> None:
        self._store, self._nodes = store, nodes
        self._marks: dict[str, tuple[str, int, float]] = {}
        self.tokens: dict[str, str] = {}
        self.answers: dict[str, str] = {}

    def look(self) -> None:
        for info in self._store.list(f"{FOLDER}node-"):
            mark = (info.etag, info.size, info.mtime)
            match = re.fullmatch(r"node-(\d+)\.json", info.key.removeprefix(FOLDER))
            if match is None or self._marks.get(info.key) == mark or int(match[1]) >= self._nodes:
                continue
            card = _json(self._store, info.key)
            self._marks[info.key] = mark
            self.tokens[match[1]] = str(card.get("token", ""))
            self.answers[match[1]] = str(card.get("leader", ""))


def _lead(
    store: ObjectStore, nodes: int, attempt: int, token: str, timeout_s: float, pause: Callable[[], None]
) -> str:
    deadline = time.monotonic() + timeout_s
    cards, told = _Cards(store, nodes), None
    while True:
        cards.look()
        if cards.tokens != told:
            told = dict(cards.tokens)
            _put(store, LEADER, {"token": token, "attempt": attempt, "tokens": told})
        missing = [k for k in map(str, range(1, nodes)) if cards.answers.get(k) != token]
        if not missing:
            return token
        if time.monotonic() > deadline:
            raise RunFailed(
                f"node {', '.join(missing[:10])} of {nodes} did not come within {show_duration(timeout_s)}",
                hint="look at its output on the platform; watch.nodes_timeout says how long to wait",
            )
        pause()


def _follow(store: ObjectStore, node: int, token: str, timeout_s: float, pause: Callable[[], None]) -> Start:
    deadline = time.monotonic() + timeout_s
    _put(store, _card(node), {"token": token})
    while True:
        leader = _json(store, LEADER)
        if leader.get("tokens", {}).get(str(node)) == token:
            _put(store, _card(node), {"token": token, "leader": leader["token"]})
            return Start(int(leader["attempt"]), str(leader["token"]))
        if time.monotonic() > deadline:
            raise RunFailed(f"node 0 did not come within {show_duration(timeout_s)}")
        pause()


def _card(node: int) -> str:
    return f"{FOLDER}node-{node}.json"


def _put(store: ObjectStore, key: str, value: dict[str, Any]) -> None:
    store.put(key, json.dumps(value).encode())


def _json(store: ObjectStore, key: str) -> dict[str, Any]:
    try:
        value = json.loads(store.read(key))
    except NotFound:
        return {}
    except ValueError as error:
        raise PlanError(f"not JSON: {error}", where=store.join(key)) from error
    return value if isinstance(value, dict) else {}
