"""What is known of a run: its state, its attempts, its nodes. These values are the JSON files of the run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from launcher.runfolder.progress import Progress
from launcher.units import show_bytes


class TextEnum(str, Enum):
    """Members that are texts, printed as they are. Python 3.10 has no StrEnum."""

    __str__ = str.__str__


Moment = Annotated[float, Field(ge=0, le=253_402_300_799)]
"""Unix seconds up to the year 9999: what a damaged file has instead can't be shown."""


class State(TextEnum):
    """Closed set; whatever can't be placed in it is UNKNOWN, never success."""

    PENDING = "PENDING"  # submitted; no machine has it yet
    QUEUED = "QUEUED"  # a machine has it and waits for devices
    RUNNING = "RUNNING"  # staging, training, evaluating, exporting or uploading
    SUCCEEDED = "SUCCEEDED"  # every program ended with 0 and every result is in the store, verified
    FAILED = "FAILED"  # it will not go on by itself; the reason says why and what is safe
    CANCELLED = "CANCELLED"  # stopped because somebody asked for it
    UNKNOWN = "UNKNOWN"  # nothing was written for long, and nothing proves the end

    @property
    def terminal(self) -> bool:
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


EXIT_CODES = {State.SUCCEEDED: 0, State.FAILED: 100, State.CANCELLED: 103}
NOT_FINISHED = 101
"""Exit code of `wait --timeout` and `status --exit-code` for a run that has not ended."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer launcher may have written more


class EndedBy(TextEnum):
    """Who ended a run or one of its attempts."""

    PROGRAM = "program"  # its processes ended by themselves, well or not
    USER = "user"  # somebody asked launcher for the end
    SIGNAL = "signal"  # a signal from outside; its sender, a person or a platform, is not known
    PLATFORM = "platform"  # the platform announced the end, or was asked for it past launcher
    LAUNCHER = "launcher"  # a limit, a watchdog, a check, or an error of the node program


class AttemptResult(TextEnum):
    """How an attempt ended. The words of `Attempt.outcome` say more, and nothing depends on them."""

    DONE = "done"  # every program ended with 0
    FAILED = "failed"
    CANCELLED = "cancelled"  # stopped on request
    INTERRUPTED = "interrupted"  # stopped, and the platform was asked for another start
    LOST = "lost"  # its node program ended without writing an end


class FirstFailure(_Value):
    """The failure that explains the others. Empty and None mean that it is not known, or that there is none."""

    process: str = Field("", description="`rank 3` or `scheduler`; empty when no single process failed.")
    rank: int | None = None
    node: int | None = None
    host: str = ""
    device: str = Field("", description="Device of the rank, such as `ascend910 3`.")
    exit: int | None = Field(None, description="Exit code as in subprocess: negative for a signal.")
    signal: str = Field("", description="Name of the signal that ended the process.")
    rule: str = Field(
        "", description="Id of the rule that knows this failure: docs/diagnosis.md, or a check of launcher."
    )
    code: str = Field("", description="Error code of CANN in the error line, such as EI0006.")
    line: str = Field("", description="The line of the log that states the error.")
    file: str = Field(
        "",
        description="Where the line is, when not in the log of the process: `plog/rank-0/debug/plog/…log:12`.",
    )
    peer: int | None = Field(None, description="The rank that the line says was waited for.")
    how: str = Field("", description="How the process ended, in words, for people.")
    repeats: bool | None = Field(
        None, description="Whether a restart would fail the same way. None: nobody decided."
    )
    no_progress: bool = Field(False, description="Several restarts in a row made no progress.")


class UnsafeResults(_Value):
    """Results that only one machine has."""

    host: str
    folder: str
    why: str = ""

    def words(self) -> str:
        """A sentence for people."""
        return f"results are on {self.host} in {self.folder}, but not all in the store: {self.why}"


class PhaseStart(_Value):
    """A phase of the run began at `at`, unix seconds. `program` is the step of the plan, in the phase `running`."""

    phase: str
    at: Moment
    program: str = ""


class Attempt(_Value):
    """One try of a run. Times are unix seconds. `result` and `ended_by` are None while it runs, and where not known."""

    attempt: int
    started_at: Moment
    ended_at: Moment | None = None
    outcome: str = ""
    hint: str = ""
    result: AttemptResult | None = None
    ended_by: EndedBy | None = None
    first_failure: FirstFailure | None = None
    resumed_step: int | None = None
    resume_settled: bool | None = Field(
        None,
        description="Whether `resumed_step` is final. False until the checkpoint is known, None: not known.",
    )


class RunState(_Value):
    """`state.json`: written by the submitter once, then by node 0 only. The newest attempt wins."""

    run_id: str
    name: str
    backend: str
    state: State
    phase: str = ""
    attempt: int = 1
    reason: str = ""
    hint: str = Field("", description="What to do about `reason`, in words.")
    ended_by: EndedBy | None = None
    first_failure: FirstFailure | None = None
    unsafe: tuple[UnsafeResults, ...] | None = Field(
        None,
        description="After the end: results that are not in the store. Empty: all are there. None: not known.",
    )
    partly_searched: tuple[str, ...] = Field(
        (),
        description="After the end: folders outside of the working folders of node 0 with too many files to look for a checkpoint among all.",
    )
    submitted_at: Moment
    updated_at: Moment
    ended_at: Moment | None = None
    attempts: tuple[Attempt, ...] = ()
    phase_times: tuple[PhaseStart, ...] = Field(
        (), description="Phases of node 0 over all attempts, in order."
    )
    results: dict[str, float] = Field(default_factory=dict, description="Top-1 per evaluation, by name.")
    exclude_hosts: tuple[str, ...] = Field(
        (), description="Machines that the next attempt should do without."
    )
    safe_step: int | None = Field(
        None, description="Step of the newest checkpoint that is in the store, verified."
    )
    safe_file: str = Field(
        "",
        description="For a program that saves files of its own kind: its newest checkpoint that is in the store.",
    )
    url: str

    @property
    def safe(self) -> str:
        """The newest checkpoint in the store, for people; empty when there is none."""
        return safe_checkpoint(self.safe_step, self.safe_file)

    def without_end(self) -> RunState:
        """The same run, which has not ended: nothing that was written of an end holds any more."""
        return self.model_copy(
            update={
                "reason": "",
                "hint": "",
                "ended_by": None,
                "ended_at": None,
                "first_failure": None,
                "unsafe": None,
                "partly_searched": (),
            }
        )


def safe_checkpoint(step: int | None, file: str) -> str:
    """A checkpoint as people read it; empty for none."""
    return f"checkpoint step {step}" if step is not None else file and f"checkpoint {file}"


def with_hint(reason: str, hint: str) -> str:
    """A reason as people read it."""
    return f"{reason}\n  hint: {hint}" if hint else reason


def with_unsafe(reason: str, unsafe: Sequence[UnsafeResults] | None) -> str:
    """A reason, followed by where the results are that the store does not have."""
    return "; ".join(filter(None, [reason, *(each.words() for each in unsafe or ())]))


class RankStatus(_Value):
    rank: int
    phase: str = ""
    step: int | None = None
    pid: int | None = None


class Staging(_Value):
    """How far a machine is with bringing the data to its disk. `waiting_for` names the process that does it, if another one."""

    bytes_done: int = 0
    bytes_total: int = 0
    bytes_per_s: float = 0.0
    waiting_for: str = ""

    @property
    def percent(self) -> float | None:
        """None while nothing is known of the size."""
        return 100 * self.bytes_done / self.bytes_total if self.bytes_total else None

    def words(self) -> str:
        """`41 % of 1.2 GB at 310 MB/s`, for people."""
        if self.waiting_for:
            return f"waiting for {self.waiting_for}"
        if self.percent is None:
            return ""
        size, rate = show_bytes(self.bytes_total), show_bytes(self.bytes_per_s)
        return f"{self.percent:.0f} % of {size} at {rate}/s"


class NodeStatus(_Value):
    """`status/node-<k>.json`: the heartbeat of one machine."""

    node: int
    host: str
    pid: int
    attempt: int
    phase: str
    phase_since: Moment
    detail: str = ""
    staging: Staging | None = None
    progress: Progress = Progress()
    ranks: tuple[RankStatus, ...] = ()
    pending_uploads: int = 0
    upload_error: str = ""
    tracking_error: str = Field("", description="Trackers of `track:` that take no numbers now, and why.")
    last_error: str = ""
    warning: str = ""
    updated_at: Moment
