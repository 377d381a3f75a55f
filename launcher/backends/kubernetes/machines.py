"""The pods of a job as a plan sees them, and the section `kubernetes` that made it so."""

from __future__ import annotations

from pathlib import Path

from launcher.jobfile.spec import JobSpec
from launcher.jobfile.spec_kubernetes import KubernetesOptions
from launcher.plan.machines import Machines
from launcher.plan.model import ASCEND_DEVICES, Plan

CACHE = "/cache"
POD_HOME = f"{CACHE}/ascend-launcher"
"""On a volume that lives as long as the pod, unless the job file mounts another one at /cache."""


def pods_of(spec: JobSpec, cwd: Path) -> Machines:
    """Folders are those of the pods. The code of launcher comes from the run's folder."""
    return Machines(
        python=spec.kubernetes.python,
        options=spec.kubernetes,
        home=Path(POD_HOME),
        base=Path("/"),
        fetch_code=True,
        after_runs=spec.kubernetes.after,
        elsewhere=True,
    )


def options_of(plan: Plan) -> KubernetesOptions:
    """The section `kubernetes` of a plan for this back end."""
    assert isinstance(plan.options, KubernetesOptions), "made for plans of this back end"
    return plan.options


def uses_npus(plan: Plan) -> bool:
    return plan.device in ASCEND_DEVICES


def in_network(plan: Plan) -> bool:
    """Whether the run's folder is in a store that asks for credentials."""
    return not plan.store.url.startswith("file:")
