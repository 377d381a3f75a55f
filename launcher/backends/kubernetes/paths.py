"""Addresses of objects in an API server. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launcher.backends.kubernetes.manifests import ASCEND, BATCH, VOLCANO

JOBS = {
    "vcjob": f"/apis/{VOLCANO}/namespaces/{{}}/jobs",
    "ascendjob": f"/apis/{ASCEND}/namespaces/{{}}/ascendjobs",
    "job": f"/apis/{BATCH}/namespaces/{{}}/jobs",
}
"""Collections of jobs by the word of the job file."""
_PLAIN = {"ConfigMap": "configmaps", "Secret": "secrets", "Pod": "pods", "Event": "events"}
_KINDS = {(VOLCANO, "Job"): "vcjob", (ASCEND, "AscendJob"): "ascendjob", (BATCH, "Job"): "job"}


def plain(kind: str, namespace: str) -> str:
    """The collection of a kind of Kubernetes itself."""
    return f"/api/v1/namespaces/{namespace}/{_PLAIN[kind]}"


def pod_groups(namespace: str) -> str:
    return f"/apis/scheduling.volcano.sh/v1beta1/namespaces/{namespace}/podgroups"


def queue(name: str) -> str:
    return f"/apis/scheduling.volcano.sh/v1beta1/queues/{name}"


def collection_of(manifest: Mapping[str, Any]) -> str:
    """Where an object of ours is created."""
    namespace = manifest["metadata"]["namespace"]
    kind = _KINDS.get((manifest["apiVersion"], manifest["kind"]))
    return JOBS[kind].format(namespace) if kind else plain(manifest["kind"], namespace)


def path_of(manifest: Mapping[str, Any]) -> str:
    """An object of ours."""
    return f"{collection_of(manifest)}/{manifest['metadata']['name']}"
