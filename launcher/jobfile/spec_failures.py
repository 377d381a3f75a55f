"""The sections `retry:` and `watch:` of a job file: what counts as a failure, and what follows it."""

from __future__ import annotations

import re
import signal
from typing import Literal

from pydantic import Field, field_validator, model_validator

from launcher.jobfile.quantities import Duration, Size
from launcher.jobfile.section import Section, as_tuple
from vitmodels.validation.rule import RuleError


class RetryRule(Section):
    """What to do about one kind of failure. All conditions given must hold; the first rule that fits decides."""

    match: str | None = Field(
        None,
        description="Regular expression, searched in the failing rank's log and in the reason.",
        examples=["EI0006"],
    )
    exit_code: int | None = Field(None, ge=0, le=255, description="Exit code of the failing rank.")
    signal: str | None = Field(None, description="Signal that ended the failing rank.", examples=["SIGKILL"])
    do: Literal["restart", "fail"] = Field(description="Restart the gang, or end the run.")
    exclude_node: bool = Field(
        False,
        description="Leave the machine of the failing rank out of the next try, where the back end can; else the run ends and names it.",
    )

    @field_validator("match")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise RuleError(f"not a regular expression: {error}") from None
        return value

    @field_validator("signal")
    @classmethod
    def _exists(cls, value: str | None) -> str | None:
        if value is not None and value not in signal.Signals.__members__:
            raise RuleError(expected="the name of a signal, such as SIGKILL")
        return value

    @model_validator(mode="after")
    def _says_when(self) -> RetryRule:
        if self.match is None and self.exit_code is None and self.signal is None:
            raise RuleError(expected="at least one of match, exit_code and signal", found="none")
        return self


NPU_BACKOFF_S, CPU_BACKOFF_S = 5, 1


class RetrySpec(Section):
    """When a rank fails."""

    max_restarts: int = Field(
        0, ge=0, le=1000, description="Restarts of the whole gang from the newest complete checkpoint."
    )
    window: Duration = Field(
        24 * 3600,
        description="Restarts longer ago than this don't count towards max_restarts any more. 0: all count.",
    )
    backoff: Duration | None = Field(
        None,
        description="Pause before the first restart; doubles with each one, up to 5 min. Default: 5 s, in which NPUs are let go, and 1 s on CPU.",
    )
    on: tuple[RetryRule, ...] = Field(
        (),
        description="Own rules on what is restarted; they come before the built-in ones.",
        examples=[[{"match": "EI0006", "do": "restart", "exclude_node": True}]],
    )

    _sequence = field_validator("on", mode="before")(as_tuple)

    def with_backoff(self, device: str) -> RetrySpec:
        """With the pause of this kind of device where the job file names none."""
        pause_s = CPU_BACKOFF_S if device == "cpu" else NPU_BACKOFF_S
        return self if self.backoff is not None else self.model_copy(update={"backoff": pause_s})


class WatchSpec(Section):
    """How ranks are watched and stopped."""

    hang_after: Duration = Field(
        1800,
        description="No progress and no log line for this long is a hang: stacks are dumped and the gang is stopped. 0: never.",
    )
    grace: Duration = Field(
        60, description="Time a rank has after SIGTERM to save a checkpoint, before SIGKILL."
    )
    guard: Literal["stop", "warn", "off"] = Field(
        "stop",
        description="What to do when training does not learn: the loss is no number, stays at ln(classes), or the loss scale collapsed.",
    )
    guard_epochs: int = Field(
        5,
        ge=0,
        le=1000,
        description="Epochs with the loss at ln(classes) that are enough for the guard. 0: never.",
    )
    log_limit: Size = Field(
        1 << 30,
        ge=3 << 10,
        description="Bytes that the log of one rank may take; its beginning and its end are kept.",
    )
    nodes_timeout: Duration = Field(
        1800, description="How long the machines of a run wait for one that has not come."
    )
