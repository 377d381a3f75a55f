"""What all sections of a job file have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mapping of the job file: unknown keys and values of another type are errors; frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
