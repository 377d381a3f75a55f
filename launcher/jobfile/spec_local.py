"""The section `local:` of a job file."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from launcher.jobfile.section import Section


class LocalOptions(Section):
    """Options of the back end `local`."""

    ADDRESSES: ClassVar[tuple[str, ...]] = ("python",)

    python: str | None = Field(
        None,
        description="Python of the ranks, with all that they import; default: the one that runs launcher.",
    )
