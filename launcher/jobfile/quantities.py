"""Durations and sizes as fields of a job file: text with a unit, or a whole number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from launcher.units import DURATION_FORMS, SIZE_FORMS, parse_duration, parse_size
from vitmodels.validation.schema import EXPECTED, TEXT_FORM

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema


@dataclass(frozen=True)
class _TextForm:
    """How a number may be written as text: what the JSON Schema and the messages say about it."""

    name: str
    pattern: str
    expected: str

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        form = {"type": ["string", "integer"], "pattern": self.pattern}
        return {**handler(schema), **form, EXPECTED: self.expected, TEXT_FORM: self.name}


def _as_duration(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


def _as_size(value: Any) -> Any:
    return parse_size(value) if isinstance(value, str) else value


_DURATION = _TextForm(
    "duration",
    r"^\s*(\d+-)?\d+:[0-5]\d(:[0-5]\d)?\s*$|^\s*\d{1,3}-\d{1,2}\s*$|^\s*(\d+(\.\d+)?\s*(s|sec|m|min|h|d)\s*)+$",
    f"a duration such as {DURATION_FORMS}",
)
_SIZE = _TextForm(
    "size",
    r"^\s*\d+(\.\d+)?\s*([KMGTP]i?B?|B)?\s*$",
    f"a size such as {SIZE_FORMS}",
)

Duration = Annotated[int, BeforeValidator(_as_duration), Field(strict=True, ge=0), _DURATION]
"""Seconds; job files write `30min` or `12:30:00`."""

Size = Annotated[int, BeforeValidator(_as_size), Field(strict=True, ge=0), _SIZE]
"""Bytes; job files write `2GiB`."""
