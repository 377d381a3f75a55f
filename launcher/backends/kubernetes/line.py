"""Runs that wait for others: a ConfigMap for each, which holds its job, and one starter, whose pod makes the jobs in time. Pure.

Whoever submits need not stay. The ConfigMap owns what else the run has, until its job owns the ConfigMap.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launcher.backends.kubernetes.machines import options_of
from launcher.backends.kubernetes.manifests import (
    BATCH,
    as_yaml,
    job_manifest,
    manifests,
    rank_table_map,
    remarks,
)
from launcher.backends.kubernetes.names import (
    LINE_LABEL,
    MANAGED,
    STARTER_LABEL,
    base_name,
    job_name,
    run_labels,
    starter_name,
    wait_name,
)
from launcher.backends.kubernetes.npus import SKIP_PLUGIN, has_table
from launcher.backends.kubernetes.patch import merged
from launcher.backends.kubernetes.paths import JOBS, collection_of, plain
from launcher.backends.kubernetes.pods import Manifest, toleration
from launcher.errors import BackendError
from launcher.plan.model import Plan

PAUSE_S = 5.0
_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_RESTARTS = 1000
"""Of the starter's pod; it ends by itself when no run waits."""
_KEPT_S = 86400


def is_line(plans: Sequence[Plan]) -> bool:
    """Whether a run of one submission waits for another run."""
    limits = [options_of(plan).max_parallel or len(plans) for plan in plans]
    return min(limits) < len(plans) or any(plan.after_jobs for plan in plans)


def wait_map(plan: Plan, attempt: int, line: str, order: int) -> Manifest:
    """The run's place in the line. `state`: waits, started or refused. `others`: the runs that take all places."""
    name, namespace = job_name(plan.run_id, attempt), options_of(plan).namespace
    job = line_job(plan, attempt, line)
    data = {
        "run": plan.run_id,
        "order": str(order),
        "state": "waits",
        "reason": "",
        "after": json.dumps([_condition(each, plan) for each in plan.after_jobs]),
        "others": "[]",
        "collection": collection_of(job),
        "job": json.dumps(job),
    }
    labels = {**run_labels(plan.run_id, attempt), LINE_LABEL: line}
    metadata = {"name": wait_name(name), "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def line_job(plan: Plan, attempt: int, line: str) -> Manifest:
    """The run's job, with the label by which the starter counts."""
    return merged(job_manifest(plan, attempt), {"metadata": {"labels": {LINE_LABEL: line}}})


def starter(plans: Sequence[Plan], attempt: int) -> Manifest:
    """The Job of the line's starter. Raises BackendError for runs that can't have the same."""
    plan, options = plans[0], options_of(plans[0])
    for each in plans[1:]:
        other = options_of(each)
        for field in ("context", "namespace", "max_parallel", "starter_account"):
            if getattr(other, field) != getattr(options, field):
                raise BackendError(
                    f"the runs of this sweep differ in {field}, so they can't wait for one another",
                    where=f"kubernetes.{field}",
                    hint="leave it out of the sweep, or kubernetes.max_parallel out of the job file",
                )
    line = job_name(plan.run_id, attempt)
    labels = {**options.labels, **MANAGED, STARTER_LABEL: line}
    annotations = {**options.annotations, **(SKIP_PLUGIN if options.platform == "mindcluster" else {})}
    template = {"metadata": {"labels": labels, "annotations": annotations}, "spec": _pod(plan, line)}
    return {
        "apiVersion": BATCH,
        "kind": "Job",
        "metadata": {"name": starter_name(line), "namespace": options.namespace, "labels": labels},
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": _RESTARTS,
            "ttlSecondsAfterFinished": _KEPT_S,
            "template": template,
        },
    }


def line_manifests(plans: Sequence[Plan], attempt: int) -> list[Manifest]:
    """In the order in which they are created; the starter is the last one."""
    line = job_name(plans[0].run_id, attempt)
    tables = [rank_table_map(plan, attempt) for plan in plans if has_table(plan)]
    waits = [wait_map(plan, attempt, line, order) for order, plan in enumerate(plans)]
    return [*tables, *waits, starter(plans, attempt)]


def rendered(plans: Sequence[Plan], attempt: int) -> str:
    """All that one submission sends, with or without a starter."""
    comments = dict.fromkeys(line for plan in plans for line in remarks(plan, attempt))
    plain_ones = [each for plan in plans for each in manifests(plan, attempt)]
    return as_yaml(line_manifests(plans, attempt) if is_line(plans) else plain_ones, list(comments))


def _pod(plan: Plan, line: str) -> Manifest:
    options = options_of(plan)
    facts = {
        "maps": plain("ConfigMap", options.namespace),
        "label": f"{LINE_LABEL}={line}",
        "most": options.max_parallel or 0,
        "pause_s": PAUSE_S,
    }
    env = {"LAUNCHER_LINE": json.dumps(facts), "LAUNCHER_ACCOUNT": _ACCOUNT, "PYTHONUNBUFFERED": "1"}
    asked = {"cpu": "50m", "memory": "64Mi"}
    container = {
        "name": "starter",
        "image": options.image or "",
        "command": [plan.python, "-c", Path(__file__).with_name("starter.py").read_text()],
        "env": [{"name": name, "value": value} for name, value in env.items()],
        "resources": {"requests": asked},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    spec: dict[str, Any] = {
        "restartPolicy": "OnFailure",
        "serviceAccountName": options.starter_account or "default",
        "automountServiceAccountToken": True,
        "imagePullSecrets": [{"name": name} for name in options.image_pull_secrets],
        "nodeSelector": dict(options.node_selector),
        "tolerations": [toleration(each) for each in options.tolerations],
        "containers": [container],
    }
    return {key: value for key, value in spec.items() if value}


def job_reference(kind: str, namespace: str, name: str) -> str:
    """A job that other runs can wait for, as a plan has it.

    >>> job_reference("vcjob", "vision", "tnt-a1")
    'vcjob/vision/tnt-a1'
    """
    return f"{kind}/{namespace}/{name}"


def path_of_reference(reference: str) -> str:
    """The job's address in the API server."""
    kind, namespace, name = reference.split("/")
    return f"{JOBS[kind].format(namespace)}/{name}"


def path_of_wait(reference: str) -> str:
    """The ConfigMap of that job's run, which is there as long as the run waits."""
    _, namespace, name = reference.split("/")
    return f"{plain('ConfigMap', namespace)}/{wait_name(name)}"


def _condition(reference: str, plan: Plan) -> dict[str, str]:
    base = reference.rpartition("/")[2].rpartition("-a")[0]
    run = next((each for each in plan.after_runs if base_name(each) == base), base)
    return {"run": run, "job": path_of_reference(reference), "waits": path_of_wait(reference)}
