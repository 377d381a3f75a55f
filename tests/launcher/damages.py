"""Ways to damage a small file, as functions from its bytes to other bytes."""

import json
from collections.abc import Callable
from typing import Any

NUMBER = "9" * 5000


def replaced(value: Any) -> Any:
    """The same keys with values of another type."""
    if isinstance(value, dict):
        return {key: replaced(each) for key, each in value.items()}
    return {"odd": [value]} if isinstance(value, str | bool) or value is None else "odd"


def with_types(text: bytes) -> bytes:
    try:
        return json.dumps(replaced(json.loads(text))).encode()
    except ValueError:
        return b"- {a: [1, 2]}\n"


def with_numbers(number: str) -> Callable[[bytes], bytes]:
    def change(text: bytes) -> bytes:
        marked = json.dumps(_marked(text)).replace('"@"', number)
        return marked.encode()

    return change


def _marked(text: bytes) -> Any:
    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: walk(each) for key, each in value.items()}
        if isinstance(value, list):
            return [walk(each) for each in value]
        return "@" if isinstance(value, int | float) and not isinstance(value, bool) else value

    try:
        return walk(json.loads(text))
    except ValueError:
        return {"step": "@"}


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda text: b"",
    "truncated": lambda text: text[: len(text) * 2 // 3],
    "garbage": lambda text: bytes(range(256)) * 4,
    "not UTF-8": lambda text: b'{"run_id": "\xff\xfe"}',
    "a list": lambda text: b"[1, 2, 3]",
    "a text": lambda text: b'"text"',
    "null": lambda text: b"null",
    "wrong types": with_types,
    "NaN": with_numbers("NaN"),
    "infinite": with_numbers("-1e999"),
    "5,000 digits": with_numbers(NUMBER),
    "400 digits": with_numbers("9" * 400),
    "negative": with_numbers("-7"),
    "deep": lambda text: b"[" * 200_000,
    "deep objects": lambda text: b'{"a":' * 200_000,
    "huge": lambda text: text + b"\n" + b" " * 3_000_000 + b"x",
}
