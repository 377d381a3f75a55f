"""A closer look at one job: why it waits or does not begin, how it uses its NPUs, why it ended without a word."""

from __future__ import annotations

from launcher.backends.base import Life
from launcher.backends.modelarts.causes import PlatformCause, cause_in
from launcher.backends.modelarts.client import Service
from launcher.backends.modelarts.jobs import OUR_PHASES, SeenJob, metrics_words, stage_words
from launcher.backends.modelarts.poll import Unanswered
from launcher.errors import BackendError

EVENTS = 100
"""The newest events, of which one tells why a job does not begin."""


def closer(service: Service, job: SeenJob | Unanswered, life: Life) -> Life:
    """Add the stage, which says why a job waits, and the use of NPUs. Unchanged when the service does not answer."""
    if isinstance(job, Unanswered):
        return life
    try:
        stages = service.stages(job.id)
        stage = str(stages[-1].get("name") or "") if stages else ""
        running = job.phase == "Running" and stage not in OUR_PHASES
        metrics = service.metrics(job.id, job.tasks[0] if job.tasks else "worker-0") if running else {}
    except BackendError:
        return life
    cause = _cause(service, job) if stage == "preparing" else None
    words = metrics_words(metrics) if running else stage_words(stages)
    detail = "; ".join(filter(None, [cause.words() if cause else "", life.detail, words]))
    return life.model_copy(update={"detail": detail, "phase": OUR_PHASES.get(stage, "")})


def ended_mute(job: SeenJob | Unanswered | None) -> bool:
    """Whether a job ended without an exit code of its program, so that only the platform can know why."""
    return (
        isinstance(job, SeenJob)
        and job.phase in ("Failed", "Terminated", "Abnormal")
        and not any(end.exit_code for end in job.ends)
    )


def with_cause(service: Service, job: SeenJob | Unanswered, life: Life) -> Life:
    """Add what the platform's events say of the end. Unchanged when they say nothing, or can't be read."""
    cause = _cause(service, job) if isinstance(job, SeenJob) else None
    if cause is None:
        return life
    return life.model_copy(update={"detail": f"{cause.words()}; {life.detail}", "rule": cause.rule})


def _cause(service: Service, job: SeenJob) -> PlatformCause | None:
    try:
        return cause_in(service.events(job.id, EVENTS))
    except BackendError:
        return None
