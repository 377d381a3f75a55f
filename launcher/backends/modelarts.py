"""The back end `modelarts`: one training job of Huawei's ModelArts per attempt of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence

from launcher.backends.base import Handle, Life
from launcher.backends.modelarts_request import job_request
from launcher.errors import BackendError
from launcher.findings import Finding
from launcher.plan import Plan


class ModelArtsBackend:
    """Renders, sends and asks; what a job does stands in the run's folder, as with every back end."""

    def check(self, plan: Plan) -> Sequence[Finding]:
        return []

    def render(self, plan: Plan, attempt: int) -> str:
        return json.dumps(job_request(plan, attempt).body(), indent=2, ensure_ascii=False) + "\n"

    def submit(self, plan: Plan, attempt: int) -> Handle:
        raise BackendError("not able to send jobs to ModelArts yet")

    def poll(self, handles: Sequence[Handle]) -> Sequence[Life]:
        return [Life(alive=None) for _ in handles]

    def cancel(self, handle: Handle) -> None:
        raise BackendError("not able to cancel jobs on ModelArts yet")
