"""Names of jobs: which run and attempt a name says, and the next one that is free."""

from __future__ import annotations

import re
from collections.abc import Sequence

from launcher.backends.base import Handle
from launcher.backends.modelarts.jobs import SeenJob
from launcher.backends.modelarts.request import job_name
from launcher.plan.model import Plan


def run_of(handle: Handle) -> str:
    """The run id in a job's name."""
    return re.sub(r"-a\d+(-\d+)?$", "", str(handle.data.get("name", "")))


def attempt_of(job: SeenJob, run_id: str) -> int:
    """The attempt in a job's name; 0 for another name, such as that of a copy made in the console."""
    match = re.fullmatch(r"-a(\d+)(-\d+)?", job.name.removeprefix(run_id))
    return int(match[1]) if match else 0


def free_serial(plan: Plan, attempt: int, jobs: Sequence[SeenJob]) -> tuple[int, SeenJob | None]:
    """The serial for the attempt's next job, and the job that lives under it already. An ended job keeps its name."""
    by_name = {job.name: job for job in sorted(jobs, key=lambda job: not job.ending)}
    serial = 1
    while (job := by_name.get(job_name(plan.run_id, attempt, serial))) is not None and job.ending:
        serial += 1
    return serial, job
