"""Curves, settings and results as a run of MLflow, by MLflow's own client."""

from __future__ import annotations

import math
import re
from typing import Any

from launcher.export.history import History
from launcher.runfolder.states import State

DEFAULT = ""
RUN_TAG = "launcher.run_id"
MAX_BATCH = 1000
MAX_PARAMS = 100
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_\-. :/]")
"""What MLflow refuses in the name of a metric."""
_STATUS = {State.SUCCEEDED: "FINISHED", State.FAILED: "FAILED", State.CANCELLED: "KILLED"}


def export(history: History, to: str) -> str:
    """Log what the run with our tag does not have yet; `to` is a tracking URI, default: MLflow's own setting.

    MLflow can't take a point back. When a restart has trained steps again since the last export, the old run of MLflow is deleted
    and a new one is made.
    """
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=to or None)
    experiment = _experiment(client, history.name)
    run_id = _run(client, experiment, history)
    try:
        missing = _missing(client, run_id, history)
    except _Contradiction:
        client.delete_run(run_id)
        run_id = _new_run(client, experiment, history)
        missing = _missing(client, run_id, history)
    for start in range(0, len(missing), MAX_BATCH):
        client.log_batch(run_id, metrics=missing[start : start + MAX_BATCH])
    for name, link in history.links.items():
        client.set_tag(run_id, f"launcher.{name}", link)
    if history.state.terminal:
        ended_ms = int(1000 * (history.ended_at or history.submitted_at))
        client.set_terminated(run_id, status=_STATUS[history.state], end_time=ended_ms)
    return f"run {run_id} of experiment {history.name}"


class _Contradiction(Exception):
    """The tracker holds a point that is not part of the run's history."""


def _experiment(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def _run(client: Any, experiment: str, history: History) -> str:
    found = client.search_runs(
        [experiment], filter_string=f"tags.`{RUN_TAG}` = '{history.run_id}'", max_results=1
    )
    return str(found[0].info.run_id) if found else _new_run(client, experiment, history)


def _new_run(client: Any, experiment: str, history: History) -> str:
    from mlflow.entities import Param

    tags = {RUN_TAG: history.run_id, "mlflow.runName": history.run_id}
    created = client.create_run(experiment, start_time=int(1000 * history.submitted_at), tags=tags)
    params = [Param(key, value[:500]) for key, value in history.settings.items()]
    for start in range(0, len(params), MAX_PARAMS):
        client.log_batch(created.info.run_id, params=params[start : start + MAX_PARAMS])
    return str(created.info.run_id)


def _missing(client: Any, run_id: str, history: History) -> list[Any]:
    """Points that the run of MLflow lacks. Raises _Contradiction."""
    from mlflow.entities import Metric

    last = max((points[-1].step for points in history.curves.values()), default=0)
    ended_at = history.ended_at or history.submitted_at
    wanted = {
        name: {each.step: (each.value, each.at) for each in points} for name, points in history.curves.items()
    }
    if history.state.terminal:
        wanted |= {f"result/{name}": {last: (value, ended_at)} for name, value in history.results.items()}
    missing = []
    for metric, points in wanted.items():
        name = _NOT_IN_NAMES.sub("_", metric)
        held = {each.step: each.value for each in client.get_metric_history(run_id, name)}
        if any(
            step not in points or not math.isclose(points[step][0], value) for step, value in held.items()
        ):
            raise _Contradiction
        missing += [
            Metric(name, value, int(1000 * at), step)
            for step, (value, at) in points.items()
            if step not in held
        ]
    return missing
