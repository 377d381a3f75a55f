"""What follows the creation of a job: its tags, or its end where the submission failed."""

from __future__ import annotations

import logging

from launcher.backends.modelarts.client import Service
from launcher.backends.modelarts.jobs import SeenJob
from launcher.backends.modelarts.machines import options_of
from launcher.errors import BackendError, LauncherError
from launcher.plan.model import Plan

log = logging.getLogger(__name__)


def tag(service: Service, plan: Plan, job: SeenJob) -> None:
    """A run goes on without its tags."""
    tags = options_of(plan).tags
    if not tags:
        return
    try:
        service.tag(job.id, tags)
    except BackendError as error:
        log.warning("%s has no tags: %s", job.name, error)


def take_back(service: Service, name: str) -> None:
    """Stop the job that a submission may have made before it failed or was interrupted."""
    try:
        if (job := service.find(name, patience_s=10.0)) is not None:
            service.stop(job.id)
    except LauncherError as error:
        log.warning("a job %s may exist on the platform: %s", name, error)
