"""What a validator of a model raises: which values break a rule, what was expected, what to write instead."""

from __future__ import annotations

from vitmodels.document.tree import Path


class RuleError(ValueError):
    """Values of a model break one of its rules. All parts are fields; `validation.report` makes the words.

    Either `expected` (`two positive numbers`) or `message`, a sentence. `found` is needed only where it isn't the value
    as written. `at` is the way to the value at fault from the section (or the value) that the validator sees, `others`
    are the ways to further values that the rule reads; `of_key` points at a key in place of its value.
    `suggestions` are what was probably meant, `choices` all that may stand there.
    """

    def __init__(
        self,
        message: str = "",
        *,
        expected: str = "",
        found: str = "",
        hint: str = "",
        at: Path = (),
        others: tuple[Path, ...] = (),
        of_key: bool = False,
        suggestions: tuple[str, ...] = (),
        choices: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message or f"expected {expected}")
        self.message = message
        self.expected = expected
        self.found = found
        self.hint = hint
        self.at = at
        self.others = others
        self.of_key = of_key
        self.suggestions = suggestions
        self.choices = choices
