"""The section `profile:` of a job file: which steps of which ranks a profiler records."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from launcher.jobfile.section import Section, as_tuple
from vitmodels.validation.rule import RuleError
from vitmodels.validation.schema import EXPECTED

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema

MAX_STEPS = 1000
"""A trace grows with each step: by megabytes on NPUs."""
_FORM = r"^\s*[0-9]{1,12}\s*(-\s*[0-9]{1,12}\s*)?$"
_EXPECTED = "the first and the last step, such as 100-110"


class _Form:
    """What the JSON Schema and the messages say of steps."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "type": ["string", "integer"], "pattern": _FORM, EXPECTED: _EXPECTED}


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _checked(text: str) -> str:
    if not re.match(_FORM, text):
        raise RuleError(expected=_EXPECTED)
    first, last = _range_of(text)
    if first < 1:
        raise RuleError("the first step of a training is 1")
    if last < first:
        raise RuleError(f"the last step, {last}, is before the first, {first}")
    if last - first >= MAX_STEPS:
        raise RuleError(f"{last - first + 1} steps are too many for a trace; at most {MAX_STEPS}")
    return f"{first}-{last}"


def _range_of(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


Steps = Annotated[str, BeforeValidator(_as_text), AfterValidator(_checked), _Form()]
"""`100-110`, or one step."""


class ProfileSpec(Section):
    """Which steps of which ranks MindSpore's profiler records. A program of one's own is told by LAUNCHER_PROFILE_STEPS and LAUNCHER_PROFILE_RANKS."""

    steps: Steps | None = Field(
        None,
        description="First and last step, counted from 1 over the whole training. Default: nothing is recorded.",
        examples=["100-110"],
    )
    ranks: tuple[int, ...] = Field(
        (0,), min_length=1, description="Ranks whose operators are recorded.", examples=[[0, 8]]
    )

    _sequence = field_validator("ranks", mode="before")(as_tuple)

    @field_validator("ranks")
    @classmethod
    def _are_ranks(cls, ranks: tuple[int, ...]) -> tuple[int, ...]:
        for place, rank in enumerate(ranks):
            if rank < 0:
                raise RuleError(f"{rank} is no rank: they are numbered from 0", at=(place,))
            if rank in ranks[:place]:
                raise RuleError(f"rank {rank} is here twice", at=(place,))
        return ranks

    @model_validator(mode="after")
    def _says_which_steps(self) -> ProfileSpec:
        if self.steps is None and self.ranks != (0,):
            raise RuleError(expected=_EXPECTED, found="none", at=("steps",), others=(("ranks",),))
        return self

    @property
    def last(self) -> int | None:
        """The last step that is recorded; None where nothing is."""
        return _range_of(self.steps)[1] if self.steps else None
