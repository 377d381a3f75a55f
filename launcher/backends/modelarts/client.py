"""Requests to ModelArts: make, find, stop and delete jobs; `reports.py` reads what the platform says of them.

A creation is never repeated before a search for the first job.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from launcher.backends.modelarts.errors import CANNOT_STOP, NAME_TAKEN, ServiceError
from launcher.backends.modelarts.jobs import WAITING, SeenJob
from launcher.backends.modelarts.login import Project
from launcher.backends.modelarts.offer import Offer
from launcher.backends.modelarts.reports import Reports
from launcher.backends.modelarts.wire import ANSWER_S, CONNECT_S, Wire, dicts, pauses
from launcher.errors import BackendError

log = logging.getLogger(__name__)

PAGE = 50
MAX_PAGES = 200


class Service(Reports):
    """One project of one region. Every method blocks for at most about `patience_s`, and raises BackendError."""

    def __init__(
        self,
        project: Project,
        *,
        patience_s: float = 60.0,
        connect_s: float = CONNECT_S,
        answer_s: float = ANSWER_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.project = project
        self._patience_s, self._sleep = patience_s, sleep
        self._wire = Wire(project, patience_s, (connect_s, answer_s), sleep)
        super().__init__(self._wire.ask)
        self.offer = Offer(self._wire.ask)

    @property
    def project_id(self) -> str:
        """The project's id, from the credentials in use; empty before the first request."""
        return self._wire.project_id

    # ---- jobs

    def create(self, body: Mapping[str, Any]) -> SeenJob:
        """Create the job `body`, once. After an unclear answer the job is looked for by its exact name before anything else.

        Raises UnclearCreation when even that got no answer: then the job may exist.
        """
        name = str(body["metadata"]["name"])
        deadline = time.monotonic() + self._patience_s
        waits = pauses()
        doubtful = False
        while True:
            try:
                made = self._wire.once(
                    "create_training_job", "CreateTrainingJobRequest", ("metadata",), body=dict(body)
                )
                job = SeenJob.of(made)
                return self._the_only(name, job) if doubtful else job
            except ServiceError as error:
                if not error.temporary and error.code not in NAME_TAKEN:
                    error.nothing_made = not doubtful
                    raise
                doubtful = doubtful or error.unclear
                existing = self._found_after_doubt(name, doubtful, error, deadline)
                if existing is not None:
                    return existing
                if not error.temporary:
                    raise
                if time.monotonic() > deadline:
                    if doubtful:
                        raise UnclearCreation(str(error.message), error) from error
                    raise
                self._sleep(next(waits))

    def _found_after_doubt(
        self, name: str, doubtful: bool, error: ServiceError, deadline: float
    ) -> SeenJob | None:
        if not doubtful and error.temporary:
            return None  # refused, so no job was made
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
        filters = [{"key": "name", "operator": "like", "value": [run_id]}]
        return [job for job in self.jobs(filters) if job.name.startswith(f"{run_id}-a")]

    def living(self) -> Iterator[SeenJob]:
        """Jobs that have not ended, by the phases that are known."""
        filters = [
            {"key": "phase", "operator": "in", "value": [*WAITING, "Running", "Terminating", "Abnormal"]}
        ]
        return self.jobs(filters)

    def _named(self, name: str, patience_s: float | None = None) -> list[SeenJob]:
        filters = [{"key": "name", "operator": "like", "value": [name]}]
        return [job for job in self.jobs(filters, patience_s=patience_s) if job.name == name]

    def jobs(
        self,
        filters: list[dict[str, Any]] | None = None,
        *,
        patience_s: float | None = None,
        enough: Callable[[list[SeenJob]], bool] = lambda page: False,
    ) -> Iterator[SeenJob]:
        """Newest first, page by page, until `enough` is true of a page. A job that moves between pages is listed once."""
        ids: set[str] = set()
        for number in range(MAX_PAGES):
            search: dict[str, Any] = {
                "offset": number,
                "limit": PAGE,
                "sort_by": "create_time",
                "order": "desc",
                **({"filters": filters} if filters else {}),
                **({"workspace_id": self.project.workspace} if self.project.workspace != "0" else {}),
            }
            answer = self._ask(
                "list_training_jobs", "ListTrainingJobsRequest", ("items", "total"), patience_s, body=search
            )
            items = [SeenJob.of(item) for item in dicts(answer.get("items"))]
            yield from (job for job in items if job.id not in ids)
            ids |= {job.id for job in items}
            total = answer.get("total")
            if (
                len(items) < PAGE
                or (isinstance(total, int) and total <= (number + 1) * PAGE)
                or enough(items)
            ):
                return

    def details(self, job_id: str) -> SeenJob:
        answer = self._ask(
            "show_training_job_details",
            "ShowTrainingJobDetailsRequest",
            ("metadata",),
            training_job_id=job_id,
        )
        return SeenJob.of(answer)

    def show(self, job_id: str, name: str = "") -> SeenJob | None:
        """None for a job that is not there. Raises ServiceError for anything else that is missing, such as the project.

        A 404 without a code says that only when a list, which has the same address, succeeds and lacks the job.
        """
        try:
            return self.details(job_id)
        except ServiceError as error:
            if error.absent or (error.bare_404 and self._unlisted(job_id, name, error)):
                return None
            raise

    def _unlisted(self, job_id: str, name: str, error: ServiceError) -> bool:
        try:
            jobs = self._named(name) if name else self.jobs()
            return all(job.id != job_id for job in jobs)
        except ServiceError as second:
            raise error from second

    def stop(self, job_id: str) -> None:
        """Stop a job. Safe to repeat, also for a job that has ended meanwhile or was deleted.

        A job that changes meanwhile is asked again. One that is not over, and that the service can't stop, is an error.
        """
        deadline = time.monotonic() + self._patience_s
        waits = pauses()
        while True:
            try:
                self._ask(
                    "stop_training_job",
                    "StopTrainingJobRequest",
                    training_job_id=job_id,
                    body={"action_type": "terminate"},
                )
                return
            except ServiceError as error:
                if error.absent or self._over(job_id, error):
                    return
                pause = next(waits)
                if error.code != CANNOT_STOP or time.monotonic() + pause > deadline:
                    raise
                self._sleep(pause)  # it has ended, and what the service shows lags behind

    def _over(self, job_id: str, refusal: ServiceError) -> bool:
        """Whether a job that the service does not stop is gone, or has ended, or is ending. Raises `refusal` for one that is Abnormal."""
        if not (refusal.bare_404 or refusal.status in (400, 409)):
            return False
        try:
            job = self.show(job_id)
        except ServiceError:
            return refusal.code == CANNOT_STOP
        if job is not None and job.phase == "Abnormal":
            raise refusal
        return job is None or job.ending

    def change(self, job_id: str, policy: Mapping[str, Any]) -> None:
        """Change fields of the schedule policy of a job that has not ended. Safe to repeat."""
        self._ask(
            "change_training_job_description",
            "ChangeTrainingJobDescriptionRequest",
            training_job_id=job_id,
            body={"spec": {"schedule_policy": dict(policy)}},
        )

    def tag(self, job_id: str, tags: Mapping[str, str]) -> None:
        """Add tags to a job; those of the same key are replaced. Safe to repeat."""
        self._ask(
            "create_train_job_tags",
            "CreateTrainJobTagsRequest",
            training_job_id=job_id,
            body=tags_body(tags),
        )

    def delete(self, job_id: str) -> None:
        """Remove the service's record of a job. Safe to repeat."""
        try:
            self._ask("delete_training_job", "DeleteTrainingJobRequest", training_job_id=job_id)
        except ServiceError as error:
            if not (error.absent or (error.bare_404 and self.show(job_id) is None)):
                raise


def tags_body(tags: Mapping[str, str]) -> dict[str, Any]:
    """The body of the request that adds tags to a job. Pure."""
    return {"tags": [{"key": key, "value": value} for key, value in tags.items()]}


class UnclearCreation(BackendError):
    """It is not known whether a creation made the job."""

    def __init__(self, message: str, cause: ServiceError) -> None:
        super().__init__(
            f"the service may have made the job, but gives no answer: {message}", where=cause.where
        )
