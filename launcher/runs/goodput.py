"""Where the time of a run went: what trained the model, and what did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.jsontext import is_number
from launcher.plan.model import ASCEND_DEVICES, Plan
from launcher.runs.phases import phase_seconds
from launcher.runs.view import RunView
from launcher.units import show_duration

LEAST_S = 0.5
"""A loss that is shorter is not worth a word."""


@dataclass(frozen=True, slots=True)
class Goodput:
    """`training_s` counts each step once; `lost` has the seconds of everything else, by phase, and `repeated` for steps that a
    restart trained again. `device_hours` is for all devices from when the run had them; None for a run without NPUs."""

    wall_s: float
    training_s: float
    lost: Mapping[str, float]
    device_hours: float | None

    @property
    def share(self) -> float:
        """Training seconds over wall seconds."""
        return self.training_s / self.wall_s

    @property
    def words(self) -> str:
        """`68 % of 1 h trained; queued 5 min, repeated 2 min; 12.3 NPU-hours`, the greatest loss first."""
        losses = sorted(self.lost.items(), key=lambda pair: -pair[1])
        lost = ", ".join(f"{name} {show_duration(seconds)}" for name, seconds in losses if seconds >= LEAST_S)
        hours = f"{self.device_hours:.3g} NPU-hours" if self.device_hours is not None else ""
        trained = f"{100 * self.share:.0f} % of {show_duration(self.wall_s)} trained"
        return "; ".join(filter(None, [trained, lost, hours]))


def goodput_of(view: RunView, events: Sequence[dict[str, Any]], plan: Plan) -> Goodput | None:
    """None before the run has spent any time. `events` are the progress of rank 0."""
    phases = phase_seconds(view, events)
    wall_s = sum(phases.values())
    if wall_s <= 0:
        return None
    training_s = phases.get("training", 0.0)
    repeated_s = min(training_s, repeated_seconds(events))
    lost = {name: seconds for name, seconds in phases.items() if name != "training"}
    if repeated_s:
        lost["repeated"] = repeated_s
    held_s = wall_s - phases.get("queued", 0.0)
    hours = held_s * plan.world_size / 3600 if plan.device in ASCEND_DEVICES else None
    return Goodput(wall_s, training_s - repeated_s, lost, hours)


def repeated_seconds(events: Sequence[dict[str, Any]]) -> float:
    """How long steps took that a later attempt has trained again: the first one of an attempt does not count."""
    kept: list[tuple[int, float]] = []  # a step, and how long it took; the first of an attempt: not known, 0
    repeated, last_at = 0.0, 0.0
    for event in events:
        step, at = event.get("step"), event.get("t")
        if event.get("event") != "step" or not isinstance(step, int) or not is_number(at):
            continue
        again = bool(kept) and step <= kept[-1][0]
        while kept and kept[-1][0] >= step:
            repeated += kept.pop()[1]
        kept.append((step, max(0.0, at - last_at) if kept and not again else 0.0))
        last_at = float(at)
    return repeated
