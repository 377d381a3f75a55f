"""Server-sent events: what is new on a run's page, and new lines of its logs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator

from launcher.api import Run
from launcher.errors import LauncherError
from launcher.printable import printable
from launcher.report.gather import gather
from launcher.runs.logs import LogReader

POLL_S = 2.0
MAX_LINES = 500
"""Lines of a log that are sent at once; of more the newest."""


def event(name: str, text: str) -> str:
    """One event; `text` may have lines."""
    data = "".join(f"data: {line}\n" for line in text.split("\n"))
    return f"event: {name}\n{data}\n"


def live_events(run: Run, render: Callable[..., str], closing: threading.Event) -> Iterator[str]:
    """The live part of a page whenever it has changed, until the run or the server ends. Blocks between events."""
    last = ""
    while not closing.is_set():
        try:
            report = gather(run)
        except LauncherError as error:
            yield event("trouble", error.what)
        else:
            if (text := render(report, time.time())) != last:
                last = text
                yield event("live", text)
            if report.view.state.terminal:
                yield event("end", "")
                return
        yield ": alive\n\n"
        closing.wait(POLL_S)


def log_events(run: Run, rank: int | None, text: str, closing: threading.Event) -> Iterator[str]:
    """Lines with `text` in them, as a JSON list an event, until the run or the server ends."""
    reader = LogReader(run.entry, rank=rank)
    while not closing.is_set():
        try:
            ended = run.state.terminal
            lines = [
                f"{each.process}: {printable(each.text)}"
                for each in reader.read()
                if text.lower() in each.text.lower()
            ]
        except LauncherError as error:
            yield event("trouble", error.what)
            ended, lines = True, []
        if left_out := lines[:-MAX_LINES]:
            more = f"... {len(left_out)} earlier lines: launcher logs {run.id}"
            lines = [more, *lines[-MAX_LINES:]]
        if lines:
            yield event("lines", json.dumps(lines))
        if ended:
            yield event("end", "")
            return
        yield ": alive\n\n"
        closing.wait(POLL_S)
