"""Follow a run until it ends: a live view on a terminal, one line per phase and epoch everywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from launcher.advice.commands import advice_of, resume_helps
from launcher.cli.common import results_text, say
from launcher.cli.ctrlc import CtrlC
from launcher.errors import StoreError
from launcher.runfolder.states import EXIT_CODES, NOT_FINISHED, State, with_hint
from launcher.runs.activity import PHASE_WORDS, clock, first_line, warning_text
from launcher.runs.words import came_from
from launcher.units import show_duration

if TYPE_CHECKING:
    from launcher.api import Run
    from launcher.runs.view import RunView

POLL_S = 0.5
_ALTERNATING = {"training", "evaluating"}


class Screen(Protocol):
    """Where a run is followed. `line` stays, `now` is replaced by the next one."""

    def line(self, text: str, style: str = "") -> None:
        """Something that happened."""

    def now(self, view: RunView) -> None:
        """How the run is at this moment."""

    def trouble(self, text: str) -> None:
        """The run can't be seen at this moment."""


def follow(run: Run, *, quiet: bool = False) -> int:
    """Blocks until the run ends; its exit code, or 101 when the user detaches with Ctrl-C."""
    try:
        with CtrlC() as ctrl_c, _screen(quiet) as screen:
            view = _until_end(run, screen, ctrl_c)
    except KeyboardInterrupt:
        say(
            f"detached, the run goes on\n  come back:  launcher attach {run.id}\n  stop it:    launcher cancel {run.id}"
        )
        return NOT_FINISHED
    return EXIT_CODES[view.state]


def _until_end(run: Run, screen: Screen, ctrl_c: CtrlC) -> RunView:
    from launcher.runs.watcher import Watcher

    story, watcher = _Story(screen), Watcher(run.entry)
    while True:
        ctrl_c.check()
        try:
            view = run.view()
            story.tell(run, view)
        except StoreError as error:
            screen.trouble(f"the store does not answer: {first_line(error.what)}")
            time.sleep(5)
            continue
        if view.state.terminal:
            story.end(view)
            if not watcher.settle(view):
                screen.line(
                    "a message about this end is not sent yet: the run's machine still tries", "yellow"
                )
            return view
        screen.now(view)
        watcher.look(view)
        time.sleep(POLL_S)


@contextmanager
def _screen(quiet: bool) -> Iterator[Screen]:
    if quiet:
        yield Silent()
    elif sys.stderr.isatty():
        with _live_screen() as screen:
            yield screen
    else:
        yield Plain()


def _live_screen() -> AbstractContextManager[Screen]:
    """Plain lines where rich is not installed."""
    try:
        from launcher.cli.live import LiveScreen
    except ModuleNotFoundError as error:
        say(f"progress as plain lines: {error}")
        return nullcontext(Plain())
    return LiveScreen()


@dataclass
class _Story:
    """Turns looks at a run into lines, one for each thing that happened."""

    screen: Screen
    start: float = field(default_factory=time.time)
    _phase: str = ""
    _attempt: int = 0
    _epochs: int = 0
    _trouble: str = ""
    _unsettled: bool = False
    _waits: set[str] = field(default_factory=set)

    def tell(self, run: Run, view: RunView) -> None:
        if not self._attempt:  # the run is under way: show its earlier attempts
            self._new_epochs(run, view)
        if view.attempt != self._attempt:
            self._new_attempt(view)
        self._resumed(view)
        if not view.state.terminal:
            phase = view.phase or "starting"
            if phase not in (self._phase, "done") and {phase, self._phase} != _ALTERNATING:
                self.screen.line(PHASE_WORDS.get(phase, phase))
            self._phase = phase
            waits_for = view.detail if phase == "queued" else ""
            if waits_for and waits_for not in self._waits:
                self._waits.add(waits_for)
                self.screen.line(f"  {waits_for}")
        self._new_epochs(run, view)
        trouble = warning_text(view)
        if trouble and not self._trouble:
            self.screen.line(trouble, "yellow")
        elif self._trouble and not trouble:
            self.screen.line("that is over, all is well again", "green")
        self._trouble = trouble

    def _new_attempt(self, view: RunView) -> None:
        before = [each for each in view.attempts if each.attempt < view.attempt]
        if before:
            last = view.attempts[-1]
            outcome = with_hint(before[-1].outcome, before[-1].hint)
            self.screen.line(f"attempt {view.attempt}{came_from(last)}: {outcome}", "yellow")
            self._phase = "waiting"
        self._attempt = view.attempt
        self._unsettled = bool(view.attempts) and not came_from(view.attempts[-1])

    def _resumed(self, view: RunView) -> None:
        """Where the attempt goes on from, once that is known; `_new_attempt` could not say it."""
        if self._unsettled and view.attempts and (origin := came_from(view.attempts[-1])):
            self._unsettled = False
            self.screen.line(f"attempt {view.attempt} goes on{origin}", "yellow")

    def _new_epochs(self, run: Run, view: RunView) -> None:
        rows = run.metrics() if view.phase in ("", "done", *_ALTERNATING) or view.state.terminal else []
        self._epochs = min(self._epochs, len(rows)) if rows else self._epochs
        for row in rows[self._epochs :]:
            total = f"/{view.progress.epochs}" if view.progress.epochs else ""
            loss = f"  loss {row.loss:.4f}" if row.loss is not None else ""
            top1 = f"  top-1 {100 * row.top1:6.2f} %" if row.top1 is not None else ""
            rate = f"  {row.images_per_s:.0f} images/s" if row.images_per_s is not None else ""
            self.screen.line(f"epoch {row.epoch:>3}{total}{loss}{top1}{rate}")
        self._epochs = max(self._epochs, len(rows))

    def end(self, view: RunView) -> None:
        began = view.submitted_at or self.start
        took = show_duration((view.ended_at or time.time()) - began)
        if view.state is State.SUCCEEDED:
            self.screen.line(f"SUCCEEDED in {took}: {results_text(view.results) or 'done'}", "green")
            for each in view.unsafe or ():
                self.screen.line(each.words(), "yellow")
            self.screen.line(
                f"results in {view.url}\n         fetch them:  launcher fetch-results {view.run_id}"
            )
            return
        style = "red" if view.state is State.FAILED else "yellow"
        self.screen.line(f"{view.state} after {took}: {view.reason}", style)
        lines = [f"why:     launcher explain {view.run_id}", f"logs:    launcher logs {view.run_id}"]
        if resume_helps(view, advice_of(view)):
            lines.append(f"go on:   launcher resume {view.run_id}")
        self.screen.line(("\n" + " " * 9).join(lines))


class Silent:
    """Shows nothing."""

    def line(self, text: str, style: str = "") -> None:
        """Nothing."""

    def now(self, view: RunView) -> None:
        """Nothing."""

    def trouble(self, text: str) -> None:
        """Nothing."""


class Plain:
    """Lines with the time since the beginning; what changes all the time is left out."""

    def __init__(self, write: Callable[[str], Any] = say) -> None:
        self._write = write
        self._start = time.time()
        self._trouble = False

    def line(self, text: str, style: str = "") -> None:
        self._trouble = False
        self._write(f"{clock(time.time() - self._start)}   {text}")

    def now(self, view: RunView) -> None:
        self._trouble = False

    def trouble(self, text: str) -> None:
        if not self._trouble:
            self.line(text)
        self._trouble = True
