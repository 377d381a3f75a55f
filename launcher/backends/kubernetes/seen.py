"""Jobs and pods as the API server describes them, as values. Pure. A word that is not known is no end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from launcher.backends.kubernetes.names import (
    ATTEMPT_LABEL,
    LINE_LABEL,
    RUN_ID,
    RUN_LABEL,
    STARTER_LABEL,
    wait_name,
)
from launcher.backends.kubernetes.waits import Notice

Phase = Literal["waits", "runs", "ended", "unknown"]
_VOLCANO: dict[str, Phase] = {
    "Pending": "waits",
    "Running": "runs",
    "Restarting": "runs",
    "Completing": "runs",
    "Aborting": "runs",
    "Terminating": "runs",
    "Completed": "ended",
    "Failed": "ended",
    "Aborted": "ended",
    "Terminated": "ended",
}
_CONDITIONS: dict[str, Phase] = {
    "Created": "waits",
    "Running": "runs",
    "Restarting": "runs",
    "Succeeded": "ended",
    "Complete": "ended",
    "Failed": "ended",
}
_TAKEN_AWAY = ("Aborted", "Terminated")
OWN_ENDS = (0, 75, 100, 103)
"""Exit codes of a node program, which has told the run's state itself."""


@dataclass(frozen=True, slots=True)
class SeenJob:
    """`word` is the cluster's own phase. `taken`: it was ended from outside."""

    name: str
    uid: str
    run_id: str
    attempt: int
    phase: Phase
    word: str
    message: str
    deleting: bool
    taken: bool

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> SeenJob:
        metadata, status = value.get("metadata") or {}, value.get("status") or {}
        phase, word, message = _volcano(status) if "state" in status else _conditions(status)
        attempt = str((metadata.get("labels") or {}).get(ATTEMPT_LABEL, ""))
        return cls(
            name=str(metadata.get("name", "")),
            uid=str(metadata.get("uid", "")),
            run_id=str((metadata.get("annotations") or {}).get(RUN_ID, "")),
            attempt=int(attempt) if attempt.isdecimal() else 0,
            phase=phase,
            word=word,
            message=message,
            deleting=bool(metadata.get("deletionTimestamp")),
            taken=word in _TAKEN_AWAY,
        )


def _volcano(status: Mapping[str, Any]) -> tuple[Phase, str, str]:
    state = status.get("state") or {}
    word = str(state.get("phase") or "Pending")
    return _VOLCANO.get(word, "unknown"), word, str(state.get("message") or state.get("reason") or "")


def _conditions(status: Mapping[str, Any]) -> tuple[Phase, str, str]:
    """The newest condition that holds; a job without any has just been made."""
    holding = [each for each in status.get("conditions") or [] if each.get("status") == "True"]
    if not holding:
        return ("runs" if status.get("active") else "waits"), "Pending", ""
    newest = max(holding, key=lambda each: str(each.get("lastTransitionTime") or ""))
    word = str(newest.get("type") or "")
    message = str(newest.get("message") or newest.get("reason") or "")
    return _CONDITIONS.get(word, "unknown"), word, message


@dataclass(frozen=True, slots=True)
class SeenPod:
    """`line`: of a starter's pod. `restarts`: how often its container has begun anew. `exit_code` is None for a container that has not ended. `last_words`: its termination message."""

    name: str
    uid: str
    run: str
    attempt: str
    line: str
    phase: str
    node: str
    index: int | None
    restarts: int
    exit_code: int | None
    last_words: str
    notices: tuple[Notice, ...]

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> SeenPod:
        metadata, status = value.get("metadata") or {}, value.get("status") or {}
        labels, noted = metadata.get("labels") or {}, metadata.get("annotations") or {}
        containers = status.get("containerStatuses") or []
        states = [each.get("state") or {} for each in containers]
        ended: Mapping[str, Any] = next((each["terminated"] for each in states if each.get("terminated")), {})
        name = str(metadata.get("name", ""))
        return cls(
            name=name,
            uid=str(metadata.get("uid", "")),
            run=str(labels.get(RUN_LABEL, "")),
            attempt=str(labels.get(ATTEMPT_LABEL, "")),
            line=str(labels.get(STARTER_LABEL, "")),
            phase=str(status.get("phase") or "Pending"),
            node=str((value.get("spec") or {}).get("nodeName") or ""),
            index=_index(labels, noted),
            restarts=max((int(each.get("restartCount") or 0) for each in containers), default=0),
            exit_code=ended.get("exitCode"),
            last_words=str(ended.get("message") or ""),
            notices=tuple(_notices(name, status, states)),
        )

    @property
    def error(self) -> str:
        """What its program said before the run could report anything; empty for the ends that node programs have."""
        if self.exit_code is None or self.exit_code in OWN_ENDS:
            return ""
        lines = [line.strip() for line in self.last_words.splitlines() if line.strip()]
        said = next(
            (line for line in reversed(lines) if line.startswith("error")), lines[-1] if lines else ""
        )
        words = f"{self.name} ended with exit code {self.exit_code}"
        return f"{words}: {said.removeprefix('error: ')[:500]}" if said else words


@dataclass(frozen=True, slots=True)
class SeenWait:
    """A run whose job its starter makes. `after`: runs that must succeed before. `others`: those that take all places of a sweep.
    `reason`: why it will never start, or what the server last said to its job."""

    job: str
    attempt: int
    line: str
    state: str
    reason: str
    after: tuple[str, ...]
    others: tuple[str, ...]

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> SeenWait:
        metadata, data = value["metadata"], value.get("data") or {}
        return cls(
            job=str(metadata["name"]).removesuffix(wait_name("")),
            attempt=int(metadata["labels"][ATTEMPT_LABEL]),
            line=str(metadata["labels"][LINE_LABEL]),
            state=str(data.get("state", "")),
            reason=str(data.get("reason", "")),
            after=tuple(str(each["run"]) for each in json.loads(data.get("after") or "[]")),
            others=tuple(map(str, json.loads(data.get("others") or "[]"))),
        )

    def words(self) -> str:
        """What it waits for; empty when only its starter is missing."""
        if self.after:
            return f"waits for {', '.join(self.after)} to succeed (kubernetes.after)"
        if self.others:
            return f"waits for another run of its sweep to end (kubernetes.max_parallel): {', '.join(self.others)}"
        return self.reason and f"was refused, and is tried again: {self.reason}"


def _index(labels: Mapping[str, str], noted: Mapping[str, str]) -> int | None:
    """The pod's place among those of its job, by whichever word the platform has for it."""
    for values, key in (
        (noted, "hccl/rankIndex"),
        (labels, "volcano.sh/task-index"),
        (noted, "volcano.sh/task-index"),
        (noted, "batch.kubernetes.io/job-completion-index"),
        (labels, "replica-index"),
    ):
        if str(values.get(key, "")).isdecimal():
            return int(values[key])
    return None


def _notices(pod: str, status: Mapping[str, Any], states: Sequence[Mapping[str, Any]]) -> Iterator[Notice]:
    if status.get("reason"):
        yield Notice(str(status["reason"]), str(status.get("message") or ""), pod)
    for state in states:
        for part in ("waiting", "terminated"):
            if reason := (state.get(part) or {}).get("reason"):
                yield Notice(str(reason), str(state[part].get("message") or ""), pod)
    for condition in status.get("conditions") or []:
        holds = "True" if condition.get("type") == "DisruptionTarget" else "False"
        if condition.get("status") == holds and condition.get("reason"):
            yield Notice(str(condition["reason"]), str(condition.get("message") or ""), pod)
