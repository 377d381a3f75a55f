"""Why a run ended as it did: the first failing rank, its error line, what that means, and what to type next."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from launcher.backends import get_backend
from launcher.backends.base import Platform
from launcher.errors import LauncherError, NoSuchRun
from launcher.plan.model import ASCEND_DEVICES, Plan
from launcher.runfolder.states import State
from launcher.runs.adopt import adopted
from launcher.runs.folder import RunFolder
from launcher.runs.index import RunEntry
from launcher.runs.loglines import LogLine, error_texts
from launcher.runs.logs import LogReader
from launcher.runs.view import RunView

_REASON = re.compile(
    r"^(?P<process>rank (?P<rank>\d+)|scheduler|[\w ]{1,20}?) on (?P<host>\S+)(?: \(node (?P<node>\d+)\))? (?P<how>.*)$"
)
EXCERPT_LINES = 14


@dataclass(frozen=True, slots=True)
class Advice:
    """A row of advice.yaml."""

    id: str
    match: re.Pattern[str]
    means: str
    do: tuple[str, ...]
    next: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """`how` is the end of the process in words, with signal or exit code; empty fields are not known."""

    run_id: str
    state: str
    summary: str
    process: str = ""
    rank: int | None = None
    host: str = ""
    node: int | None = None
    device: str = ""
    how: str = ""
    error_line: str = ""
    excerpt: tuple[str, ...] = ()
    attempt: int = 1
    attempts: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    advice: str = ""
    means: str = ""
    do: tuple[str, ...] = ()
    safe: str = ""
    next: tuple[str, ...] = ()
    platform: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def explain_run(entry: RunEntry, view: RunView) -> Explanation:
    """Reads state, plan and logs of the run; a log that can't be read is left out. Raises StoreError for the plan."""
    if view.state is not State.FAILED and not view.reason and not _failed_before(view):
        return Explanation(
            view.run_id,
            str(view.state),
            _no_failure(view),
            attempt=view.attempt,
            safe=_safe(view),
            next=_commands(view, None),
            platform=_platform(entry),
        )
    reason, attempt = (view.reason, view.attempt) if view.reason else _failed_before(view)[-1]
    reason = _without_hint(reason)
    plan = RunFolder.of(entry).plan()
    match = _REASON.match(reason.splitlines()[0])
    process = match["process"] if match else ""
    rank = int(match["rank"]) if match and match["rank"] else None
    lines = _log(entry, attempt)
    own = [line for line in lines if match and line.process == process.replace(" ", "-")]
    error_line, excerpt = _error_of(own, reason)
    how, _, rest = (match["how"] if match else reason).partition(": ")
    advice = advice_for(f"{reason}\n{error_line}")
    platform = _platform(entry)
    commands = _commands(view, advice)
    return Explanation(
        run_id=view.run_id,
        state=str(view.state),
        summary=reason,
        process=process,
        rank=rank,
        host=match["host"] if match else "",
        node=int(match["node"]) if match and match["node"] else None,
        device=_device(plan, rank),
        how=how if match else "",
        error_line=error_line or rest,
        excerpt=excerpt,
        attempt=attempt,
        attempts=tuple(f"attempt {a.attempt}: {a.outcome or 'running'}" for a in view.attempts),
        later=_later(lines, process),
        advice=advice.id if advice else "",
        means=advice.means if advice else "",
        do=tuple(_fill(text, view, rank) for text in advice.do) if advice else (),
        safe=_safe(view),
        next=(f"launcher logs {view.run_id} --console", *commands) if platform and not lines else commands,
        platform=platform,
    )


def advice_for(text: str) -> Advice | None:
    """The first row of advice.yaml that fits a reason and its error line."""
    return next((row for row in advice_rows() if row.match.search(text)), None)


@functools.cache
def advice_rows() -> tuple[Advice, ...]:
    """All rows of advice.yaml, in order."""
    rows = yaml.safe_load(Path(__file__).with_name("advice.yaml").read_text(encoding="utf-8"))
    return tuple(
        Advice(row["id"], re.compile(row["match"]), row["means"], tuple(row["do"]), row["next"])
        for row in rows
    )


def _failed_before(view: RunView) -> list[tuple[str, int]]:
    """Outcome and number of the attempts that did not end well."""
    good = ("", "done", "running")
    return [(each.outcome, each.attempt) for each in view.attempts if each.outcome not in good]


def _no_failure(view: RunView) -> str:
    if view.state is State.SUCCEEDED:
        return "nothing failed: every program ended well and every result is in the store, verified"
    if view.state is State.CANCELLED:
        return "somebody asked for the end of the run"
    return f"nothing has failed so far; the run is {view.state}" + (f", {view.phase}" if view.phase else "")


def _without_hint(reason: str) -> str:
    return "\n".join(line for line in reason.splitlines() if not line.startswith("  hint:"))


def _log(entry: RunEntry, attempt: int) -> list[LogLine]:
    try:
        return LogReader(entry, attempt=attempt).read()
    except (NoSuchRun, LauncherError):
        return []


def _platform(entry: RunEntry) -> tuple[str, ...]:
    """What the platform of the run says of it; what it does not tell is no reason to tell nothing."""
    backend = get_backend(entry.backend)
    entry, why = adopted(entry)
    if entry.handle is None or not isinstance(backend, Platform):
        return (why,) if why else ()
    try:
        return backend.story(entry.handle)
    except LauncherError as error:
        return (f"the platform does not answer: {error.what}",)


def _error_of(lines: Sequence[LogLine], reason: str) -> tuple[str, tuple[str, ...]]:
    """The line of the failing process that the reason quotes, else its first error, with what stands before it."""
    texts = [line.text for line in lines]
    flags = error_texts(texts)
    candidates = [i for i, flag in enumerate(flags) if flag and texts[i].strip()]
    quoted = [i for i in candidates if len(texts[i].strip()) > 3 and texts[i].strip() in reason]
    if quoted:
        last = quoted[0]
    elif candidates:
        first = candidates[0]
        last = first
        while last + 1 < len(flags) and flags[last + 1] and texts[last].startswith(("Traceback", " ")):
            last += 1
    else:
        return "", tuple(texts[-5:])
    start = last
    while start > 0 and flags[start - 1] and not texts[start].startswith("Traceback"):
        start -= 1
    return texts[last].strip(), tuple(texts[max(start, last + 1 - EXCERPT_LINES) : last + 1])


def _later(lines: Sequence[LogLine], process: str) -> tuple[str, ...]:
    """One error line of each other process: what followed from the first failure."""
    names: dict[str, list[str]] = {}
    for line in lines:
        if line.process != process.replace(" ", "-") and line.process != "node":
            names.setdefault(line.process.replace("-", " "), []).append(line.text)
    found = []
    for name, texts in names.items():
        flags = error_texts(texts)
        told = [
            t.strip()
            for t, flag in zip(texts, flags, strict=True)
            if flag and not t.startswith(("Traceback", " "))
        ]
        if told:
            found.append(f"{name}: {told[0]}")
    return tuple(found)


def _device(plan: Plan, rank: int | None) -> str:
    if rank is None or rank >= len(plan.ranks):
        return ""
    local = plan.ranks[rank].local_rank
    return f"{plan.device} {local}" if plan.device in ASCEND_DEVICES else ""


def _safe(view: RunView) -> str:
    if view.state is State.SUCCEEDED:
        return "all results are in the store"
    if view.safe_step is None:
        return "no checkpoint is in the store"
    return f"checkpoint step {view.safe_step} is in the store, verified"


def _fill(text: str, view: RunView, rank: int | None) -> str:
    return text.replace("{run}", view.run_id).replace("{rank}", str(rank if rank is not None else ""))


def _commands(view: RunView, advice: Advice | None) -> tuple[str, ...]:
    """What to type next, the best first."""
    if view.state is State.SUCCEEDED:
        return (f"launcher fetch-results {view.run_id} --to DIR",)
    if not view.state.terminal:
        return (f"launcher attach {view.run_id}",)
    found = [_fill(advice.next, view, None)] if advice else []
    found += [f"launcher logs {view.run_id} --errors", f"launcher resume {view.run_id}"]
    return tuple(dict.fromkeys(found))
