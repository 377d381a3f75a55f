"""The table of causes: one row for each kind of failure. The rows are data, in `table/*.yaml`; docs/diagnosis.md explains the fields."""

from __future__ import annotations

import functools
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from launcher.diagnosis.lines import any_of

Role = Literal["cause", "consequence", "generic"]
TABLE = Path(__file__).with_name("table")
_DEFAULT_WEIGHT = 8


@dataclass(frozen=True, slots=True)
class Rule:
    """One row. `weight` says how much a line of this kind proves: 8 for a code of its own, 1 for a bare complaint.

    A `consequence` follows from the failure of another process; a `generic` line only points at another one.
    `repeats`: a restart would fail the same way. `whose` is at fault: this rank, the peer it names, its node or its card.
    """

    id: str
    means: str
    do: tuple[str, ...]
    next: str
    source: str
    role: Role = "cause"
    repeats: bool = False
    whose: str = "rank"
    weight: int = _DEFAULT_WEIGHT
    exclude_node: bool = False
    codes: Mapping[str, str] | None = None
    families: tuple[str, ...] = ()
    returns: tuple[int, ...] = ()
    exceptions: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    needles: tuple[str, ...] = ()
    match: re.Pattern[str] | None = None
    peer: re.Pattern[str] | None = None
    only_errors: bool = False
    exit_codes: tuple[int, ...] = ()
    signals: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()

    def fits(self, line: str) -> bool:
        """Whether the words or the pattern of this row stand in the line."""
        for word in self.words:  # twice as fast as any(), and this is asked for each rank and row
            if word in line:
                return True
        if self.match is None:
            return False
        for needle in self.needles or ("",):
            if needle in line:
                return self.match.search(line) is not None
        return False

    def meaning(self, code: str) -> str:
        """`means` with the code and its own short text filled in."""
        text = (self.codes or {}).get(code, "")
        plain = self.means if code else re.sub(r"\s*\([^()]*\{code\}[^()]*\)", "", self.means)
        return plain.replace(", {meaning}", f", {text}" if text else "").replace("{code}", code)


@dataclass(frozen=True, slots=True)
class WordIndex:
    """All words of the rows in one pattern: asking each row for each of its words takes four times as long.

    `rows` has the numbers of the rows that look for a word or for the beginning of it, `always` those that look for none.
    """

    pattern: re.Pattern[str]
    rows: Mapping[str, frozenset[int]]
    always: frozenset[int]

    @classmethod
    def of(cls, rules: Sequence[Rule]) -> WordIndex:
        """Of rows by their numbers."""
        own = [(*rule.words, *(rule.needles if rule.match else ())) for rule in rules]
        words = sorted(
            {word for each in own for word in each}, key=len, reverse=True
        )  # the longest one is found
        rows = {
            word: frozenset(number for number, each in enumerate(own) if any(map(word.startswith, each)))
            for word in words
        }
        bare = (number for number, rule in enumerate(rules) if rule.match and not rule.needles)
        return cls(re.compile(any_of(words) or "(?!)"), rows, frozenset(bare))

    def rows_of(self, line: str) -> list[int]:
        """The numbers of the rows that may fit, in order."""
        found, match = self.always, self.pattern.search(line)
        while match:
            found |= self.rows[match[0]]
            match = self.pattern.search(line, match.start() + 1)
        return sorted(found)


@dataclass(frozen=True)
class Table:
    """All rows, and the ways to find one."""

    rules: tuple[Rule, ...]
    by_code: Mapping[str, Rule]
    by_family: Mapping[str, Rule]
    by_return: Mapping[int, Rule]
    by_exception: Mapping[str, Rule]
    by_exit: Mapping[int, Rule]
    by_signal: Mapping[str, Rule]
    phrases: tuple[Rule, ...]
    _words: WordIndex

    def phrases_in(self, line: str) -> list[Rule]:
        """The rows whose words or pattern stand in the line, in the order of the table."""
        rules = (self.phrases[number] for number in self._words.rows_of(line))
        return [rule for rule in rules if rule.fits(line)]

    def of_code(self, code: str) -> Rule | None:
        """The row of a code such as EI0002, else that of its family; None for what is no code of CANN's."""
        return self.by_code.get(code) or self.by_family.get(code[:2])

    def of_exception(self, name: str) -> Rule:
        """The row of an exception type, by its whole name or its last word; `unknown` for others."""
        return (
            self.by_exception.get(name) or self.by_exception.get(name.rpartition(".")[2]) or self["unknown"]
        )

    def of_exit(self, code: int) -> Rule | None:
        """The row of an exit code as subprocess has it; None when it says nothing."""
        return self.by_signal.get(signal_of(code)) or self.by_exit.get(code)

    def __getitem__(self, rule_id: str) -> Rule:
        return next(rule for rule in self.rules if rule.id == rule_id)

    def get(self, rule_id: str) -> Rule | None:
        """The row of that id, or None."""
        return next((rule for rule in self.rules if rule.id == rule_id), None)


def signal_of(code: int) -> str:
    """Name of the signal behind an exit code: negative as subprocess has it, 128+n as a shell has it; else empty."""
    number = -code if code < 0 else code - 128 if 128 < code < 160 else 0
    try:
        return signal.Signals(number).name if number else ""
    except ValueError:
        return ""


@functools.cache
def table() -> Table:
    """The rows of all files of the table."""
    return make_table([_rule(row) for path in sorted(TABLE.glob("*.yaml")) for row in rows_in(path)])


def rows_in(path: Path) -> list[dict[str, Any]]:
    """The rows of a table that comes with the launcher, read by libyaml where it is there."""
    import yaml  # most commands look nothing up

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    rows: list[dict[str, Any]] = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 - a safe loader
    return rows


def make_table(rules: Sequence[Rule]) -> Table:
    """Rows and their index. Raises ValueError when two rows claim the same id, code, return code, exception or exit."""
    phrases = tuple(rule for rule in rules if rule.words or rule.match)
    return Table(
        rules=tuple(rules),
        by_code=_index((code, rule) for rule in rules for code in rule.codes or {}),
        by_family=_index((family, rule) for rule in rules for family in rule.families),
        by_return=_index((number, rule) for rule in rules for number in rule.returns),
        by_exception=_index((name, rule) for rule in rules for name in _exception_names(rule)),
        by_exit=_index((code, rule) for rule in rules for code in rule.exit_codes),
        by_signal=_index((name, rule) for rule in rules for name in rule.signals),
        phrases=phrases,
        _words=WordIndex.of(phrases),
    )


def _index(pairs: Any) -> dict[Any, Rule]:
    index: dict[Any, Rule] = {}
    for key, rule in pairs:
        if index.setdefault(key, rule) is not rule:
            raise ValueError(f"{key} stands in two rows of the table: {index[key].id} and {rule.id}")
    return index


def _exception_names(rule: Rule) -> list[str]:
    names = set(rule.exceptions)
    return sorted(names | {name.rpartition(".")[2] for name in names if "requests" not in name})


def _rule(row: Mapping[str, Any]) -> Rule:
    codes = row.get("codes", {})
    unknown = row.keys() - Rule.__dataclass_fields__.keys() - {"family", "signal"}
    if unknown:
        raise ValueError(f"row {row.get('id')} of the table has unknown fields: {sorted(unknown)}")
    return Rule(
        id=row["id"],
        means=row["means"],
        do=tuple(row["do"]),
        next=row["next"],
        source=row["source"],
        role=row.get("role", "cause"),
        repeats=row["repeats"],
        whose=row.get("whose", "rank"),
        weight=row.get("weight", _DEFAULT_WEIGHT),
        exclude_node=row.get("exclude_node", False),
        codes=codes if isinstance(codes, dict) else dict.fromkeys(codes, ""),
        families=tuple(row.get("families", [row["family"]] if "family" in row else [])),
        returns=tuple(row.get("returns", ())),
        exceptions=tuple(row.get("exceptions", ())),
        words=tuple(row.get("words", ())),
        needles=tuple(row.get("needles", ())),
        match=re.compile(row["match"]) if "match" in row else None,
        peer=re.compile(row["peer"]) if "peer" in row else None,
        only_errors=row.get("only_errors", False),
        exit_codes=tuple(row.get("exit_codes", ())),
        signals=tuple(row.get("signals", [row["signal"]] if "signal" in row else [])),
        examples=tuple(row.get("examples", ())),
    )


def rules_page() -> str:
    """The rows as a table in Markdown, in the order of their ids: what the page on diagnosis shows."""
    lines = ["| rule | found by | kind | repeats | source |", "| --- | --- | --- | --- | --- |"]
    for rule in sorted(table().rules, key=lambda rule: rule.id):
        repeats = "yes" if rule.repeats else "no"
        lines.append(f"| `{rule.id}` | {_found_by(rule)} | {rule.role} | {repeats} | {rule.source} |")
    return "\n".join(lines) + "\n"


def _found_by(rule: Rule) -> str:
    parts = [
        ", ".join(sorted(rule.codes or {})),
        ", ".join(f"{family}…" for family in rule.families),
        ", ".join(map(str, rule.returns)),
        ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in rule.exceptions)),
        ", ".join(f"exit code {code}" for code in rule.exit_codes),
        ", ".join(rule.signals),
        "phrases" if rule.words or rule.match else "",
    ]
    return "; ".join(part for part in parts if part)
