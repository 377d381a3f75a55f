"""The only module that speaks to ModelArts, through Huawei's SDK, which is imported on first use.

The SDK itself repeats nothing that matters here, so retries are ours: jittered, within a budget, and never a second
creation without a look for the first.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from launcher.backends.modelarts_errors import ServiceError
from launcher.backends.modelarts_jobs import WAITING, SeenJob
from launcher.backends.modelarts_login import Site, connect
from launcher.errors import BackendError

log = logging.getLogger(__name__)

PAGE = 50
MAX_PAGES = 200
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0
CONNECT_S, ANSWER_S = 10.0, 60.0
_GONE = "the service answered nothing that can be read"


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines of one container, and where the next page begins."""

    text: str
    lines: int
    end_line: str


class Service:
    """One project of one region. Every method blocks for at most about `patience_s`, and raises BackendError.

    Credentials: HUAWEICLOUD_SDK_AK, HUAWEICLOUD_SDK_SK and HUAWEICLOUD_SDK_SECURITY_TOKEN; the SDK's own profile
    file; the agency of a cloud machine. They stay in the SDK's client.
    """

    def __init__(
        self,
        site: Site,
        *,
        patience_s: float = 60.0,
        connect_s: float = CONNECT_S,
        answer_s: float = ANSWER_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.site = site
        self._patience_s, self._timeout, self._sleep = patience_s, (connect_s, answer_s), sleep
        self._made: Any = None
        self._credentials: Any = None
        self.project_id = ""

    # ---- jobs

    def create(self, body: Mapping[str, Any]) -> SeenJob:
        """Create the job `body`, once. After an unclear answer the job is looked for by its exact name before anything else.

        Raises UnclearCreation when even that got no answer: then the job may exist.
        """
        name = str(body["metadata"]["name"])
        deadline = time.monotonic() + self._patience_s
        pauses = self._pauses()
        doubtful = False
        while True:
            try:
                made = self._once("create_training_job", "CreateTrainingJobRequest", body=dict(body))
                job = SeenJob.of(made)
                return self._the_only(name, job) if doubtful else job
            except ServiceError as error:
                if not error.temporary and not error.code.startswith(("ModelArts.2750", "ModelArts.2751")):
                    raise
                doubtful = doubtful or error.unclear
                found = self._found_after_doubt(name, doubtful, error, deadline)
                if found is not None:
                    return found
                if not error.temporary:
                    raise
                if time.monotonic() > deadline:
                    if doubtful:
                        raise UnclearCreation(str(error.message), error) from error
                    raise
                self._sleep(next(pauses))

    def _found_after_doubt(
        self, name: str, doubtful: bool, error: ServiceError, deadline: float
    ) -> SeenJob | None:
        if not doubtful and error.temporary:
            return None  # refused before anything was done
        try:
            return self.find(name, patience_s=max(1.0, deadline - time.monotonic()))
        except ServiceError as second:
            raise UnclearCreation(str(second.message), second) from second

    def _the_only(self, name: str, mine: SeenJob) -> SeenJob:
        """The oldest of the jobs of this name; should the service have made two, the younger is stopped."""
        jobs = sorted(self._named(name), key=lambda job: (job.created_ms, job.id))
        live = [job for job in jobs if not job.ended] or [mine]
        for extra in live[1:]:
            log.warning("stopping %s: the service made %s twice", extra.id, name)
            self.stop(extra.id)
        return live[0]

    def find(self, name: str, *, patience_s: float | None = None) -> SeenJob | None:
        """The job of exactly this name."""
        jobs = sorted(self._named(name, patience_s), key=lambda job: (job.ended, job.created_ms))
        return jobs[0] if jobs else None

    def of_run(self, run_id: str) -> list[SeenJob]:
        """The jobs of all attempts of a run."""
        wanted = [{"key": "name", "operator": "like", "value": [run_id]}]
        return [job for job in self.jobs(wanted) if job.name.startswith(f"{run_id}-a")]

    def living(self) -> Iterator[SeenJob]:
        """Jobs that have not ended, by the phases that are known."""
        wanted = [
            {"key": "phase", "operator": "in", "value": [*WAITING, "Running", "Terminating", "Abnormal"]}
        ]
        return self.jobs(wanted)

    def _named(self, name: str, patience_s: float | None = None) -> list[SeenJob]:
        wanted = [{"key": "name", "operator": "like", "value": [name]}]
        return [job for job in self.jobs(wanted, patience_s=patience_s) if job.name == name]

    def jobs(
        self,
        filters: list[dict[str, Any]] | None = None,
        *,
        patience_s: float | None = None,
        enough: Callable[[list[SeenJob]], bool] = lambda page: False,
    ) -> Iterator[SeenJob]:
        """Newest first, page by page, until `enough` says so of a page. A job that moves between pages comes once."""
        seen: set[str] = set()
        for number in range(MAX_PAGES):
            search: dict[str, Any] = {
                "offset": number,
                "limit": PAGE,
                "sort_by": "create_time",
                "order": "desc",
                **({"filters": filters} if filters else {}),
                **({"workspace_id": self.site.workspace} if self.site.workspace != "0" else {}),
            }
            answer = self._ask("list_training_jobs", "ListTrainingJobsRequest", patience_s, body=search)
            items = [SeenJob.of(item) for item in answer.get("items") or []]
            yield from (job for job in items if job.id not in seen)
            seen |= {job.id for job in items}
            total = answer.get("total")
            if (
                len(items) < PAGE
                or (isinstance(total, int) and total <= (number + 1) * PAGE)
                or enough(items)
            ):
                return

    def details(self, job_id: str) -> SeenJob:
        answer = self._ask(
            "show_training_job_details", "ShowTrainingJobDetailsRequest", training_job_id=job_id
        )
        return SeenJob.of(answer)

    def stop(self, job_id: str) -> None:
        """Safe to repeat; a job that has ended or is gone stays so."""
        try:
            self._ask(
                "stop_training_job",
                "StopTrainingJobRequest",
                training_job_id=job_id,
                body={"action_type": "terminate"},
            )
        except ServiceError as error:
            if error.absent or (error.status == 400 and self._has_ended(job_id)):
                return
            raise

    def _has_ended(self, job_id: str) -> bool:
        try:
            return self.details(job_id).ending
        except ServiceError as error:
            return error.absent

    def delete(self, job_id: str) -> None:
        """Remove the service's record of a job. Safe to repeat."""
        try:
            self._ask("delete_training_job", "DeleteTrainingJobRequest", training_job_id=job_id)
        except ServiceError as error:
            if not error.absent:
                raise

    # ---- what the platform has to say of a job

    def events(self, job_id: str, most: int = 500) -> list[dict[str, Any]]:
        """Newest last. Whether `offset` counts pages or records is told in two ways, so repetitions are dropped."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
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
            events = answer.get("events") or []
            found |= {(str(e.get("time")), str(e.get("message"))): e for e in events}
            if len(events) < 100:
                break
        return list(reversed(found.values()))

    def stages(self, job_id: str) -> list[dict[str, Any]]:
        """The stages of the newest start of a job, in order."""
        answer = self._ask("list_training_job_stages", "ListTrainingJobStagesRequest", training_job_id=job_id)
        records = answer.get("running_records") or []
        newest: dict[str, Any] = max(records, key=lambda record: record.get("record_order") or 0, default={})
        return list(newest.get("stages") or [])

    def metrics(self, job_id: str, task: str) -> dict[str, float]:
        """The newest sample of each metric; -1 is none. Empty while there are none."""
        try:
            answer = self._ask(
                "show_training_job_metrics",
                "ShowTrainingJobMetricsRequest",
                training_job_id=job_id,
                task_id=task,
            )
        except ServiceError as error:
            if error.code in ("ModelArts.2776", "ModelArts.2777"):
                return {}
            raise
        found = {}
        for each in answer.get("metrics") or []:
            samples = [value for value in each.get("value") or [] if value is not None and value >= 0]
            if samples:
                found[str(each["metric"])] = float(samples[-1])
        return found

    def log_page(self, job_id: str, task: str, after_line: str = "", lines: int = 500) -> LogPage:
        """Lines after `after_line` of one container's output, oldest first."""
        wanted: dict[str, Any] = {"base_line": after_line} if after_line else {}
        try:
            answer = self._ask(
                "show_training_job_logs_from_aom",
                "ShowTrainingJobLogsFromAomRequest",
                training_job_id=job_id,
                task_id=task,
                lines=lines,
                order="asc",
                **wanted,
            )
        except ServiceError as error:
            if error.code in ("ModelArts.2776", "ModelArts.2777"):
                return LogPage("", 0, after_line)
            raise
        text, count = str(answer.get("content") or ""), int(answer.get("lines") or 0)
        if after_line and str(answer.get("start_line")) == after_line:  # a service that repeats the last line
            text = text.partition("\n")[2]
        return LogPage(text, count, str(answer.get("end_line") or after_line))

    # ---- the wire

    def _ask(
        self, method: str, request: str, patience_s: float | None = None, **fields: Any
    ) -> dict[str, Any]:
        """A request that may be repeated."""
        deadline = time.monotonic() + (self._patience_s if patience_s is None else patience_s)
        pauses = self._pauses()
        while True:
            try:
                return self._once(method, request, **fields)
            except ServiceError as error:
                pause = next(pauses)
                if not error.temporary or time.monotonic() + pause > deadline:
                    raise
                log.info("%s; asking again in %.1f s", error.what, pause)
                self._sleep(pause)

    @staticmethod
    def _pauses() -> Iterator[float]:
        pause = FIRST_PAUSE_S
        while True:
            yield pause * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _once(self, method: str, request: str, **fields: Any) -> dict[str, Any]:
        client = self._client()
        import huaweicloudsdkmodelarts.v1 as sdk
        from huaweicloudsdkcore.exceptions import exceptions as failures

        where = self.site.address
        try:
            answer = getattr(client, method)(getattr(sdk, request)(**fields))
        except failures.ServiceResponseException as error:
            message = self._clean(error.error_msg or _GONE)
            raise ServiceError(
                message,
                status=int(error.status_code or 0),
                code=str(error.error_code or ""),
                request_id=str(error.request_id or ""),
                where=where,
            ) from None
        except (failures.ConnectionException, failures.RequestTimeoutException, OSError) as error:
            words = self._clean(str(getattr(error, "err_message", None) or error))
            raise ServiceError(f"no answer: {words.splitlines()[0][:300]}", where=where) from None
        except failures.SdkException as error:
            raise BackendError(
                self._clean(str(getattr(error, "error_msg", None) or error)), where=where
            ) from None
        return _content(answer)

    def _clean(self, text: str) -> str:
        for name in ("sk", "security_token", "ak"):
            if secret := getattr(self._credentials, name, None):
                text = text.replace(secret, "***")
        return text

    def _client(self) -> Any:
        if self._made is None:
            self._made, self._credentials = connect(self.site, self._timeout)
            self.project_id = str(self._credentials.project_id)
        return self._made


class UnclearCreation(BackendError):
    """A job was asked for, and nobody can say now whether it exists."""

    def __init__(self, message: str, cause: ServiceError) -> None:
        super().__init__(
            f"the service may have made the job, but gives no answer: {message}", where=cause.where
        )


def _content(answer: Any) -> dict[str, Any]:
    """The JSON that the service sent, with what the SDK's classes don't know."""
    raw = getattr(answer, "raw_content", None)
    try:
        value = json.loads(raw) if raw else {}
    except ValueError:
        value = {}
    return value if isinstance(value, dict) else {"items": value}
