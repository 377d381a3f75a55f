"""What all sections of a job file have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mapping of the job file: no unknown keys, no guessing of types, no change after reading."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
