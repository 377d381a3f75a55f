"""The section `outputs:` of a job file: which files of a program of one's own are results."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from launcher.jobfile.quantities import Size
from launcher.jobfile.section import Section, as_tuple
from vitmodels.validation.rule import RuleError

Glob = Annotated[str, Field(min_length=1, max_length=300)]
DEFAULT_EXCLUDES = (
    "kernel_meta/",
    "rank_*/om/",
    "rank_*/ir_dump/",
    "__pycache__/",
    "*.pyc",
    ".git/",
    ".cache/",
    ".triton/",
    "torch_compile_debug/",
    "compile_cache/",
    "core.[0-9]*",
)
"""What compilers, Python and crashes leave behind."""


class OutputsSpec(Section):
    """Which files of a program of one's own are results.

    All that it leaves below its working folder and `$LAUNCHER_RUN_DIR` is, but for what compilers and caches write. A pattern
    without `/` fits a name in any folder, one that ends with `/` a folder with all that is in it, `**` any number of folders.
    """

    include: tuple[Glob, ...] | None = Field(
        None,
        description="Only files that fit one of these are results, also where they are left out by default. Default: all.",
        examples=[["ckpt/", "*.csv"]],
    )
    exclude: tuple[Glob, ...] = Field(
        (),
        description="Files that are no results, besides the defaults (kernel_meta/, rank_*/om/, __pycache__/, compile caches). They are lost when the run's folder on the machine is removed.",
        examples=[["tmp/", "*.bin"]],
    )
    max_file: Size | None = Field(
        None,
        ge=1,
        description="A larger file stays on its machine. The run then says so, and `launcher prune` keeps its folder. Default: no limit.",
        examples=["20GB"],
    )

    _sequence = field_validator("include", "exclude", mode="before")(as_tuple)

    @field_validator("include", "exclude")
    @classmethod
    def _inside(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for place, pattern in enumerate(value or ()):
            if ".." in pattern.split("/"):
                raise RuleError(f"'{pattern}' leads out of the program's folders", at=(place,))
            if not pattern.strip("/"):
                raise RuleError("'/' names no file or folder", at=(place,))
        return value
