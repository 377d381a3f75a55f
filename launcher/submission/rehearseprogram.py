"""The rehearsal of a user's own program: its first steps or seconds on this machine, then a request to stop, as a real run may get one.

It gets its real data and as many ranks as this machine has cores for. Results go to a folder of the rehearsal, never to those of the job.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LauncherError, PlanError, UsageError
from launcher.jobfile.load import LoadedJob
from launcher.jobfile.spec import ResourceSpec
from launcher.jobfile.spec_failures import RetrySpec
from launcher.jobfile.spec_places import OutputSpec
from launcher.plan.model import Plan
from launcher.runfolder import paths
from launcher.runs.index import Index, RunEntry, new_run_id
from launcher.runs.view import RunView, view_of
from launcher.submission.cancel import cancel
from launcher.submission.prepare import plan_of
from launcher.units import parse_duration, show_duration

POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Length:
    """A rehearsal ends after so many steps, or so many seconds after its ranks began; whichever comes first."""

    steps: int | None = 20
    seconds: float | None = 60.0

    def __str__(self) -> str:
        parts = [f"{self.steps} steps"] if self.steps is not None else []
        parts += [show_duration(self.seconds)] if self.seconds is not None else []
        return " or ".join(parts)

    def is_over(self, view: RunView) -> bool:
        """Whether the run has gone so far."""
        if self.steps is not None and (view.progress.step or 0) >= self.steps:
            return True
        begun = next((each.at for each in view.phase_times if each.phase == "running"), None)
        return self.seconds is not None and begun is not None and time.time() - begun >= self.seconds


def parse_length(text: str) -> Length:
    """`20` is steps, `90s` a time. Raises UsageError."""
    try:
        if text.isdecimal():
            return Length(steps=int(text), seconds=None)
        return Length(steps=None, seconds=float(parse_duration(text)))
    except ValueError as error:
        raise UsageError(
            f"expected a number of steps or a time such as 90s, found '{text}'", where="--rehearse-for"
        ) from error


def program_rehearsal(job: LoadedJob, env: Mapping[str, str], cwd: Path, length: Length) -> Plan:
    """The plan of the rehearsal. Raises PlanError for a job that can't run on this machine."""
    real = job.spec.resources
    if real.device != "cpu" and real.backend != "local":
        raise PlanError(
            f"the program asks for {real.device} devices, which this machine's rehearsal has not",
            where=str(job.path),
            hint="rehearse it where the devices are: --backend local; or with --set resources.device=cpu and the program's own option for CPU",
        )
    world = real.nodes * real.devices_per_node
    ranks = real.devices_per_node if real.device != "cpu" else max(1, min(world, os.cpu_count() or 1))
    run_id = new_run_id(f"rehearse-{job.spec.name}"[:64])
    folder = paths.home(env) / "rehearsal" / run_id
    spec = job.spec.model_copy(
        update={
            "resources": ResourceSpec(device=real.device, devices_per_node=ranks),
            "output": OutputSpec(url=str(folder / "runs"), work_dir=str(folder / "work")),
            "retry": RetrySpec(),
        }
    )
    notes = [f"rehearsal of {length} on {ranks} of {world} ranks; results are kept in {folder / 'runs'}"]
    return plan_of(
        spec,
        None,
        run_id=run_id,
        env=env,
        cwd=cwd,
        settings=job.recipe_values,
        rehearsal=True,
        notes=(*job.notes, *notes),
    )


class RehearsalEnd(threading.Thread):
    """Stops a rehearsal once it has gone far enough; `stopped` is then true. Ends with the run, or when `over` is set."""

    def __init__(self, entry: RunEntry, index: Index, length: Length) -> None:
        super().__init__(daemon=True)
        self._entry, self._index, self._length = entry, index, length
        self.stopped = False
        self.over = threading.Event()

    def run(self) -> None:
        """Look at the run until it has ended or gone far enough."""
        while not self.over.wait(POLL_S):
            try:
                view = view_of(self._index.newest(self._entry), self._index)
                if view.state.terminal:
                    return
                if self._length.is_over(view):
                    cancel(self._entry)
                    self.stopped = True
                    return
            except LauncherError:  # the next look may succeed; the run is followed elsewhere, too
                continue
