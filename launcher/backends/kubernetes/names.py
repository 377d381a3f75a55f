"""Names and labels of what a run has in a cluster. All of them follow from the run's id and the attempt. Pure."""

from __future__ import annotations

import hashlib
import re

RUN_LABEL, ATTEMPT_LABEL = "ascend-launcher/run", "ascend-launcher/attempt"
RUN_ID, RUN_URL = "ascend-launcher/run-id", "ascend-launcher/url"
"""Annotations: the whole id of the run, and the URL of its folder."""
LINE_LABEL, STARTER_LABEL = "ascend-launcher/line", "ascend-launcher/starter"
"""Runs that were submitted together and wait for others, and their starter."""
MANAGED = {"app.kubernetes.io/managed-by": "ascend-launcher"}
LONGEST_BASE = 42
"""A pod's name adds `-a<attempt>` and `-scheduler-<index>`, and may have 63 letters."""
CONTAINER = "ascend"
"""The operator of AscendJobs looks for a container of this name."""
TASK = "worker"
"""Name of the only task: Volcano derives VC_WORKER_HOSTS from it, and numbers the pods of a task that is called so."""


def base_name(run_id: str) -> str:
    """A DNS label of at most 42 letters that begins with a letter; ids that differ give names that differ."""
    name = re.sub(r"[^a-z0-9-]", "-", run_id.lower()).strip("-")
    if name == run_id and len(name) <= LONGEST_BASE and name[0].isalpha():
        return name
    digest = hashlib.sha256(run_id.encode()).hexdigest()[:8]
    head = name[: LONGEST_BASE - 11].strip("-")
    return f"r-{head}-{digest}" if head else f"r-{digest}"


def job_name(run_id: str, attempt: int) -> str:
    """One job per attempt."""
    return f"{base_name(run_id)}-a{attempt}"


def store_secret(name: str) -> str:
    """The Secret that `submit` makes for a job."""
    return f"{name}-store"


def wait_name(job: str) -> str:
    """The ConfigMap of a run whose job is made later."""
    return f"{job}-waits"


def starter_name(line: str) -> str:
    """The Job whose pod makes the jobs of a line."""
    return f"{line}-starter"


def run_labels(run_id: str, attempt: int) -> dict[str, str]:
    """By them the objects of a run are found again."""
    return {**MANAGED, RUN_LABEL: base_name(run_id), ATTEMPT_LABEL: str(attempt)}
