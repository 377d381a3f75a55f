"""PyYAML's syntax errors in words a person can act on, with the place that is really at fault."""

from __future__ import annotations

import re
from dataclasses import replace

import yaml

from vitmodels.document.problem import Place, Problem
from vitmodels.document.source import Source

# (pattern of PyYAML's problem, pattern of its context, our sentence, hint, where: problem | context | both)
_SENTENCES: tuple[tuple[str, str, str, str, str], ...] = (
    (
        r"found character '\\t'",
        "",
        "a tab can't be used for indentation",
        "use spaces; most editors can convert them",
        "problem",
    ),
    (
        r"found character '([@`%|>])'",
        "",
        "a value can't start with '{0}'",
        "put it in quotes",
        "problem",
    ),
    (
        r"could not find expected ':'",
        "",
        "expected 'key: value', and there is no ':' after this",
        "write a colon and a space after the key; text with special characters needs quotes",
        "context",
    ),
    (
        r"mapping values are not allowed here",
        "",
        "a ':' is not expected here",
        "put a value that contains ': ' in quotes; otherwise check the indentation of this line and the one above",
        "problem",
    ),
    (
        r"sequence entries are not allowed here",
        "",
        "a '- ' list item is not expected here",
        "start the list on its own line, or write it as [a, b]",
        "problem",
    ),
    (r"mapping keys are not allowed here", "", "a '? ' key is not expected here", "", "problem"),
    (
        r"found unexpected end of stream",
        "quoted scalar",
        "this quote is never closed",
        "add the closing quote",
        "context",
    ),
    (
        r"found unexpected document separator",
        "quoted scalar",
        "this quote is never closed",
        "add the closing quote",
        "context",
    ),
    (
        r"found unknown escape character ['\"](.*)['\"]",
        "",
        "'\\{0}' is not an escape sequence",
        "in double quotes a backslash has to be doubled; single quotes keep it as it is",
        "problem",
    ),
    (
        r"expected escape sequence of (\d+) hexadecimal",
        "",
        "this escape sequence needs {0} hexadecimal digits",
        "in double quotes a backslash has to be doubled; single quotes keep it as it is",
        "problem",
    ),
    (
        r"expected ',' or '(.)', but got '<stream end>'",
        "flow",
        "this bracket is never closed",
        "add '{0}'",
        "context",
    ),
    (
        r"expected ',' or '(.)', but got ':'",
        "flow",
        "a ',' or the closing '{0}' is missing before this",
        "separate the items by commas and close the bracket with '{0}'",
        "both",
    ),
    (
        r"expected ',' or '(.)'",
        "flow",
        "expected ',' or '{0}' here",
        "separate the items by commas and close the bracket with '{0}'",
        "both",
    ),
    (
        r"expected <block end>, but found '<block (mapping|sequence) start>'",
        "",
        "this line is indented differently from the lines of its section",
        "give all keys of a section the same indentation",
        "both",
    ),
    (
        r"expected <block end>, but found '-'",
        "",
        "a list item is not expected here",
        "a section holds either 'key: value' lines or '- item' lines",
        "both",
    ),
    (
        r"expected <block end>, but found '<(scalar|alias|anchor|tag)>'",
        "",
        "text follows a value that is complete already",
        "put the whole value in quotes",
        "problem",
    ),
    (
        r"expected <block end>",
        "",
        "this does not fit the section it stands in",
        "check the indentation",
        "both",
    ),
    (
        r"expected the node content, but found '<stream end>'",
        "",
        "the file ends where a value is expected",
        "",
        "problem",
    ),
    (
        r"expected the node content, but found '<",
        "",
        "a value is expected before this",
        "",
        "problem",
    ),
    (
        r"expected the node content, but found '(.*)'",
        "",
        "a value is expected here, and there is '{0}'",
        "put text that starts with a special character in quotes",
        "problem",
    ),
    (
        r"found undefined tag handle '(.*)'",
        "",
        "the tag {0} is not allowed here",
        "remove it: a job file holds plain values only",
        "problem",
    ),
    (
        r"expected alphabetic or numeric character",
        "",
        "'*' and '&' mark aliases and anchors, and no name follows",
        "put text that starts with '*' or '&' in quotes",
        "context",
    ),
    (
        r"expected (chomping or )?indentation indicator|expected a comment or a line break",
        "",
        "nothing may follow '|' or '>' on this line except a number, '+' or '-'",
        "start the text on the next line; put text that starts with '|' or '>' in quotes",
        "problem",
    ),
    (
        r"expected '<document start>'",
        "",
        "the document is complete before this line",
        "check the indentation: the keys of a job file start in the first column",
        "problem",
    ),
    (
        r"found incompatible YAML document",
        "",
        "this YAML version is not known",
        "remove the %YAML line",
        "problem",
    ),
    (r"duplicate tag handle", "", "this '%' line is not understood", "remove it", "problem"),
    (r"directive", "", "this '%' line is not understood", "remove it", "problem"),
    (r"", "directive", "this '%' line is not understood", "remove it", "problem"),
    (r"", "tag", "this tag is not understood", "put text that starts with '!' in quotes", "problem"),
)


_TOO_DEEP = "this key is indented deeper than the value above it, and so it is read as more of that value"


def _first_word(place: Place) -> Place:
    line = place.source_line
    return replace(place, column=len(line) - len(line.lstrip()) + 1)


def translate(error: yaml.YAMLError, source: Source) -> Problem:
    """The problem behind a YAMLError of a source."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Problem(source.place(0, 0), "this is not YAML")
    problem, context = error.problem or "", error.context or ""
    here = source.place_of(error.problem_mark)
    opened = source.place_of(error.context_mark) if error.context_mark else None
    if "mapping values" in problem and ": " not in here.source_line[: here.column - 1]:
        return Problem(_first_word(here), _TOO_DEEP, hint="give all keys of a section the same indentation")
    for wanted, within, sentence, hint, where in _SENTENCES:
        match = re.search(wanted, problem)
        if match is None or within not in context:
            continue
        groups = [source.original(group) for group in match.groups("")]
        place = opened if where == "context" and opened else here
        related = opened if where == "both" and opened != here else None
        return Problem(
            place,
            sentence.format(*groups),
            hint=hint.format(*groups),
            related=related,
            related_text="the bracket opens at" if "flow" in context else "the section begins at",
        )
    return Problem(here, f"this is not YAML: {problem}")
