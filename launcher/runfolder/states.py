"""What is known of a run: its state, its attempts, its nodes. These values are the JSON files of the run's folder."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from launcher.runfolder.progress import Progress


class State(StrEnum):
    """Closed set; whatever can't be placed in it is UNKNOWN, never success."""

    PENDING = "PENDING"  # submitted; no machine has it yet
    QUEUED = "QUEUED"  # a machine has it and waits for devices
    RUNNING = "RUNNING"  # staging, training, evaluating, exporting or uploading
    SUCCEEDED = "SUCCEEDED"  # every program ended with 0 and every result is in the store, verified
    FAILED = "FAILED"  # it will not go on by itself; the reason says why and what is safe
    CANCELLED = "CANCELLED"  # stopped because somebody asked for it
    UNKNOWN = "UNKNOWN"  # no word from it, and no proof of its end

    @property
    def terminal(self) -> bool:
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


EXIT_CODES = {State.SUCCEEDED: 0, State.FAILED: 100, State.CANCELLED: 103}
NOT_FINISHED = 101
"""Exit code of `wait --timeout` and `status --exit-code` for a run that has not ended."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer launcher may have written more


class Attempt(_Value):
    """One try of a run. Times are unix seconds."""

    attempt: int
    started_at: float
    ended_at: float | None = None
    outcome: str = ""
    resumed_step: int | None = None


class RunState(_Value):
    """`state.json`: written by the submitter once, then by node 0 only. The newest attempt wins."""

    run_id: str
    name: str
    backend: str
    state: State
    phase: str = ""
    attempt: int = 1
    reason: str = ""
    submitted_at: float
    updated_at: float
    ended_at: float | None = None
    attempts: tuple[Attempt, ...] = ()
    results: dict[str, float] = Field(default_factory=dict, description="Top-1 per evaluation, by name.")
    exclude_hosts: tuple[str, ...] = Field(
        (), description="Machines that the next attempt should do without."
    )
    safe_step: int | None = Field(
        None, description="Step of the newest checkpoint that is in the store, verified."
    )
    url: str


class RankStatus(_Value):
    rank: int
    phase: str = ""
    step: int | None = None
    pid: int | None = None


class NodeStatus(_Value):
    """`status/node-<k>.json`: the heartbeat of one machine."""

    node: int
    host: str
    pid: int
    attempt: int
    phase: str
    phase_since: float
    detail: str = ""
    progress: Progress = Progress()
    ranks: tuple[RankStatus, ...] = ()
    pending_uploads: int = 0
    upload_error: str = ""
    last_error: str = ""
    warning: str = ""
    updated_at: float
