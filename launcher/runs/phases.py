"""How long each phase of a run took."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from launcher.jsontext import is_number
from launcher.runs.view import RunView


def phase_seconds(view: RunView, events: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Seconds per phase over all attempts, in the order of the phases.

    The state knows when node 0 began something, rank 0's progress file what its program did then; without that file, the
    whole of a program counts as one phase.
    """
    marks: list[tuple[float, str]] = [(view.submitted_at, "queued")] if view.submitted_at else []
    for phase_start in view.phase_times:
        whole = PROGRAM_PHASES.get(phase_start.program.partition("-")[0], "training")
        program = "starting" if events else whole
        marks.append((phase_start.at, program if phase_start.phase == "running" else phase_start.phase))
    for event in events:
        if event.get("event") == "phase" and is_number(event.get("t")):
            phase = str(event.get("phase", ""))
            marks.append((float(event["t"]), "starting" if phase == "done" else phase))
    marks += _steps_without_phase(events)
    end = view.ended_at or view.updated_at or 0.0
    marks = [*sorted(marks), (end, "")]
    seconds: dict[str, float] = {}
    for (start, phase), (stop, _) in itertools.pairwise(marks):
        if phase and stop > start:
            seconds[phase] = seconds.get(phase, 0.0) + stop - start
    return {phase: time for phase, time in seconds.items() if time >= 0.005}


def _steps_without_phase(events: Sequence[dict[str, Any]]) -> list[tuple[float, str]]:
    """The steps of a program that reports no phases, such as one that is read from its lines: it trains."""
    if any(event.get("event") == "phase" for event in events):
        return []
    steps = [e["t"] for e in events if e.get("event") in ("step", "epoch") and is_number(e.get("t"))]
    return [(float(t), "training") for t in steps]


PROGRAM_PHASES = {"train": "training", "eval": "evaluating", "infer": "evaluating", "export": "exporting"}
