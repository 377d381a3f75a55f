"""What the platform reports of a job: events, stages, metrics, and what its containers printed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from launcher.backends.modelarts.errors import LOG_CLEARED, NOT_READY, ServiceError
from launcher.backends.modelarts.logpages import FULL, LogPage, LogPreview
from launcher.backends.modelarts.wire import LIST, as_number, dicts


class Reports:
    """Questions on one job; `ask` sends them, as Wire.ask does. Every method raises BackendError."""

    def __init__(self, ask: Callable[..., dict[str, Any]]) -> None:
        self._ask = ask

    def events(self, job_id: str, most: int = 500) -> list[dict[str, Any]]:
        """Newest last. The documentation is unclear on whether `offset` counts pages or records, so duplicates are dropped."""
        records: dict[tuple[str, str], dict[str, Any]] = {}
        for number in range(max(1, most // 100)):
            answer = self._ask(
                "list_training_job_events",
                "ListTrainingJobEventsRequest",
                training_job_id=job_id,
                offset=number,
                limit=100,
                order="desc",
                x_language="en-us",
            )
            events = dicts(answer.get("events"))
            records |= {(str(e.get("time")), str(e.get("message"))): e for e in events}
            if len(events) < 100:
                break
        return list(reversed(records.values()))

    def stages(self, job_id: str) -> list[dict[str, Any]]:
        """The stages of the newest start of a job, in order."""
        answer = self._ask("list_training_job_stages", "ListTrainingJobStagesRequest", training_job_id=job_id)
        records = dicts(answer.get("running_records"))
        newest = max(records, key=lambda record: as_number(record.get("record_order")) or 0, default={})
        return dicts(newest.get("stages"))

    def hosts(self, job_id: str, schedule: int) -> dict[str, str]:
        """Address of the machine of each task, in one schedule of a job (from 1). The public pool tells none."""
        answer = self._ask(
            "list_training_job_tasks",
            "ListTrainingJobTasksRequest",
            (LIST,),
            training_job_id=job_id,
            schedule_count=schedule,
        )
        tasks = dicts(answer.get(LIST))
        return {str(each.get("task")): str(each["host_ip"]) for each in tasks if each.get("host_ip")}

    def metrics(self, job_id: str, task: str) -> dict[str, float]:
        """The newest sample of each metric; -1 is none. Empty while there are none."""
        answer, _ = self._if_ready(
            "show_training_job_metrics",
            "ShowTrainingJobMetricsRequest",
            training_job_id=job_id,
            task_id=task,
        )
        newest = {}
        for each in dicts(answer.get("metrics")):
            values = each.get("value")
            samples = (
                [sample for value in values if (sample := as_number(value)) is not None and sample >= 0]
                if isinstance(values, list)
                else []
            )
            if samples:
                newest[str(each.get("metric"))] = samples[-1]
        return newest

    def log_page(self, job_id: str, task: str, base_line: str = "", order: str = "desc") -> LogPage:
        """Up to 500 lines of one container's output on one side of `base_line`; without it the newest."""
        query = {"base_line": base_line} if base_line else {}
        answer, why_not = self._if_ready(
            "show_training_job_logs_from_aom",
            "ShowTrainingJobLogsFromAomRequest",
            training_job_id=job_id,
            task_id=task,
            lines=FULL,
            order=order,
            **query,
        )
        return LogPage(cleared=why_not in LOG_CLEARED) if why_not else LogPage.of(answer)

    def log_preview(self, job_id: str, task: str) -> LogPreview | None:
        """The newest part of a container's output, at most 5 MB; None when the service has none."""
        answer, _ = self._if_ready(
            "show_training_job_logs_preview",
            "ShowTrainingJobLogsPreviewRequest",
            training_job_id=job_id,
            task_id=task,
        )
        content = str(answer.get("content") or answer.get("context") or "").encode()
        if not content:
            return None
        return LogPreview(content, max(len(content), int(as_number(answer.get("full_size")) or 0)))

    def _if_ready(self, method: str, request: str, **query: Any) -> tuple[dict[str, Any], str]:
        """The answer; or an empty one, and the code with which the service says that it has nothing yet, or no longer."""
        try:
            return self._ask(method, request, **query), ""
        except ServiceError as error:
            if error.code not in NOT_READY:
                raise
            return {}, error.code
