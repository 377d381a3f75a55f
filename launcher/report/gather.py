"""What a report tells of a run, gathered from its folder: curves, phases, results, recipe, environment, failures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from launcher.api import EpochMetrics, Run
from launcher.errors import LauncherError
from launcher.jsontext import is_number
from launcher.plan.model import Plan
from launcher.runfolder.states import AttemptResult
from launcher.runs.explain import Explanation, explain_run
from launcher.runs.folder import RunFolder
from launcher.runs.goodput import Goodput, goodput_of
from launcher.runs.operators import RankProfile, profiles_of
from launcher.runs.phases import phase_seconds
from launcher.runs.view import RunView
from vitmodels.secrets import mask_values

MAX_POINTS = 400
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Curve:
    """One quantity over training. `x` names the unit of the horizontal axis."""

    title: str
    x: str
    points: Points


@dataclass(frozen=True)
class RunReport:
    """One run. Parts that the run does not have are empty."""

    view: RunView
    plan: Plan
    record: dict[str, Any]
    curves: dict[str, Curve]
    phases: dict[str, float]
    evals: dict[str, dict[str, Any]]
    settings: dict[str, tuple[Any, str]]
    """Each value of the recipe with its source."""
    explanation: Explanation | None = None
    goodput: Goodput | None = None
    profiles: tuple[RankProfile, ...] = ()
    missing: tuple[str, ...] = field(default=())


def gather(run: Run) -> RunReport:
    """Reads the run's folder. Parts that can't be read are named in `missing`. Raises StoreError for the plan."""
    view = run.view()
    folder = RunFolder.of(run.entry)
    plan = folder.plan()
    missing: list[str] = []
    record = _optional("record", missing, run.record, {})
    events = _optional("progress", missing, lambda: folder.json_lines("progress/rank-0.jsonl"), [])
    failed = any(attempt.result not in (None, AttemptResult.DONE) for attempt in view.attempts)
    return RunReport(
        view=view,
        plan=plan,
        record=record,
        curves=_curves(_optional("metrics", missing, run.metrics, []), events),
        phases=phase_seconds(view, events),
        evals=_optional("eval", missing, lambda: _evals(folder), {}),
        settings=_settings(plan, record),
        explanation=_optional("logs", missing, lambda: _explanation(run, view), None)
        if failed or view.reason
        else None,
        goodput=goodput_of(view, events, plan),
        profiles=_optional("profile", missing, lambda: profiles_of(folder), ()) if plan.profile.steps else (),
        missing=tuple(dict.fromkeys(missing)),
    )


def _explanation(run: Run, view: RunView) -> Explanation:
    """Without what the page does not show."""
    return explain_run(run.entry, view, without=("drift", "evidence", "later"))


def _curves(rows: Sequence[EpochMetrics], events: Sequence[dict[str, Any]]) -> dict[str, Curve]:
    """Per epoch where the program writes metrics, else per step from its progress."""
    if rows:
        curves = {
            "loss": ("training loss", [(row.epoch, row.loss) for row in rows]),
            "top1": ("top-1, %", [(row.epoch, _percent(row.top1)) for row in rows]),
            "lr": ("learning rate", [(row.epoch, row.lr) for row in rows]),
            "images_per_s": ("images per second", [(row.epoch, row.images_per_s) for row in rows]),
        }
        return _finite(curves, "epoch")
    steps = [event for event in events if event.get("event") == "step" and isinstance(event.get("step"), int)]
    steps = steps[:: max(1, len(steps) // MAX_POINTS)]
    titles = {"loss": "training loss", "lr": "learning rate", "images_per_s": "images per second"}
    return _finite(
        {key: (title, [(e["step"], e.get(key)) for e in steps]) for key, title in titles.items()}, "step"
    )


def _finite(found: dict[str, tuple[str, list[tuple[int, Any]]]], x: str) -> dict[str, Curve]:
    curves = {}
    for key, (title, pairs) in found.items():
        points = tuple((float(a), float(b)) for a, b in pairs if is_number(a) and is_number(b))
        if points:
            curves[key] = Curve(title, x, points)
    return curves


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _evals(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """The files below eval/ by name without `.json`."""
    evaluations = {}
    for key in folder.sizes("eval/"):
        value = folder.json(key) if key.endswith(".json") else None
        if isinstance(value, dict):
            evaluations[key.removeprefix("eval/").removesuffix(".json")] = value
    return evaluations


def _settings(plan: Plan, record: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    origins = record.get("origins")
    origins = origins if isinstance(origins, dict) else {}
    return {
        key: (value, str(origins.get(f"recipe.{key}", ""))) for key, value in mask_values(plan.recipe).items()
    }


def _optional(name: str, missing: list[str], read: Any, default: Any) -> Any:
    try:
        return read()
    except LauncherError:
        missing.append(name)
        return default
