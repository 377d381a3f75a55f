"""Follow a run in the terminal: one line per phase and epoch, and, on a terminal, a last line that changes in place."""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import dataclass, field

from launcher.cli.common import progress_words, results_words, say
from launcher.errors import StoreError
from launcher.runs import Entry, Index
from launcher.states import EXIT_CODES, NOT_FINISHED, State
from launcher.units import show_duration
from launcher.view import RunView, view_of

POLL_S = 0.5


def follow(entry: Entry, *, quiet: bool = False) -> int:
    """Blocks until the run ends; its exit code, or 101 when the user detaches with Ctrl-C."""
    screen = _Screen(quiet=quiet)
    index = Index()
    try:
        while True:
            try:
                view = view_of(entry, index)
            except StoreError as error:
                screen.live(f"the store does not answer: {error.what}")
                time.sleep(5)
                continue
            screen.show(entry, view)
            if view.state.terminal:
                screen.end(view)
                return EXIT_CODES[view.state]
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        screen.clear()
        say(
            f"detached, the run goes on\n  come back:  launcher attach {entry.run_id}\n  stop it:    launcher cancel {entry.run_id}"
        )
        return NOT_FINISHED


@dataclass
class _Screen:
    quiet: bool
    start: float = field(default_factory=time.time)
    _phase: str = ""
    _attempt: int = 1
    _epochs: int = 0
    _live: bool = False

    def show(self, entry: Entry, view: RunView) -> None:
        if view.attempt != self._attempt:
            self._attempt = view.attempt
            why = view.attempts[-2].outcome if len(view.attempts) > 1 else ""
            self.line(f"attempt {view.attempt}: {why}")
        self._new_epochs(entry, view)
        if view.state.terminal:
            return
        phase = view.phase or "starting"
        if phase not in (self._phase, "done") and {phase, self._phase} != {"training", "evaluating"}:
            self.line(phase)
        self._phase = phase
        words = progress_words(view) if phase in ("training", "evaluating") else view.detail
        if view.phase_since and phase not in ("training", "evaluating"):
            words = ", ".join(filter(None, [words, show_duration(time.time() - view.phase_since)]))
        self.live(f"{phase}: {words}" if words else phase)

    def _new_epochs(self, entry: Entry, view: RunView) -> None:
        """One line per finished epoch, from the run's metrics; from the status alone when they are not on this machine."""
        try:
            lines = (entry.run_dir.root / "metrics.jsonl").read_text().splitlines()
        except OSError:
            return
        self._epochs = min(self._epochs, len(lines))  # a resumed run drops what came after its checkpoint
        for text in lines[self._epochs :]:
            try:
                row = json.loads(text)
            except ValueError:
                return  # the line is not whole yet
            self._epochs += 1
            total = f"/{view.progress.epochs}" if view.progress.epochs else ""
            top1 = f"  top-1 {100 * row['top1']:6.2f} %" if row.get("top1") is not None else ""
            self.line(
                f"epoch {row['epoch']:>3}{total}  loss {row['loss']:.4f}{top1}  {row['images_per_s']:.0f} images/s"
            )

    def end(self, view: RunView) -> None:
        took = show_duration(time.time() - self.start)
        if view.state is State.SUCCEEDED:
            self.line(f"SUCCEEDED in {took}: {results_words(view.results) or 'done'}")
            self.line(
                f"results in {view.url}\n         fetch them:  launcher fetch-results {view.run_id} --to DIR"
            )
        else:
            self.line(f"{view.state} after {took}: {view.reason}")
            self.line(
                f"logs:    launcher logs {view.run_id}\n         go on:   launcher resume {view.run_id}"
            )

    def line(self, text: str) -> None:
        if self.quiet:
            return
        self.clear()
        seconds = int(time.time() - self.start)
        say(f"{seconds // 60:3}:{seconds % 60:02}   {text}")

    def live(self, text: str) -> None:
        if self.quiet or not sys.stderr.isatty():
            return
        width = shutil.get_terminal_size().columns - 10
        sys.stderr.write(f"\r\x1b[K         {text[:width]}")
        sys.stderr.flush()
        self._live = True

    def clear(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._live = False
