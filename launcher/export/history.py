"""The numbers of a run as trackers want them: one curve for each metric, each step once, whatever was restarted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from launcher.api import Run
from launcher.jsontext import is_number
from launcher.runfolder.states import State
from launcher.runs.folder import RunFolder

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


def history_of(run: Run) -> History:
    """Reads the run's folder. Raises StoreError, NotFound."""
    view, folder = run.view(), RunFolder.of(run.entry)
    plan = folder.plan()
    rows = folder.json_lines("metrics.jsonl") or _steps(folder.json_lines("progress/rank-0.jsonl"))
    begins = view.attempts[0].started_at if view.attempts else view.submitted_at
    settings = {**{f"recipe.{key}": str(value) for key, value in plan.recipe.items()}}
    settings |= {"backend": plan.backend, "device": plan.device, "ranks": str(plan.world_size)}
    return History(
        run_id=view.run_id,
        name=view.name,
        state=view.state,
        settings=settings,
        curves=_curves(without_repeats(rows), begins),
        results=view.results,
        links={"run": view.url, "checkpoints": f"{view.url}/checkpoints", "logs": f"{view.url}/logs"},
        submitted_at=view.submitted_at,
        ended_at=view.ended_at,
    )


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
