"""Hints for a command line that can't be taken: the verbs of other tools, and values of the job file that were typed as options."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

VERBS = {
    "run": "submit",
    "start": "submit",
    "launch": "submit",
    "sbatch": "submit",
    "ps": "status",
    "queue": "status",
    "squeue": "status",
    "jobs": "status",
    "show": "status",
    "describe": "status",
    "stop": "cancel",
    "kill": "cancel",
    "down": "cancel",
    "scancel": "cancel",
    "tail": "logs -f",
    "log": "logs",
    "follow": "attach",
    "watch": "attach",
    "download": "fetch-results",
    "fetch": "fetch-results",
    "pull": "fetch-results",
    "validate": "check",
    "lint": "check",
    "dry-run": "submit --dry-run",
    "why": "explain",
    "continue": "resume",
    "restart": "resume",
    "compare": "report",
    "copy": "cp",
}
"""What other tools call a command, and what it is called here."""

DESTRUCTIVE = ("prune", "delete")
"""Commands that remove something: a slip of the finger is never answered with one of them."""


def unknown_command(name: str, commands: Iterable[str]) -> str:
    """The hint for a command that does not exist."""
    from vitmodels.suggest import nearest

    if name in VERBS:
        return f"that is 'launcher {VERBS[name]}' here"
    names = list(commands)
    close = nearest(name, [each for each in names if each not in DESTRUCTIVE])
    return f"did you mean '{close}'?" if close else f"commands: {', '.join(names)}"


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """The arguments; words that are left over end the program with code 2 and what to type. Raises SystemExit."""
    args, left_over = parser.parse_known_args(words)
    if left_over:
        hint = _values_typed_as_options(left_over) if hasattr(args, "set") else ""
        parser.error(f"unrecognized arguments: {' '.join(left_over)}" + (f"\n  hint: {hint}" if hint else ""))
    return args


def _values_typed_as_options(words: Sequence[str]) -> str:
    """`--epochs 3`, `--epochs=3` and `epochs=3` are values of the job file; empty for anything else."""
    pairs = []
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        key, equals, value = word.lstrip("-").partition("=")
        if not equals and word.startswith("--") and remaining and not remaining[0].startswith("--"):
            value = remaining.pop(0)
        elif not equals:
            return ""
        pairs.append(f"--set {key.replace('-', '_')}={value}")
    return f"a value of the job file or recipe is changed with {' '.join(pairs)}"
