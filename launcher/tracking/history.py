"""The numbers of a run as trackers want them: one curve for each metric, each step once, whatever was restarted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from launcher.jsontext import is_number, parse_json
from launcher.plan.model import Plan
from launcher.runfolder.states import Attempt, State

Rows = Iterable[Mapping[str, Any]]
METRICS = "metrics.jsonl"
PROGRESS = "progress/rank-0.jsonl"

NAMES = {"top1": "eval/top1", "top5": "eval/top5"}
"""What is measured on validation images. All else counts as training."""
_NO_METRICS = ("epoch", "step", "t", "event", "phase", "seconds", "steps", "epochs", "eta_s")


@dataclass(frozen=True, slots=True)
class Point:
    """One value. `at` is in unix seconds."""

    step: int
    value: float
    at: float


@dataclass(frozen=True, slots=True)
class History:
    """One run. `links` are addresses of its results by name; `results` are the last values of its evaluations."""

    run_id: str
    name: str
    state: State
    settings: Mapping[str, str]
    curves: Mapping[str, tuple[Point, ...]]
    results: Mapping[str, float]
    links: Mapping[str, str]
    submitted_at: float
    ended_at: float | None

    def points(self) -> dict[str, tuple[Point, ...]]:
        """All curves, and of a run that has ended each result as a curve of one point."""
        last = max((points[-1].step for points in self.curves.values()), default=0)
        ended_at = self.ended_at or self.submitted_at
        results = self.results if self.state.terminal else {}
        ends = {f"result/{name}": (Point(last, value, ended_at),) for name, value in results.items()}
        return {**self.curves, **ends}


class Told(Protocol):
    """What is told of a run by its state, and by a view of it."""

    @property
    def run_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def state(self) -> State: ...
    @property
    def url(self) -> str: ...
    @property
    def results(self) -> Mapping[str, float]: ...
    @property
    def attempts(self) -> Sequence[Attempt]: ...
    @property
    def submitted_at(self) -> float: ...
    @property
    def ended_at(self) -> float | None: ...


def make_history(plan: Plan, run: Told, metrics: Rows, progress: Callable[[], Rows]) -> History:
    """The run so far. `progress` is asked where the program writes no metrics."""
    begins = run.attempts[0].started_at if run.attempts else run.submitted_at
    settings = {f"recipe.{key}": str(value) for key, value in plan.recipe.items()}
    settings |= {"backend": plan.backend, "device": plan.device, "ranks": str(plan.world_size)}
    rows = list(metrics) or _steps(progress())
    return History(
        run_id=run.run_id,
        name=run.name,
        state=run.state,
        settings=settings,
        curves=_curves(without_repeats(rows), begins),
        results=run.results,
        links={"run": run.url, "checkpoints": f"{run.url}/checkpoints", "logs": f"{run.url}/logs"},
        submitted_at=run.submitted_at,
        ended_at=run.ended_at,
    )


def local_history(plan: Plan, run: Told) -> History:
    """The same from the run directory of this machine. What can't be read is left out."""
    root = plan.run_dir.root
    return make_history(plan, run, _lines(root / METRICS), lambda: _lines(root / PROGRESS))


def _lines(path: Path) -> list[Mapping[str, Any]]:
    """The rows of a file that may be growing. A missing file has none."""
    rows: list[Mapping[str, Any]] = []
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    for line in text.splitlines():
        with suppress(ValueError):
            if isinstance(row := parse_json(line), dict):
                rows.append(row)
    return rows


def without_repeats(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows of the training that counts: one that goes back to an earlier step takes the place of all from there on."""
    kept: list[Mapping[str, Any]] = []
    for row in rows:
        if not _is_whole(row.get("step")):
            continue
        while kept and kept[-1]["step"] >= row["step"]:
            kept.pop()
        kept.append(row)
    return kept


def _steps(events: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The progress of a program that writes no metrics."""
    return [event for event in events if event.get("event") == "step"]


def _curves(rows: Iterable[Mapping[str, Any]], begins: float) -> dict[str, tuple[Point, ...]]:
    """By the tracker's name of a metric, in order of steps. Values that are no numbers are left out: JSON has no NaN."""
    curves: dict[str, list[Point]] = {}
    elapsed = 0.0
    for row in rows:
        elapsed += row["seconds"] if is_number(row.get("seconds")) else 0.0
        time = float(row["t"]) if is_number(row.get("t")) else begins + elapsed
        for key, value in row.items():
            if key not in _NO_METRICS and is_number(value):
                curves.setdefault(NAMES.get(key, f"train/{key}"), []).append(
                    Point(row["step"], float(value), time)
                )
    return {name: tuple(points) for name, points in curves.items()}


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
