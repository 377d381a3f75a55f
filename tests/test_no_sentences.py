"""Decisions read fields. What was written for people is shown, and never compared, searched or taken apart."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]

TEXTS = {
    "detail",
    "error_line",
    "headline",
    "hint",
    "last_error",
    "outcome",
    "reason",
    "tracking_error",
    "upload_error",
    "warning",
    "what",
    "why",
}
"""Attributes and variables that hold text for people."""
TAKING_APART = {
    "startswith",
    "endswith",
    "find",
    "rfind",
    "index",
    "count",
    "partition",
    "rpartition",
    "split",
    "rsplit",
    "removeprefix",
    "removesuffix",
}
SEARCHING = {"search", "match", "fullmatch", "findall", "finditer", "sub", "split"}
OTHER_MEANINGS = {
    ("launcher/backends/slurm/query.py", "job.reason"),  # a word of Slurm's own list of reasons
    ("launcher/backends/slurm/backend.py", "job.reason"),
    ("launcher/devices/locks.py", "reason"),  # shown again when it has changed
    ("launcher/cli/verify.py", "args.what"),  # an argument of the command line
    ("launcher/backends/slurm/node.py", "what"),
}


def text_in(node: ast.AST) -> str:
    """The name of a text for people that an expression is, or takes a part or another case of; else empty."""
    while True:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.args:
            node = node.func.value  # reason.lower()
        elif isinstance(node, ast.Subscript):
            node = node.value
        else:
            break
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return ast.unparse(node) if name in TEXTS else ""


def uses_of_texts(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Line, text and form of every decision that reads a text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            against_nothing = any(
                isinstance(side, ast.Constant) and side.value in ("", None) for side in sides
            )
            found = next(filter(None, map(text_in, sides)), "")
            if found and not against_nothing:
                yield node.lineno, found, "compared"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in TAKING_APART and (found := text_in(node.func.value)) and node.args:
                yield node.lineno, found, "taken apart"
            if node.func.attr in SEARCHING:
                for argument in node.args:
                    if found := text_in(argument):
                        yield node.lineno, found, "searched"


FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "launcher").rglob("*.py"))


def test_no_decision_reads_a_sentence() -> None:
    found = [
        f"{name}:{line}: {text} is {form}; give the value a field and read that"
        for name in FILES
        for line, text, form in uses_of_texts(ast.parse((ROOT / name).read_text()))
        if (name, text) not in OTHER_MEANINGS
    ]
    assert FILES
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "code",
    [
        'if "not all in the store" not in view.reason: pass',
        'state.reason.startswith("stopped by")',
        'reason == "cancelled"',
        'attempt.outcome not in ("", "done")',
        're.search(r"(\\d+) %", view.detail)',
        "_REASON.match(view.reason.lower())",
        'head, _, rest = view.reason.partition(": ")',
        'error.what[:10] == "no answer"',
    ],
)
def test_the_forms_are_recognised(code: str) -> None:
    assert list(uses_of_texts(ast.parse(code)))


@pytest.mark.parametrize("code", ["if view.reason: pass", 'view.reason != ""', "state.rule == 'hang'"])
def test_what_is_no_sentence_is_allowed(code: str) -> None:
    assert not list(uses_of_texts(ast.parse(code)))


def test_advice_is_found_by_fields() -> None:
    rows = yaml.safe_load((ROOT / "launcher/advice/advice.yaml").read_text())
    assert not [row["id"] for row in rows if "match" in row]


def test_every_exception_is_needed() -> None:
    for name, text in OTHER_MEANINGS:
        tree = ast.parse((ROOT / name).read_text())
        assert text in {found for _, found, _ in uses_of_texts(tree)}, f"{name} does not need {text}"
