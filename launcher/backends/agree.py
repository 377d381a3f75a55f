"""How the containers of a run agree on which attempt they are, however often the platform starts them.

    launches/leader.json       LeaderLaunch of node 0: its token, the attempt, and the tokens of the followers
    launches/node-<k>.json     FollowerLaunch of node k: a token made for this very start
    launches/job-<a>-<mark>    a job was made for attempt a: earlier jobs of this run must not go on

A follower takes the attempt from a leader that names its token, and answers with the leader's token. What an earlier
start left names other tokens. The platform's own counters are not used: nothing promises that they agree on all machines.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from launcher.errors import IntegrityError, NotFound, RunFailed
from launcher.node.rendezvous.folder import LEADER, MessageFolder, follower_name, follower_of
from launcher.runfolder import paths
from launcher.runfolder.paths import ATTEMPTS
from launcher.runfolder.smallfiles import read_small_object
from launcher.runfolder.states import RunState, State
from launcher.storage import ObjectStore
from launcher.units import show_duration

FOLDER = "launches/"
POLL_S = 0.5
NODES_PER_POLL_S = 128
"""With many machines each asks the store less often, so that all together ask it this often per second."""


@dataclass(frozen=True, slots=True)
class Start:
    """What all containers of one start agree on."""

    attempt: int
    launch: str


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer launcher may have written more


class LeaderLaunch(_Message):
    """`tokens` are those of the followers that the leader has heard of, by node."""

    token: str
    attempt: int
    tokens: dict[int, str] = {}


class FollowerLaunch(_Message):
    """`leader` is the token of the leader that this follower has accepted."""

    token: str
    leader: str = ""


def mark_job(store: ObjectStore, attempt: int) -> str:
    """Called before a job is made: containers of jobs for earlier attempts end when they start again.

    Returns the mark, which is the caller's own: another machine may be about to make a job for the same attempt.
    """
    mark = f"{FOLDER}job-{attempt}-{secrets.token_hex(4)}"
    store.put(mark, b"")
    return mark


def unmark_job(store: ObjectStore, mark: str) -> None:
    """Remove a mark of `mark_job` after its job could not be made."""
    store.delete(mark)


def outdated(store: ObjectStore, attempt: int) -> bool:
    """Whether a job was made for a later attempt."""
    marks = [
        re.fullmatch(r"job-(\d+)-\w+", info.key.removeprefix(FOLDER)) for info in store.list(f"{FOLDER}job-")
    ]
    return any(int(match[1]) > attempt for match in marks if match)


def ended_before(store: ObjectStore, attempt: int) -> State | None:
    """SUCCEEDED or CANCELLED, when the run that the platform starts once more has ended so already."""
    try:
        state = RunState.model_validate_json(read_small_object(store, paths.STATE))
    except (NotFound, IntegrityError, ValueError):
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
    """Blocks until all containers of this start are there. Raises RunFailed naming those that are missing, and StoreError."""
    wait = _Wait(timeout_s, max(POLL_S, nodes / NODES_PER_POLL_S), sleep)
    folder = MessageFolder(store, FOLDER)
    token = secrets.token_hex(8)
    if node:
        return _follow(folder, node, token, wait)
    start = Start(_next_attempt(store, attempt), token)
    if nodes > 1:
        _lead(folder, nodes, start, wait)
    return start


def _next_attempt(store: ObjectStore, attempt: int) -> int:
    """The job's attempt, until a node program has begun it: from then on the platform has started the job again."""
    numbers = (info.key.removeprefix(ATTEMPTS) for info in store.list(ATTEMPTS))
    newest = max((int(number) for number in numbers if number.isdecimal()), default=0)
    return attempt if newest < attempt else newest + 1


class _Wait:
    """Pauses between looks, up to a deadline."""

    def __init__(self, timeout_s: float, pause_s: float, sleep: Callable[[float], None]) -> None:
        self._timeout_s, self._pause_s, self._sleep = timeout_s, pause_s, sleep
        self._deadline = time.monotonic() + timeout_s

    def pause(self, missing: str) -> None:
        """Raises RunFailed naming `missing` when the time is over."""
        if time.monotonic() > self._deadline:
            raise RunFailed(
                f"{missing} did not come within {show_duration(self._timeout_s)}",
                hint="look at its output on the platform; watch.nodes_timeout says how long to wait",
            )
        self._sleep(self._pause_s)


def _lead(folder: MessageFolder, nodes: int, start: Start, wait: _Wait) -> None:
    """Publish the tokens of the followers until each of them has answered with ours."""
    followers: dict[int, FollowerLaunch] = {}
    published: dict[int, str] | None = None
    while True:
        for name in folder.changed():
            node = follower_of(name)
            if node is not None and 0 < node < nodes and (message := folder.read(name, FollowerLaunch)):
                followers[node] = message
        tokens = {node: message.token for node, message in followers.items()}
        if tokens != published:
            folder.write(LEADER, LeaderLaunch(token=start.launch, attempt=start.attempt, tokens=tokens))
            published = tokens
        accepted = {node for node, message in followers.items() if message.leader == start.launch}
        missing = [str(node) for node in range(1, nodes) if node not in accepted]
        if not missing:
            return
        wait.pause(f"node {', '.join(missing[:10])} of {nodes}")


def _follow(folder: MessageFolder, node: int, token: str, wait: _Wait) -> Start:
    """Publish our token until a leader names it."""
    folder.write(follower_name(node), FollowerLaunch(token=token))
    while True:
        leader = folder.read(LEADER, LeaderLaunch)
        if leader is not None and leader.tokens.get(node) == token:
            folder.write(follower_name(node), FollowerLaunch(token=token, leader=leader.token))
            return Start(leader.attempt, leader.token)
        wait.pause("node 0")
