"""Reports training to people and to the launcher: step events, one line per epoch, a bar on a terminal."""

from __future__ import annotations

import sys
import time

from vitmodels.program import say
from vitmodels.progress import Progress

INTERVAL = 1.0  # seconds between two step events, at least


class Reporter:
    """Turns steps into events with rate and remaining time. Only the rank with `prints` writes to stdout."""

    def __init__(
        self, progress: Progress, *, epochs: int, total_steps: int, global_batch: int, prints: bool
    ) -> None:
        self.progress = progress
        self.epochs = epochs
        self.total_steps = total_steps
        self.global_batch = global_batch
        self.prints = prints
        self.bar = prints and sys.stdout.isatty()
        self.rate = 0.0
        self._mark = time.monotonic()
        self._steps = 0
        self._since = 0.0

    def restart_clock(self) -> None:
        """Restart the measurement of the rate: compilation and evaluation don't count as training."""
        self._mark, self._steps = time.monotonic(), 0

    def step(self, *, epoch: int, step: int, loss: float, lr: float, loss_scale: float, force: bool) -> None:
        """Count one update; write an event when one is due."""
        now = time.monotonic()
        self._steps += 1
        if not force and now - self._since < INTERVAL:
            return
        if now > self._mark:
            self.rate = self._steps * self.global_batch / (now - self._mark)
        self._mark, self._steps, self._since = now, 0, now
        eta = (self.total_steps - step) * self.global_batch / self.rate if self.rate else 0.0
        self.progress.event(
            "step",
            epoch=epoch,
            epochs=self.epochs,
            step=step,
            steps=self.total_steps,
            loss=loss,
            lr=lr,
            images_per_s=round(self.rate, 2),
            loss_scale=loss_scale,
            eta_s=round(eta, 1),
        )
        if self.bar:
            self._draw(epoch, step, loss, eta)

    def _draw(self, epoch: int, step: int, loss: float, eta: float) -> None:
        filled = round(30 * step / max(1, self.total_steps))
        text = f"[{'#' * filled:<30}] epoch {epoch}/{self.epochs} loss {loss:.3f} {self.rate:.0f} images/s, {eta:.0f} s left"
        sys.stdout.write(f"\r\x1b[K{text}")
        sys.stdout.flush()

    def line(self, text: str) -> None:
        """One line for people, from rank 0."""
        if not self.prints:
            return
        if self.bar:
            sys.stdout.write("\r\x1b[K")
        say(text)

    def note(self, text: str) -> None:
        """A line for people, which is also an event."""
        self.progress.event("note", text=text)
        self.line(text)
