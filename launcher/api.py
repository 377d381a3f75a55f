"""Runs from Python: `import launcher; run = launcher.submit("job.yaml"); run.wait()`. The command line is built on this.

    run = launcher.submit("jobs/digits_tnt_1p.yaml", overrides={"epochs": 3})
    view = run.wait()                     # blocks; view.state, view.reason, view.results
    run.metrics()[-1].top1                # one row per epoch
    run.fetch("results")                  # download, each file verified

Errors are those of `launcher.errors`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from launcher.errors import LauncherError
from launcher.runfolder.states import State
from launcher.runs.folder import RunFolder
from launcher.runs.index import Index, RunEntry
from launcher.runs.view import RunView, view_of
from launcher.runs.watcher import Watcher
from launcher.storage.address import StoreAddress

if TYPE_CHECKING:  # what submits a run is large, and loaded where a run is submitted
    from launcher.plan.model import Plan
    from launcher.results.fetch import FetchProgress, FetchReport
    from launcher.runs.explain import Explanation
    from launcher.runs.loglines import LogLine
    from launcher.submission.prepare import Prepared
    from launcher.submission.sweeps import Point

POLL_S = 0.5


class EpochMetrics(BaseModel):
    """One finished epoch: a line of metrics.jsonl. `top1` and `top5` are fractions; what a program adds is kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    epoch: int
    step: int
    loss: float | None = None
    lr: float | None = None
    top1: float | None = None
    top5: float | None = None
    images_per_s: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Run:
    """One submitted run. Every method asks anew; nothing is cached. Methods raise StoreError when the store fails."""

    entry: RunEntry
    index: Index = field(default_factory=Index, repr=False)

    @property
    def id(self) -> str:
        """The run id."""
        return self.entry.run_id

    @property
    def url(self) -> str:
        """The run's folder in the store."""
        return self.entry.store.url

    @property
    def state(self) -> State:
        """The state now."""
        return self.view().state

    def view(self) -> RunView:
        """All that `launcher status RUN --json` prints."""
        return view_of(self.index.newest(self.entry), self.index)  # another command may have resumed it

    def wait(
        self,
        timeout_s: float | None = None,
        *,
        poll_s: float = POLL_S,
        on_view: Callable[[RunView], None] | None = None,
    ) -> RunView:
        """Block until the run has ended. Raises TimeoutError; the run goes on then. `on_view` sees every look."""
        watcher = Watcher(self.entry)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            view = self.view()
            watcher.look(view)
            if on_view:
                on_view(view)
            if view.state.terminal:
                return view
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{self.id} {view.state}: not ended within {timeout_s:g} s")
            time.sleep(poll_s)

    def metrics(self) -> list[EpochMetrics]:
        """One row per finished epoch so far. Rows that lack epoch or step, or are damaged, are left out."""
        found = []
        for row in RunFolder.of(self.entry).json_lines("metrics.jsonl"):
            with suppress(ValidationError):
                found.append(EpochMetrics(**{key: _number(value) for key, value in row.items()}))
        return found

    def plan(self) -> Plan:
        """What was submitted, resolved."""
        return RunFolder.of(self.entry).plan()

    def record(self) -> dict[str, Any]:
        """What ran: versions, git, the origin of every value. Empty when the run has none."""
        return RunFolder.of(self.entry).object("record.json")

    def logs(
        self, *, rank: int | None = None, node: int | None = None, attempt: int | None = None
    ) -> list[LogLine]:
        """All lines so far, in time order. Raises NoSuchRun for a rank, node or attempt without a log."""
        from launcher.runs.logs import LogReader

        return LogReader(self.entry, rank=rank, node=node, attempt=attempt).read()

    def explain(self) -> Explanation:
        """Why the run failed, with advice."""
        from launcher.runs.explain import explain_run

        return explain_run(self.entry, self.view())

    def cancel(self) -> None:
        """Ask the run to stop with a checkpoint. Does not wait; does nothing to a run that has ended."""
        from launcher.submission.cancel import cancel

        if not self.state.terminal:
            cancel(self.index.newest(self.entry))

    def resume(self, *, force: bool = False, trust: bool = False) -> Run:
        """A new attempt from the newest complete checkpoint, under the same run id. Raises PlanError while it lives;
        `force` takes over one that was not heard of for a while, `trust` runs a plan that was not made with a key of ours."""
        from launcher.submission.resume import resume

        return Run(resume(self.entry, self.index, force=force, trust=trust), self.index)

    def retry(self, *, trust: bool = False) -> Run:
        """The same plan once more, from the beginning, as a run of its own. `trust` as with `resume`."""
        from launcher.submission.retry import retry

        return Run(retry(self.entry, self.index, trust=trust), self.index)

    def fetch(
        self,
        to: str | Path,
        *,
        only: str | None = None,
        progress: Callable[[FetchProgress], None] | None = None,
    ) -> FetchReport:
        """Download results into a folder and verify them; goes on where an earlier fetch stopped.

        `only`: checkpoints, best, eval, export or logs. Raises UsageError when a file of somebody else is in the way.
        """
        from launcher.results.fetch import fetch

        return fetch(self.entry.store.open(), Path(to), only=only, progress=progress)


def submit(
    job_file: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    backend: str | None = None,
    group: str = "",
) -> Run:
    """Start the job of a job file and return at once. Raises JobFileError, PlanError, StoreError or BackendError.

    `overrides` are what `--set` takes: `{"resources.nodes": 2, "epochs": 3}`. `group` is a name that several runs share.
    """
    from launcher.submission.prepare import prepare

    job = prepare(job_file, overrides=as_sets(overrides or {}), backend=backend)
    return submit_prepared(job, group=group)


def submit_prepared(job: Prepared, *, group: str = "", labels: Mapping[str, str] | None = None) -> Run:
    """Start what `launcher.submission.prepare.prepare` made."""
    from launcher.submission.launch import submit

    index = Index()
    return Run(submit(job, index, group=group, labels=labels or {}), index)


def submit_together(jobs: Sequence[tuple[Prepared, Mapping[str, str]]], group: str) -> list[Run]:
    """Start several jobs of one back end, with one request to it where that can be. All or nothing."""
    from launcher.submission.launch import submit_all

    index = Index()
    return [Run(entry, index) for entry in submit_all(jobs, index, group=group)]


def find(reference: str, store: StoreAddress | None = None) -> Run:
    """A run by id, unique prefix, `last`, or the URL of its folder. Raises NoSuchRun.

    `store` has the endpoint and other settings for a URL; without it they come from the environment.
    """
    index = Index()
    return Run(index.find(reference, store), index)


def list_runs() -> Iterator[Run]:
    """The runs that this machine knows, newest first."""
    index = Index()
    return (Run(entry, index) for entry in index.entries())


def as_sets(overrides: Mapping[str, Any]) -> Sequence[str]:
    """`--set` texts of Python values; JSON is YAML."""
    return [f"{key}={json.dumps(value)}" for key, value in overrides.items()]


def _number(value: Any) -> Any:
    """JSON lacks NaN and infinity; programs write them as text."""
    if isinstance(value, str) and value.lower().lstrip("-") in ("nan", "inf", "infinity"):
        return float(value)
    return value


def submit_points(points: Sequence[Point], group: str) -> list[Run]:
    """Start the runs of a sweep: with one request where the back end can, else one after the other.

    When one is refused then, the error names those that were started.
    """
    from launcher.backends import get_backend
    from launcher.backends.base import ManyAtOnce

    backends = {point.job.plan.backend for point in points}
    if len(backends) == 1 and isinstance(get_backend(backends.pop()), ManyAtOnce):
        return submit_together([(point.job, point.labels) for point in points], group)
    started: list[Run] = []
    for point in points:
        try:
            started.append(submit_prepared(point.job, group=group, labels=point.labels))
        except LauncherError as error:
            if started:
                error.hint = f"{len(started)} of {len(points)} runs were started before: launcher status --group {group}"
            raise
    return started


def sweep(
    job_file: str | Path,
    grid: Mapping[str, Sequence[Any]],
    *,
    overrides: Mapping[str, Any] | None = None,
    group: str = "",
    backend: str | None = None,
) -> list[Run]:
    """One run per combination of `grid`, for example `{"base_lr": [1e-4, 5e-4], "seed": [0, 1]}`. Raises as `submit` does."""
    from launcher.submission.sweeps import Axis, group_name, prepare_points

    axes = [Axis(key, tuple(json.dumps(value) for value in values)) for key, values in grid.items()]
    points = prepare_points(job_file, axes, overrides=as_sets(overrides or {}), backend=backend)
    return submit_points(points, group or group_name(points[0].job.plan.name))
