"""`launcher status` and `launcher list`."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple, Protocol

from launcher.cli.common import RUN_HELP, add_store_of_run, count, json_text, out, say, store_of_run
from launcher.cli.terminal import control

if TYPE_CHECKING:
    from launcher.runs.index import Index, RunEntry
    from launcher.runs.listing import Filter
    from launcher.runs.view import RunView

HELP = """State, progress and results of one run in detail, or a table: of the runs that are named, else of the newest ones.

With --json: one object for a single RUN, else a list of objects."""

WATCH_S = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="*", help=RUN_HELP)
    add_store_of_run(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--watch",
        nargs="?",
        type=float,
        const=WATCH_S,
        metavar="S",
        help="look again every S seconds (2), until the run has ended or Ctrl-C",
    )
    parser.add_argument(
        "--exit-code",
        action="store_true",
        help="0 SUCCEEDED, 100 FAILED, 103 CANCELLED, 101 not ended; of a table the worst: 100, 101, 103, 0",
    )
    which = parser.add_argument_group("which runs the table shows")
    which.add_argument(
        "--state", action="append", default=[], metavar="S", help="failed, running…, or live, or ended"
    )
    which.add_argument("--since", metavar="WHEN", help="2h, 3d, 14:30 or '2026-11-21 14:30'")
    which.add_argument(
        "--name", default="", metavar="NAME", help="name of the job, or a pattern such as 'tnt-*'"
    )
    which.add_argument("--backend", default="", help="back end")
    which.add_argument("--group", default="", help="runs of one sweep, with the values that differ")
    which.add_argument(
        "--sort",
        choices=("new", "top1", "loss"),
        default="new",
        help="newest, highest top-1 or lowest loss first; * marks the best top-1 of a sweep",
    )
    which.add_argument(
        "--limit",
        type=count,
        default=None,
        metavar="N",
        help="newest N runs (0: all; default 20, of a group all)",
    )


def run(args: argparse.Namespace) -> int:
    from launcher.runs.index import Index
    from launcher.runs.nogc import no_gc

    index = Index()
    subject = OneRun(args, index) if len(args.runs) == 1 else ManyRuns(args, index)
    if args.watch is None:
        with no_gc():
            look = subject.look()
            if look.text:
                out(look.text)
        code = look.exit_code
    else:
        code = _watch(subject, max(0.2, args.watch))
    return code if args.exit_code else 0


class Look(NamedTuple):
    """What is known at one moment. Two looks with the same `key` show the same; after `ended` nothing changes any more."""

    text: str
    exit_code: int
    ended: bool
    key: object


class Subject(Protocol):
    """What `status` shows: one run, or a table of runs."""

    def look(self) -> Look:
        """How it is now. Raises StoreError."""


class OneRun:
    """The run that was named."""

    def __init__(self, args: argparse.Namespace, index: Index) -> None:
        self._json, self._index, self._entry = (
            args.json,
            index,
            index.find(args.runs[0], store_of_run(args, args.runs[0])),
        )

    def look(self) -> Look:
        from launcher.cli.statusdetail import detail
        from launcher.runfolder.states import EXIT_CODES, NOT_FINISHED
        from launcher.runs.drift import drift_of
        from launcher.runs.view import view_of

        view = view_of(self._index.newest(self._entry), self._index)
        drift = drift_of(self._entry)
        if self._json:
            text = json_text({**view.model_dump(mode="json"), "drift": asdict(drift)})
        else:
            spent, profiles = _spent(self._entry, view)
            text = detail(view, drift=drift.words(), goodput=spent, profiles=profiles)
        return Look(text, EXIT_CODES.get(view.state, NOT_FINISHED), view.state.terminal, _key(view))


def _spent(entry: RunEntry, view: RunView) -> tuple[str, tuple[str, ...]]:
    """Where the time of a run went, by phase and by operator; empty where it is not known, or can't be read."""
    from launcher.errors import LauncherError
    from launcher.runs.folder import RunFolder
    from launcher.runs.goodput import goodput_of
    from launcher.runs.operators import profiles_of

    if not view.phase_times:
        return "", ()
    words = ""
    try:
        folder = RunFolder.of(entry)
        plan = folder.plan()
        found = goodput_of(view, folder.json_lines("progress/rank-0.jsonl"), plan)
        words = found.words if found else ""
        profiles = profiles_of(folder) if plan.profile.steps else ()
    except LauncherError:
        return words, ()
    return words, tuple(profile.words for profile in profiles)


class ManyRuns:
    """The named runs, else the newest ones; the options select among them."""

    def __init__(self, args: argparse.Namespace, index: Index) -> None:
        self._json, self._watched, self._index = args.json, bool(args.watch), index
        self._filter = _filter(args)
        self._sort = args.sort
        self._named = [
            index.find(each, store_of_run(args, each) if "/" in each else None) for each in args.runs
        ]
        of_all = args.group or args.runs
        self._limit = (None if of_all else 20) if args.limit is None else (args.limit or None)

    def look(self) -> Look:
        ids = self._index.unordered()
        views = self._views(ids)
        if self._sort != "new":
            views = sorted(views, key=_SORT_KEYS[self._sort])[: self._limit]
        elif self._filter.group:
            views.sort(key=lambda view: view.submitted_at)
        ended = bool(views) and all(view.state.terminal for view in views)
        key = [_key(view) for view in views]
        if self._json:
            return Look(
                json_text([view.model_dump(mode="json") for view in views]), _worst(views), ended, key
            )
        if not views:
            _say_none(self._index, known=bool(ids))
            return Look("", 0, False, key)
        from launcher.cli.statustable import table_of

        if not self._watched and not self._named:
            self._say_how_many_more(len(views), len(ids))
        return Look(table_of(views, ids), _worst(views), ended, key)

    def _views(self, ids: list[str]) -> list[RunView]:
        """Those that fit, of the named runs in their order."""
        from launcher.runs.listing import select
        from launcher.runs.view import views

        limit = self._limit if self._sort == "new" else None
        if not self._named:
            return select(self._index, self._filter, limit, ids)
        entries = {entry.run_id: self._index.newest(entry) for entry in self._named}.values()
        fits = (each for each in views(list(entries), self._index) if self._filter.fits(each))
        return [each for each in fits if self._filter.fits_id(each.run_id)][:limit]

    def _say_how_many_more(self, shown: int, known: int) -> None:
        more = known - shown
        if self._limit is not None and shown == self._limit and more > 0:
            say(f"{more} more runs are not shown: --limit 0 shows all")


def _by_top1(view: RunView) -> float:
    from launcher.runs.activity import best_top1

    top1 = best_top1(view)
    return math.inf if top1 is None else -top1


def _by_loss(view: RunView) -> float:
    return math.inf if view.progress.loss is None else view.progress.loss


_SORT_KEYS = {"top1": _by_top1, "loss": _by_loss}


def _filter(args: argparse.Namespace) -> Filter:
    """Raises UsageError."""
    from launcher.errors import UsageError
    from launcher.runs.listing import Filter, parse_states
    from launcher.runs.loglines import parse_since

    try:
        states = parse_states(args.state)
    except ValueError as error:
        raise UsageError(str(error), where="--state") from error
    try:
        since = parse_since(args.since, time.time()) if args.since else None
    except ValueError as error:
        raise UsageError(str(error), where="--since") from error
    return Filter(states=states, since=since, name=args.name, backend=args.backend, group=args.group)


def _worst(found: Sequence[RunView]) -> int:
    from launcher.runfolder.states import EXIT_CODES, NOT_FINISHED

    codes = {EXIT_CODES.get(view.state, NOT_FINISHED) for view in found}
    return next((code for code in (100, NOT_FINISHED, 103) if code in codes), 0)


def _say_none(index: Index, *, known: bool) -> None:
    if known:
        say("no run fits")
    else:
        say(f"no runs yet in {index.root}\n  start one:  launcher submit jobs/digits_tnt_1p.yaml")


def _key(view: RunView) -> object:
    return view.run_id, view.state, view.phase, view.attempt, view.progress.epoch


def _watch(subject: Subject, every_s: float) -> int:
    """Redraw in place on a terminal; elsewhere print again when something has changed. Until the runs have ended, or Ctrl-C."""
    if not sys.stdout.isatty():
        return _watch_lines(subject, every_s)
    code = 101
    text = ""
    # the alternate screen, without a cursor: the terminal restores its content afterwards
    sys.stdout.write(control("\x1b[?1049h\x1b[?25l"))
    try:
        while True:
            text, code, ended, _ = subject.look()
            clock = time.strftime("%H:%M:%S")
            body = (control("\x1b[K") + "\n").join(
                [*_screenful(text), "", f"{clock}, every {every_s:g} s; Ctrl-C ends"]
            )
            sys.stdout.write(control("\x1b[H") + body + control("\x1b[J"))
            sys.stdout.flush()
            if ended:
                break
            time.sleep(every_s)
    except KeyboardInterrupt:
        pass
    finally:
        sys.stdout.write(control("\x1b[?25h\x1b[?1049l"))
        sys.stdout.flush()
    out(text)
    return code


def _screenful(text: str) -> list[str]:
    import shutil

    rows = shutil.get_terminal_size().lines - 3
    lines = text.splitlines()
    return lines if len(lines) <= rows else [*lines[: rows - 1], f"… {len(lines) - rows + 1} more lines"]


def _watch_lines(subject: Subject, every_s: float) -> int:
    shown: object = None
    while True:
        text, code, ended, key = subject.look()
        if key != shown:
            out(text)
            shown = key
        if ended:
            return code
        time.sleep(every_s)
