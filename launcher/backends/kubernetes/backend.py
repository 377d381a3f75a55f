"""The back end `kubernetes`: one job of Volcano, MindCluster or plain Kubernetes per attempt of a run, one pod per machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher.backends.base import Backend, Handle, Life
from launcher.backends.kubernetes.machines import pods_of
from launcher.backends.kubernetes.manifests import as_yaml
from launcher.backends.kubernetes.rules import check_pods
from launcher.errors import BackendError
from launcher.findings import Finding
from launcher.jobfile.spec import JobSpec
from launcher.plan.machines import Machines
from launcher.plan.model import Plan


class KubernetesBackend(Backend):
    """Renders manifests; `launcher render --write` makes the run's folder, and `kubectl apply` starts the job."""

    runs_elsewhere = True
    shares_files = False
    starts_again = True

    def machines(self, spec: JobSpec, env: Mapping[str, str], cwd: Path) -> Machines:
        return pods_of(spec, cwd)

    def rules(self, plan: Plan) -> Sequence[Finding]:
        return check_pods(plan)

    def render(self, plan: Plan, attempt: int) -> str:
        return as_yaml(plan, attempt)

    def submit(self, plan: Plan, attempt: int) -> Handle:
        raise BackendError(
            "this version of launcher does not send manifests itself",
            hint="launcher render FILE --write | kubectl apply -f -",
        )

    def poll(self, handles: Sequence[Handle]) -> Sequence[Life]:
        return [Life(alive=None)] * len(handles)

    def cancel(self, handle: Handle) -> None:
        """A job that runs reads the request in the run's folder, and saves first."""
