"""Curves, settings and results as a run of MLflow, by MLflow's own client."""

from __future__ import annotations

import math
import re
from typing import Any

from launcher.runfolder.states import State
from launcher.tracking.history import History

DEFAULT = ""
RUN_TAG = "launcher.run_id"
MAX_BATCH = 1000
MAX_PARAMS = 100
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_\-. :/]")
"""What MLflow refuses in the name of a metric."""
_RUNNING = "RUNNING"
_STATUS = {State.SUCCEEDED: "FINISHED", State.FAILED: "FAILED", State.CANCELLED: "KILLED"}


def export(history: History, to: str) -> str:
    """Log what the run with our tag does not have yet; `to` is a tracking URI, default: MLflow's own setting."""
    held = MlflowRun(to)
    held.update(history)
    return f"run {held.run_id} of experiment {history.name}"


class MlflowRun:
    """The run of MLflow with our tag, made when there is none.

    MLflow can't take a point back. When a restart has trained steps again that it holds, its run is deleted and a new one is made.
    """

    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=uri or None)
        self._held: dict[str, dict[int, float]] = {}
        self._status = ""
        self._linked = False
        self.run_id = ""

    def update(self, history: History) -> None:
        """Log what it lacks. Raises what MLflow raises."""
        if not self.run_id:
            self._find(history)
        try:
            missing = self._missing(history)
        except _Contradiction:
            self._client.delete_run(self.run_id)
            self._make(history)
            missing = self._missing(history)
        for start in range(0, len(missing), MAX_BATCH):
            batch = missing[start : start + MAX_BATCH]
            self._client.log_batch(self.run_id, metrics=batch)
            for metric in batch:
                self._held[metric.key][metric.step] = metric.value
        if not self._linked:
            for name, link in history.links.items():
                self._client.set_tag(self.run_id, f"launcher.{name}", link)
            self._linked = True
        self._set_status(history)

    def _find(self, history: History) -> None:
        found = self._client.get_experiment_by_name(history.name)
        self._experiment = str(found.experiment_id if found else self._client.create_experiment(history.name))
        runs = self._client.search_runs(
            [self._experiment], filter_string=f"tags.`{RUN_TAG}` = '{history.run_id}'", max_results=1
        )
        if not runs:
            self._make(history)
            return
        self.run_id, self._status = str(runs[0].info.run_id), str(runs[0].info.status)

    def _make(self, history: History) -> None:
        from mlflow.entities import Param

        tags = {RUN_TAG: history.run_id, "mlflow.runName": history.run_id}
        started_ms = int(1000 * history.submitted_at)
        created = self._client.create_run(self._experiment, start_time=started_ms, tags=tags)
        run_id = str(created.info.run_id)
        params = [Param(key, value[:500]) for key, value in history.settings.items()]
        for start in range(0, len(params), MAX_PARAMS):
            self._client.log_batch(run_id, params=params[start : start + MAX_PARAMS])
        self.run_id, self._status, self._held, self._linked = run_id, _RUNNING, {}, False

    def _set_status(self, history: History) -> None:
        status = _STATUS[history.state] if history.state.terminal else _RUNNING
        if status == self._status:
            return
        if history.state.terminal:
            ended_ms = int(1000 * (history.ended_at or history.submitted_at))
            self._client.set_terminated(self.run_id, status=status, end_time=ended_ms)
        else:
            self._client.update_run(self.run_id, status=status)
        self._status = status

    def _missing(self, history: History) -> list[Any]:
        """Points that the run of MLflow lacks. Raises _Contradiction."""
        from mlflow.entities import Metric

        missing = []
        for metric, points in history.points().items():
            name = _NOT_IN_NAMES.sub("_", metric)
            wanted = {each.step: each for each in points}
            held = self._points(name)
            if any(
                step not in wanted or not math.isclose(wanted[step].value, value)
                for step, value in held.items()
            ):
                raise _Contradiction
            missing += [
                Metric(name, each.value, int(1000 * each.at), each.step)
                for each in points
                if each.step not in held
            ]
        return missing

    def _points(self, name: str) -> dict[int, float]:
        """What MLflow holds of a metric, asked for once."""
        if name not in self._held:
            history = self._client.get_metric_history(self.run_id, name)
            self._held[name] = {each.step: each.value for each in history}
        return self._held[name]


class _Contradiction(Exception):
    """The tracker holds a point that is not part of the run's history."""
