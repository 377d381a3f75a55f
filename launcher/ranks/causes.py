"""The table of causes: what a failure means and whether a restart can help. The rules are data, in causes.yaml."""

from __future__ import annotations

import functools
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from launcher.jobfile.spec_failures import RetryRule


@dataclass(frozen=True, slots=True)
class Rule:
    """One row. All conditions that are given must hold."""

    id: str
    restart: bool
    match: re.Pattern[str] | None = None
    exit_codes: tuple[int, ...] = ()
    signal: str = ""
    consequence: bool = False
    exclude_node: bool = False
    says: str = ""

    def fits(self, code: int, text: str) -> bool:
        """`code` as in subprocess; `text` is what the rule's pattern is searched in."""
        if self.exit_codes and code not in self.exit_codes:
            return False
        if self.signal and signal_of(code) != self.signal:
            return False
        return self.match is None or self.match.search(text) is not None


UNKNOWN = Rule("unknown", restart=True)


def signal_of(code: int) -> str:
    """Name of the signal behind an exit code: negative as subprocess has it, 128+n as a shell has it; else empty."""
    number = -code if code < 0 else code - 128 if 128 < code < 160 else 0
    try:
        return signal.Signals(number).name if number else ""
    except ValueError:
        return ""


@functools.cache
def built_in() -> tuple[Rule, ...]:
    """The rules of causes.yaml, in order."""
    rows = yaml.safe_load(Path(__file__).with_name("causes.yaml").read_text(encoding="utf-8"))
    return tuple(_rule(row) for row in rows)


def own_rules(rules: Sequence[RetryRule]) -> tuple[Rule, ...]:
    """The rules of a job file, by their place in it."""
    return tuple(
        Rule(
            id=f"retry.on[{index}]",
            restart=rule.do == "restart",
            match=re.compile(rule.match) if rule.match is not None else None,
            exit_codes=(rule.exit_code,) if rule.exit_code is not None else (),
            signal=rule.signal or "",
            exclude_node=rule.exclude_node,
        )
        for index, rule in enumerate(rules)
    )


def first_fit(rules: Sequence[Rule], code: int, text: str) -> Rule | None:
    """The first rule that fits, or None."""
    return next((rule for rule in rules if rule.fits(code, text)), None)


def _rule(row: dict[str, Any]) -> Rule:
    return Rule(
        id=row["id"],
        restart={"restart": True, "fail": False}[row["do"]],
        match=re.compile(row["match"]) if "match" in row else None,
        exit_codes=tuple(row.get("exit_code", ())),
        signal=row.get("signal", ""),
        consequence=row.get("consequence", False),
        says=row.get("says", ""),
    )
