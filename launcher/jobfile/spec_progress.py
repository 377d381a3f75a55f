"""The section `progress:` of a job file: how far a program of one's own is, read from the lines that it prints."""

from __future__ import annotations

import re

from pydantic import Field, field_validator, model_validator

from launcher.jobfile.linear import NotLinear, check_linear
from launcher.jobfile.section import Section
from vitmodels.validation.rule import RuleError

PATTERNS = ("step", "epoch", "loss")
MAX_PATTERN = 500


class ProgressSpec(Section):
    """How far a program of one's own is, read from the lines that it prints.

    Without patterns the usual forms of MindSpore, MindCV, MindFormers, tqdm, HuggingFace and Lightning are known. A program
    that writes a progress file of its own is not read this way.
    """

    from_lines: bool = Field(True, description="false: lines are not read for progress.")
    step: str | None = Field(
        None,
        description="Regular expression, searched in each line: its first group is the step of the whole training, its second group, where there is one, the number of steps. Own patterns take the place of the built-in ones.",
        examples=[r"iter (\d+)/(\d+)"],
    )
    epoch: str | None = Field(
        None,
        description="Regular expression: its first group is the epoch, its second group, where there is one, the number of epochs.",
        examples=[r"Epoch (\d+)/(\d+)"],
    )
    loss: str | None = Field(
        None,
        description="Regular expression: its first group is the training loss.",
        examples=[r"loss=([-+.\w]+)"],
    )
    total_epochs: int | None = Field(
        None,
        ge=1,
        description="Epochs of the whole training, for programs whose lines don't tell; gives the remaining time.",
    )
    total_steps: int | None = Field(
        None,
        ge=1,
        description="Steps of the whole training, for programs whose lines don't tell; gives the remaining time.",
    )

    @field_validator(*PATTERNS)
    @classmethod
    def _is_linear(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if len(value) > MAX_PATTERN:
            raise RuleError(expected=f"at most {MAX_PATTERN} characters")
        try:
            check_linear(value)
        except (re.error, RecursionError, OverflowError) as error:
            raise RuleError(f"not a regular expression: {error}") from None
        except NotLinear as error:
            raise RuleError(f"this pattern may take more than linear time: {error}") from None
        if not re.compile(value).groups:
            raise RuleError(expected="a group in parentheses around the number", found=f"none in {value!r}")
        return value

    @model_validator(mode="after")
    def _patterns_are_used(self) -> ProgressSpec:
        if not self.from_lines and self.own_patterns:
            name = next(name for name in PATTERNS if getattr(self, name))
            raise RuleError(
                "with from_lines: false no pattern is used; leave one of the two out",
                at=(name,),
                others=(("from_lines",),),
            )
        return self

    @property
    def own_patterns(self) -> bool:
        return any(getattr(self, name) for name in PATTERNS)
