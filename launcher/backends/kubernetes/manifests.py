"""From a plan to the objects of one attempt: the ConfigMap of the rank table, where there is one, and the job. Pure."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import yaml

from launcher.backends.kubernetes.machines import in_network, options_of
from launcher.backends.kubernetes.names import RUN_ID, RUN_URL, TASK, job_name, run_labels, store_secret
from launcher.backends.kubernetes.npus import INITIALIZING, has_table, npus_of
from launcher.backends.kubernetes.patch import merged
from launcher.backends.kubernetes.pods import Manifest, pod_metadata, pod_template
from launcher.plan.model import Plan

VOLCANO, ASCEND, BATCH = "batch.volcano.sh/v1alpha1", "mindxdl.gitee.com/v1", "batch/v1"
MAX_RETRY = 1
"""launcher restarts a run itself (`retry`); Volcano's own 3 would do it a second time."""
_NOBODY = {"fault-scheduling": "off"}


def manifests(plan: Plan, attempt: int) -> list[Manifest]:
    """In the order in which they are created; the job is the last one."""
    table = [rank_table_map(plan, attempt)] if has_table(plan) else []
    return [*table, job_manifest(plan, attempt)]


def job_manifest(plan: Plan, attempt: int) -> Manifest:
    """With the job file's patch."""
    return merged(plain_job(plan, attempt), options_of(plan).patch)


def plain_job(plan: Plan, attempt: int) -> Manifest:
    """The job as launcher makes it, before the patch."""
    makers = {"vcjob": _vcjob, "ascendjob": _ascendjob, "job": _job}
    return makers[options_of(plan).kind](plan, attempt)


def rank_table_map(plan: Plan, attempt: int) -> Manifest:
    """The ConfigMap that the platform's operator fills in. Needs `has_table`."""
    npus = npus_of(plan)
    assert npus is not None, "a job on NPUs"
    name = f"{npus.table_prefix}{job_name(plan.run_id, attempt)}"
    labels = {**run_labels(plan.run_id, attempt), **dict([npus.label])}
    metadata = {"name": name, "namespace": options_of(plan).namespace, "labels": labels}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {npus.table_file: INITIALIZING},
    }


def as_yaml(objects: Sequence[Manifest], comments: Sequence[str]) -> str:
    """What `kubectl apply -f -` takes."""
    documents = yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    return "".join(f"# {line}\n" for line in comments) + documents


def remarks(plan: Plan, attempt: int) -> list[str]:
    """What the manifests need that is not among them."""
    options = options_of(plan)
    if not in_network(plan):
        return []
    if options.secret:
        return [f"needs the Secret {options.secret} in {options.namespace}, with the store's credentials"]
    name = store_secret(job_name(plan.run_id, attempt))
    return [
        f"needs the Secret {name} in {options.namespace}, which `launcher submit` makes from your credentials"
    ]


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as such."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)
_Dumper.ignore_aliases = lambda self, data: True  # type: ignore[method-assign]  # kubectl's users read no anchors


def _metadata(plan: Plan, attempt: int) -> Manifest:
    shared = pod_metadata(plan, attempt, npus_of(plan))
    ours = {RUN_ID: plan.run_id, RUN_URL: plan.store.url}
    return {
        "name": job_name(plan.run_id, attempt),
        "namespace": options_of(plan).namespace,
        "labels": shared["labels"],
        "annotations": {**shared.get("annotations", {}), **ours},
    }


def _vcjob(plan: Plan, attempt: int) -> Manifest:
    options, npus = options_of(plan), npus_of(plan)
    metadata, template = _metadata(plan, attempt), pod_template(plan, attempt)
    plugins: dict[str, list[str]] = {"env": [], "svc": []}
    if npus and options.platform == "mindcluster":
        metadata["labels"] = {**metadata["labels"], **_fault_labels(plan)}
        plugins["hcclrank"] = ["--master=master", f"--worker={TASK}"]
    elif npus:
        plugins["configmap1980"] = ["--rank-table-version=v2"]
    template["spec"]["schedulerName"] = "volcano"
    spec: dict[str, Any] = {
        "schedulerName": "volcano",
        "minAvailable": plan.nodes,
        "maxRetry": MAX_RETRY,
        "queue": options.queue or "default",
        "plugins": plugins,
        "tasks": [{"name": TASK, "replicas": plan.nodes, "template": template}],
    }
    if options.fault_scheduling:  # Volcano has failed a job whose restarts have reached maxRetry
        spec["maxRetry"] = plan.retry.max_restarts + 1
        spec["policies"] = [{"event": "PodEvicted", "action": "RestartJob"}]
    if options.priority_class:
        spec["priorityClassName"] = options.priority_class
    return {"apiVersion": VOLCANO, "kind": "Job", "metadata": metadata, "spec": spec}


def _ascendjob(plan: Plan, attempt: int) -> Manifest:
    """With more than one NPU the operator demands a leader; it is the first node, and has NPUs as the others have."""
    options = options_of(plan)
    torch = "torch" in plan.requires and "mindspore" not in plan.requires
    leader = 1 if torch or plan.world_size > 1 else 0
    template = pod_template(plan, attempt)
    template["spec"]["schedulerName"] = "volcano"
    counts = {"Master" if torch else "Scheduler": leader, "Worker": plan.nodes - leader}
    replicas = {
        name: {"replicas": count, "restartPolicy": "Never", "template": copy.deepcopy(template)}
        for name, count in counts.items()
        if count
    }
    metadata = _metadata(plan, attempt)
    framework = {"framework": "pytorch" if torch else "mindspore"}
    metadata["labels"] = {**metadata["labels"], **framework, **_fault_labels(plan)}
    policy: dict[str, Any] = {"minAvailable": plan.nodes, "queue": options.queue or "default"}
    if options.priority_class:
        policy["priorityClass"] = options.priority_class
    backoff = plan.retry.max_restarts if options.fault_scheduling else 0
    spec = {
        "schedulerName": "volcano",
        "runPolicy": {"backoffLimit": backoff, "cleanPodPolicy": "None", "schedulingPolicy": policy},
        "successPolicy": "AllWorkers",
        "replicaSpecs": replicas,
    }
    return {"apiVersion": ASCEND, "kind": "AscendJob", "metadata": metadata, "spec": spec}


def _fault_labels(plan: Plan) -> dict[str, str]:
    """Whether MindCluster restarts the job, and how often after a failure of the program."""
    how = options_of(plan).fault_scheduling
    if how is None:
        return _NOBODY
    return {"fault-scheduling": how, "fault-retry-times": str(plan.retry.max_restarts)}


def _job(plan: Plan, attempt: int) -> Manifest:
    spec = {
        "completionMode": "Indexed",
        "completions": plan.nodes,
        "parallelism": plan.nodes,
        "backoffLimit": 0,
        "template": pod_template(plan, attempt),
    }
    return {"apiVersion": BATCH, "kind": "Job", "metadata": _metadata(plan, attempt), "spec": spec}
