"""Starts a proof's programs as ordinary runs of this machine, and waits for them as long as there is time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.api import Run, submit_prepared
from launcher.proof.model import Proof, Verdict
from launcher.runfolder.states import State
from launcher.runs.folder import RunFolder
from launcher.runs.view import RunView
from launcher.submission.prepare import prepare

PROGRAM = ("python", "-m", "vitmodels.prove")
STOP_S = 20.0
"""So long a run has to stop when its time is over."""
LINK_S = 120
"""HCCL gives up on a link after so long (its least) and 20 s more, and says why; other runs let it wait longer."""
UNJOINED = ("numpy",)
"""What ranks need that don't talk to each other: without mindspore among it there is no scheduler."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run that has ended, or whose time was over."""

    run: Run
    view: RunView
    in_time: bool

    @property
    def folder(self) -> RunFolder:
        return RunFolder.of(self.run.entry)

    @property
    def succeeded(self) -> bool:
        return self.in_time and self.view.state is State.SUCCEEDED

    def result(self, name: str, rank: int = 0) -> dict[str, Any] | None:
        """What a rank wrote into `<name>.json`; None when it wrote nothing."""
        value = self.folder.json(f"work/rank-{rank}/{name}.json")
        return value if isinstance(value, dict) else None

    def failed(self, claim: str) -> Proof:
        """The proof of a run that did not do what it should."""
        verdict: Verdict = "differs" if self.in_time else "not shown"
        text = self.view.headline or self.view.reason or f"the run is {self.view.state}"
        if not self.in_time:
            what = "waited for devices" if self.view.phase == "queued" else f"was still {self.view.phase}"
            text = f"it {what} when its time was over"
        return Proof(claim, verdict, f"{text}; launcher explain {self.run.id}", (self.run.id,))


@contextmanager
def cancelled_on_error(run: Run) -> Iterator[None]:
    """No run goes on when its proof does not, whatever the reason."""
    try:
        yield
    except BaseException:
        run.cancel()
        raise


@dataclass(frozen=True, slots=True)
class Bench:
    """Where proofs run: on the devices of one kind, in one folder, until `deadline` of the monotonic clock."""

    folder: Path
    chip: str
    devices: int
    deadline: float
    group: str

    @property
    def on_cpu(self) -> bool:
        return self.chip == "cpu"

    def left_s(self) -> float:
        return max(0.0, self.deadline - time.monotonic())

    def start(
        self,
        name: str,
        words: Sequence[str],
        *,
        devices: int = 1,
        chip: str | None = None,
        options: dict[str, Any] | None = None,
    ) -> Run:
        """Submit `vitmodels.prove WORDS` on so many devices. Raises LauncherError."""
        chip = chip or self.chip
        part, *others = words
        device = [] if part == "train" else ["--device", "cpu" if chip == "cpu" else "ascend"]
        job = {
            "name": f"prove-{name}",
            "program": [*PROGRAM, part, *device, *others],
            "resources": {"device": chip, "devices_per_node": devices},
            "output": {"url": str(self.folder / "runs"), "work_dir": str(self.folder / "work")},
            "env": {"HCCL_CONNECT_TIMEOUT": str(LINK_S)},
            **(options or {}),
        }
        empty = self.folder / "cwd"
        empty.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(job, indent=2), encoding="utf-8")
        return submit_prepared(prepare(path, cwd=empty), group=self.group)

    def finish(self, run: Run, limit_s: float) -> Outcome:
        """Wait for a run; one whose time is over is cancelled, and so is one at Ctrl-C."""
        try:
            with cancelled_on_error(run):
                return Outcome(run, run.wait(min(limit_s, self.left_s())), in_time=True)
        except TimeoutError:
            view = run.view()
            if view.state.terminal:
                return Outcome(run, view, in_time=True)
            with suppress(TimeoutError):
                run.wait(STOP_S)
            return Outcome(run, view, in_time=False)

    def run(
        self,
        name: str,
        words: Sequence[str],
        limit_s: float,
        *,
        devices: int = 1,
        options: dict[str, Any] | None = None,
    ) -> Outcome:
        """`start` and `finish`."""
        return self.finish(self.start(name, words, devices=devices, options=options), limit_s)
