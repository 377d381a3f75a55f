"""The parts of a pod that the stand-in for Kubernetes makes and reads."""

from __future__ import annotations

import json

from tests.fakes.kubernetes_operator import ASCEND, Object, describe_pod, give_chips, templates_of

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def make_pod(api: str, job: Object, template: Object, index: int, count: int) -> Object:
    """As Volcano's plug-ins env, svc and hcclrank make it, or the controller of Indexed Jobs."""
    metadata, spec = json.loads(json.dumps(template["metadata"])), json.loads(json.dumps(template["spec"]))
    name = job["metadata"]["name"]
    labels, noted = metadata.setdefault("labels", {}), metadata.setdefault("annotations", {})
    if "volcano" in api:
        own, env = f"{name}-worker-{index}", {"VC_TASK_INDEX": str(index), "VK_TASK_INDEX": str(index)}
        env |= {
            "VC_WORKER_HOSTS": ",".join(f"{name}-worker-{k}.{name}" for k in range(count)),
            "VC_WORKER_NUM": str(count),
        }
        labels |= {
            "volcano.sh/job-name": name,
            "volcano.sh/task-spec": "worker",
            "volcano.sh/task-index": str(index),
        }
        if "hcclrank" in job["spec"]["plugins"]:
            noted["hccl/rankIndex"] = str(index)
    elif api == ASCEND:
        own, env = templates_of(job)[index][0], describe_pod(job, index, metadata, spec)
    else:
        own, env = f"{name}-{index}-abcde", {"JOB_COMPLETION_INDEX": str(index)}
        labels |= {"job-name": name}
        noted["batch.kubernetes.io/job-completion-index"] = str(index)
    spec.pop("schedulerName", None)
    give_chips(metadata, spec)
    spec["containers"][0]["env"] += [variable(key, value) for key, value in env.items()]
    kind = "AscendJob" if api == ASCEND else "Job"
    owner: Object = {"apiVersion": api.removeprefix("/apis/"), "kind": kind}
    owner |= {"name": name, "uid": job["metadata"]["uid"]}
    owner |= {"controller": True, "blockOwnerDeletion": True}
    return {"metadata": {**metadata, "name": own, "ownerReferences": [owner]}, "spec": spec}


def variable(name: str, value: str) -> Object:
    """A variable of a container; `status.…` stands for that field of its pod."""
    if value.startswith("status."):
        return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": value}}}
    return {"name": name, "value": value}


def is_over(job: Object) -> bool:
    status = job.get("status") or {}
    words = [each["type"] for each in status.get("conditions") or []] + [
        (status.get("state") or {}).get("phase")
    ]
    return any(
        word in ("Completed", "Complete", "Succeeded", "Failed", "Terminated", "Aborted") for word in words
    )


def field_of(pod: Object, path: str, address: str, host: str) -> str:
    """The downward API, as far as the manifests use it."""
    if path.startswith("metadata.annotations['"):
        return str((pod["metadata"].get("annotations") or {}).get(path.split("'")[1], ""))
    known = {"status.podIP": address, "status.hostIP": host}
    return known.get(path) or str(pod["metadata"][path.rpartition(".")[2]])


def moved(value: str, mounted: dict[str, str]) -> str:
    for mount, place in mounted.items():
        if value == mount or value.startswith(f"{mount}/"):
            return place + value[len(mount) :]
    return value
