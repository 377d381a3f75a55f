"""What all sections of a job file have in common."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mapping of the job file: unknown keys and values of another type are errors; frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    ADDRESSES: ClassVar[tuple[str, ...]] = ()
    """Fields of a back end's section in which variables of the environment are expanded; see `variables`."""


def as_tuple(value: Any) -> Any:
    """A sequence of the file as a frozen section holds it. Any other value stays as it is: the check of types says what it should be."""
    return tuple(value) if isinstance(value, list) else value
