"""Why a run ended as it did: the first failing rank, its error line, what that means, and what to type next."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal

from launcher.advice.commands import next_commands
from launcher.advice.rows import Advice, advice_for, would_repeat
from launcher.backends import get_backend
from launcher.backends.base import Platform
from launcher.errors import LauncherError
from launcher.runfolder.states import AttemptResult, FirstFailure, State
from launcher.runs.adopt import adopted
from launcher.runs.drift import drift_of
from launcher.runs.folder import RunFolder
from launcher.runs.index import RunEntry
from launcher.runs.loglines import error_texts, first_statement, log_name, rank_of
from launcher.runs.logs import LogReader
from launcher.runs.plogs import Plog, plogs_in
from launcher.runs.processlog import ProcessLog, merged
from launcher.runs.shownevidence import ShownEvidence, evidence_in
from launcher.runs.view import RunView
from launcher.runs.words import came_from

Costly = Literal["drift", "evidence", "later"]
"""Fields of an explanation that take asking the store for the snapshot, diagnosing all logs, and reading them."""
EXCERPT_LINES = 14
QUOTED_PLOG = 5
"""Lines of a CANN log that are shown, the last of them the error."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The first failure and what is known of its rule; None and empty where nothing is known. `repeats`: a restart would not help."""

    rule: str
    rank: int | None
    node: int | None
    host: str
    device: str
    code: str
    line: str
    means: str
    advice: tuple[str, ...]
    repeats: bool


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
    error_file: str = ""
    excerpt: tuple[str, ...] = ()
    attempt: int = 1
    attempts: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    advice: str = ""
    means: str = ""
    do: tuple[str, ...] = ()
    safe: str = ""
    drift: str = ""
    next: tuple[str, ...] = ()
    platform: tuple[str, ...] = ()
    verdict: Verdict | None = None
    evidence: tuple[ShownEvidence, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All fields under their names."""
        return asdict(self)


def explain_run(entry: RunEntry, view: RunView, *, without: Collection[Costly] = ()) -> Explanation:
    """Reads state and logs of the run; a log that can't be read is left out. Fields named in `without` stay empty."""
    ended, platform = _bad_end(view), _platform(entry)
    drift = "" if "drift" in without else drift_of(entry).words()
    if ended is None:
        return _nothing_to_explain(view, platform, drift)
    failure = ended.failure
    logs, plogs = _logs(entry, ended.attempt, failure, without)
    error_line, excerpt = _quote(logs, plogs, failure)
    advice = advice_for(failure, unsafe=ended.unsafe)
    commands = next_commands(view, advice)
    return Explanation(
        run_id=view.run_id,
        state=str(view.state),
        summary=ended.words,
        process=failure.process,
        rank=failure.rank,
        host=failure.host,
        node=failure.node,
        device=failure.device,
        how=failure.how,
        error_line=error_line or failure.line,
        error_file=f"{failure.file} (launcher logs {view.run_id} --plog)" if failure.file else "",
        excerpt=excerpt,
        attempt=ended.attempt,
        attempts=tuple(f"attempt {a.attempt}{came_from(a)}: {a.outcome or 'running'}" for a in view.attempts),
        later=() if "later" in without else _later(logs, failure),
        advice=advice.id if advice else "",
        means=advice.means if advice else "",
        do=tuple(_fill(text, view, failure.rank) for text in advice.do) if advice else (),
        safe=_safe(view),
        drift=drift,
        next=(f"launcher logs {view.run_id} --console", *commands) if platform and not logs else commands,
        platform=platform,
        verdict=_verdict(failure, advice, view),
        evidence=() if "evidence" in without else evidence_in(logs, plogs),
    )


def _verdict(failure: FirstFailure, advice: Advice | None, view: RunView) -> Verdict:
    return Verdict(
        rule=failure.rule,
        rank=failure.rank,
        node=failure.node,
        host=failure.host,
        device=failure.device,
        code=failure.code,
        line=failure.line,
        means=advice.means if advice else "",
        advice=tuple(_fill(text, view, failure.rank) for text in advice.do) if advice else (),
        repeats=would_repeat(failure, advice),
    )


def _nothing_to_explain(view: RunView, platform: tuple[str, ...], drift: str) -> Explanation:
    return Explanation(
        run_id=view.run_id,
        state=str(view.state),
        summary=_no_failure(view),
        attempt=view.attempt,
        safe=_safe(view),
        drift=drift,
        next=next_commands(view, None),
        platform=platform,
    )


@dataclass(frozen=True, slots=True)
class _BadEnd:
    """The end to explain: that of the run, or of an attempt before. `words` are for people."""

    words: str
    failure: FirstFailure
    attempt: int
    unsafe: bool = False


def _bad_end(view: RunView) -> _BadEnd | None:
    """None for a run without a recorded failure."""
    if view.state is State.FAILED or (view.headline and view.state is not State.SUCCEEDED):
        failure = view.first_failure or FirstFailure()
        return _BadEnd(view.headline, failure, view.attempt, unsafe=bool(view.unsafe))
    harmless = (None, AttemptResult.DONE, AttemptResult.CANCELLED)
    failed = [each for each in view.attempts if each.result not in harmless]
    if not failed:
        return None
    last = failed[-1]
    return _BadEnd(last.outcome, last.first_failure or FirstFailure(), last.attempt)


def _no_failure(view: RunView) -> str:
    if view.state is State.SUCCEEDED:
        known = all(each.result is not None for each in view.attempts[:-1])
        what = "nothing failed" if known else f"nothing failed in attempt {view.attempt}"
        stored = "not every result is" if view.unsafe else "every result is"
        where = "in the store: " + view.headline if view.unsafe else "in the store, verified"
        return f"{what}: every program ended well and {stored} {where}"
    if view.state is State.CANCELLED:
        return "somebody asked for the end of the run"
    return f"nothing has failed so far; the run is {view.state}" + (f", {view.phase}" if view.phase else "")


def _logs(
    entry: RunEntry, attempt: int, failure: FirstFailure, without: Collection[Costly]
) -> tuple[list[ProcessLog], list[Plog]]:
    """All of the log of the failing process, of the others those that can hold an error, and CANN's. One listing for both.

    Logs by the time of their first line; empty ones are left out, and so is what can't be read. Without what needs them the logs
    of other ranks are read only where the failing rank has none, and of CANN's only the one that the failure names.
    """
    logs: list[ProcessLog] = []
    plogs: list[Plog] = []
    with suppress(LauncherError):
        folder = RunFolder.of(entry)
        names = dict.fromkeys(folder.names("logs/"), 1)
        rank = rank_of(log_name(failure.process)) if {"later", "evidence"} <= {*without} else None
        logs = _read(entry, folder, names, attempt, failure, rank)
        if not logs and rank is not None:
            logs = _read(entry, folder, names, attempt, failure, None)
        named = f"logs/attempt-{attempt}/node-{failure.node}/{failure.file.rpartition(':')[0]}"
        plogs = plogs_in(folder, names.keys() & {named} if "evidence" in without else names, attempt=attempt)
    return logs, plogs


def _read(
    entry: RunEntry,
    folder: RunFolder,
    names: Mapping[str, int],
    attempt: int,
    failure: FirstFailure,
    rank: int | None,
) -> list[ProcessLog]:
    with suppress(LauncherError):
        reader = LogReader(entry, rank=rank, attempt=attempt, whole=log_name(failure.process), _folder=folder)
        return sorted((log for log in reader.logs(names) if log.text), key=lambda log: log.begin)
    return []


def _quote(
    logs: Sequence[ProcessLog], plogs: Sequence[Plog], failure: FirstFailure
) -> tuple[str, tuple[str, ...]]:
    """The error line with what stands before it, from the log of the process or from the file that the failure names."""
    name, _, number = failure.file.rpartition(":")
    plog = next((each for each in plogs if (each.node, each.name) == (failure.node, name)), None)
    if plog is not None and number.isdecimal():
        return failure.line, tuple(plog.text.split("\n")[max(0, int(number) - QUOTED_PLOG) : int(number)])
    process = log_name(failure.process)
    own = [log for log in logs if log.process == process]
    return _error_of(_texts(own), failure.line) if failure.process else ("", ())


def _platform(entry: RunEntry) -> tuple[str, ...]:
    """The platform's account of the run; empty when the platform does not answer, which must not fail the explanation."""
    backend = get_backend(entry.backend)
    entry, why = adopted(entry)
    if entry.handle is None or not isinstance(backend, Platform):
        return (why,) if why else ()
    try:
        return backend.story(entry.handle)
    except LauncherError as error:
        return (f"the platform does not answer: {error.what}",)


def _texts(logs: Sequence[ProcessLog]) -> Sequence[str]:
    """The lines of a process, which has one log; of several by their time."""
    return logs[0].texts if len(logs) == 1 else [line.text for line in merged(logs)]


def _error_of(texts: Sequence[str], stated: str) -> tuple[str, tuple[str, ...]]:
    """The line of the failing process' log that diagnosis chose, else its first error, with the lines before it."""
    from launcher.diagnosis.tracebacks import TRACEBACK

    flags = error_texts(texts)
    errors = [i for i, flag in enumerate(flags) if flag and texts[i].strip()]
    if not errors:
        return "", tuple(texts[-5:])
    same = [i for i in errors if stated and texts[i].strip().endswith(stated)]  # a margin may stand before it
    last = next((i for i in same if texts[i].strip() == stated), same[0] if same else None)
    if last is None:
        statement = first_statement(texts, "\n".join(texts))
        last = errors[0] if statement is None else texts.index(statement, errors[0])
    start = last
    while start > 0 and flags[start - 1] and TRACEBACK not in texts[start]:
        start -= 1
    return texts[last].strip(), tuple(texts[max(start, last + 1 - EXCERPT_LINES) : last + 1])


def _later(logs: Sequence[ProcessLog], failure: FirstFailure) -> tuple[str, ...]:
    """One error line of each other process: what followed from the first failure."""
    failed = log_name(failure.process)
    logs_of: dict[str, list[ProcessLog]] = {}
    for log in logs:
        if log.process not in ("node", failed):
            logs_of.setdefault(log.process, []).append(log)
    found = []
    for process, own in logs_of.items():
        texts = [] if len(own) == 1 else _texts(own)
        first = first_statement(texts, "\n".join(texts)) if texts else own[0].first_statement()
        if first is not None:
            found.append(f"{process.replace('-', ' ')}: {first.strip()}")
    return tuple(found)


def _safe(view: RunView) -> str:
    if view.unsafe:
        return "not all results are in the store"
    if view.state is State.SUCCEEDED:
        return "all results are in the store"
    return f"{view.safe} is in the store, verified" if view.safe else "no checkpoint is in the store"


def _fill(text: str, view: RunView, rank: int | None) -> str:
    return text.replace("{run}", view.run_id).replace("{rank}", str(rank if rank is not None else ""))
