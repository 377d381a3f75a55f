"""The rules that a job file has of its own (`retry.on`): they decide on a restart before the table of causes does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.diagnosis.rules import signal_of
from launcher.jobfile.spec_failures import RetryRule
from launcher.ranks.boundedsearch import is_found


@dataclass(frozen=True, slots=True)
class OwnRule:
    """One rule. All conditions that are given must hold."""

    id: str
    restart: bool
    match: re.Pattern[str] | None = None
    exit_code: int | None = None
    signal: str = ""
    exclude_node: bool = False

    def fits(self, code: int, text: str) -> bool:
        """`code` as in subprocess; `text` is what the rule's pattern is searched in."""
        if self.exit_code is not None and code != self.exit_code:
            return False
        if self.signal and signal_of(code) != self.signal:
            return False
        return self.match is None or is_found(self.match, text)


def own_rules(rules: Sequence[RetryRule]) -> tuple[OwnRule, ...]:
    """The rules of a job file, by their place in it."""
    return tuple(
        OwnRule(
            id=f"retry.on[{index}]",
            restart=rule.do == "restart",
            match=re.compile(rule.match) if rule.match is not None else None,
            exit_code=rule.exit_code,
            signal=rule.signal or "",
            exclude_node=rule.exclude_node,
        )
        for index, rule in enumerate(rules)
    )


def first_fit(rules: Sequence[OwnRule], code: int, text: str) -> OwnRule | None:
    """The first rule that fits, or None."""
    return next((rule for rule in rules if rule.fits(code, text)), None)
