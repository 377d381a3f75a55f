"""The template of a job's pods: one container each, which starts one node program. Pure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from launcher.backends.kubernetes.machines import CACHE, in_network, options_of
from launcher.backends.kubernetes.names import CONTAINER, job_name, run_labels, store_secret
from launcher.backends.kubernetes.npus import SKIP_PLUGIN, Npus, has_table, npus_of
from launcher.jobfile.spec_kubernetes import KubernetesToleration, KubernetesVolume
from launcher.plan.model import Plan

Manifest = dict[str, Any]
RANK_INDEX = "hccl/rankIndex"
_DRIVER, _SHM = "/usr/local/Ascend/driver", "/dev/shm"  # noqa: S108 - a mount of the pod
_BASE_PACKAGES = ("pydantic", "yaml")


def pod_template(plan: Plan, attempt: int) -> Manifest:
    """`metadata` and `spec` of the pods."""
    options, npus = options_of(plan), npus_of(plan)
    volumes, mounts = _volumes(plan, attempt, npus)
    spec: Manifest = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": options.grace,
        "automountServiceAccountToken": options.service_account is not None,
        **_some("serviceAccountName", options.service_account),
        **_some("hostNetwork", options.host_network),
        **_some("dnsPolicy", "ClusterFirstWithHostNet" if options.host_network else None),
        **_some("priorityClassName", options.priority_class),
        **_some("imagePullSecrets", [{"name": name} for name in options.image_pull_secrets]),
        **_some("nodeSelector", dict(options.node_selector)),
        **_some("tolerations", [toleration(each) for each in options.tolerations]),
        **_some("affinity", _apart(plan, attempt) if plan.nodes > 1 else None),
        "containers": [_container(plan, attempt, npus, mounts)],
        "volumes": volumes,
    }
    return {"metadata": pod_metadata(plan, attempt, npus), "spec": spec}


def pod_metadata(plan: Plan, attempt: int, npus: Npus | None) -> Manifest:
    """Labels and annotations that the job and its pods share."""
    options = options_of(plan)
    labels = {**options.labels, **run_labels(plan.run_id, attempt), **(dict([npus.label]) if npus else {})}
    annotations = dict(options.annotations)
    if options.schedule_policy:
        annotations["huawei.com/schedule_policy"] = options.schedule_policy
    if npus is None and options.kind != "job" and options.platform == "mindcluster":
        annotations |= SKIP_PLUGIN
    return {"labels": labels, **_some("annotations", annotations)}


def _container(plan: Plan, attempt: int, npus: Npus | None, mounts: list[Manifest]) -> Manifest:
    options = options_of(plan)
    asked = {
        **_some("cpu", str(options.cpus) if options.cpus else None),
        **_some("memory", str(options.memory) if options.memory else None),
        **({npus.resource: str(plan.devices_per_node)} if npus else {}),
    }
    secret = options.secret or (store_secret(job_name(plan.run_id, attempt)) if in_network(plan) else None)
    boot = Path(__file__).with_name("boot.py").read_text()
    return {
        "name": CONTAINER,
        "image": options.image or "",
        "command": [plan.python, "-c", boot],
        "env": _env(plan, attempt, npus),
        **_some("envFrom", [{"secretRef": {"name": secret}}] if secret else None),
        "resources": {"requests": dict(asked), "limits": dict(asked)},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
        **_some(
            "ports",
            [{"name": "ascendjob-port", "containerPort": 2222}] if options.kind == "ascendjob" else None,
        ),
    }


def _env(plan: Plan, attempt: int, npus: Npus | None) -> list[Manifest]:
    facts = {
        "store": plan.store.model_dump(exclude_none=True, exclude={"profile", "ca_bundle"}),
        "work_dir": plan.work_dir,
        "run": plan.run_id,
        "attempt": attempt,
        "plan": plan.digest,
        "code": plan.code,
        "packages": [*_BASE_PACKAGES, *(["boto3"] if in_network(plan) else [])],
    }
    fields = {
        "POD_NAME": "metadata.name",
        "POD_UID": "metadata.uid",
        "POD_IP": "status.podIP",
        "XDL_IP": "status.hostIP",
        "LAUNCHER_RANK_INDEX": f"metadata.annotations['{RANK_INDEX}']",
        **_some("HCCL_IF_IP", "status.hostIP" if npus and options_of(plan).host_network else None),
    }
    values = {"LAUNCHER_BOOT": json.dumps(facts), "LAUNCHER_EXIT": "leader", "PYTHONUNBUFFERED": "1"}
    if npus and npus.devices:
        fields["ASCEND_VISIBLE_DEVICES"] = f"metadata.annotations['{npus.devices}']"
    if npus and has_table(plan):
        values["RANK_TABLE_FILE"] = f"{npus.table_folder}/{npus.table_file}"
    return [
        *({"name": name, "value": value} for name, value in values.items()),
        *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()),
    ]


def _volumes(plan: Plan, attempt: int, npus: Npus | None) -> tuple[list[Manifest], list[Manifest]]:
    """Volumes and their mounts; a volume of the job file takes the place of ours at the same mount."""
    options = options_of(plan)
    found: dict[str, tuple[str, Manifest]] = {
        _SHM: ("dshm", {"emptyDir": {"medium": "Memory"}}),
        CACHE: ("cache", {"emptyDir": {}}),
    }
    if npus:
        found[_DRIVER] = ("ascend-driver", {"hostPath": {"path": _DRIVER}})
    if npus and has_table(plan):
        table = f"{npus.table_prefix}{job_name(plan.run_id, attempt)}"
        found[npus.table_folder] = ("rank-table", {"configMap": {"name": table}})
    found |= {each.mount: (f"volume-{k}", _source(each)) for k, each in enumerate(options.volumes)}
    read_only = {each.mount for each in options.volumes if each.read_only}
    volumes = [{"name": name, **source} for name, source in found.values()]
    mounts = [
        {"name": name, "mountPath": mount, **_some("readOnly", mount in read_only)}
        for mount, (name, _) in found.items()
    ]
    return volumes, mounts


def _source(volume: KubernetesVolume) -> Manifest:
    if volume.pvc is not None:
        return {"persistentVolumeClaim": {"claimName": volume.pvc, **_some("readOnly", volume.read_only)}}
    if volume.host_path is not None:
        return {"hostPath": {"path": volume.host_path, "type": "Directory"}}
    server, _, path = (volume.nfs or "").partition(":")
    return {"nfs": {"server": server, "path": path, **_some("readOnly", volume.read_only)}}


def toleration(accepted: KubernetesToleration) -> Manifest:
    """As the server takes it."""
    return {
        **_some("key", accepted.key),
        "operator": "Exists" if accepted.value is None else "Equal",
        **_some("value", accepted.value),
        **_some("effect", accepted.effect),
        **({"tolerationSeconds": accepted.after} if accepted.after is not None else {}),
    }


def _apart(plan: Plan, attempt: int) -> Manifest:
    """One pod per node on NPUs; on CPU a wish only."""
    labels = {key: value for key, value in run_labels(plan.run_id, attempt).items() if "launcher/" in key}
    term = {"labelSelector": {"matchLabels": labels}, "topologyKey": "kubernetes.io/hostname"}
    if npus_of(plan):
        return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    wish = {"weight": 100, "podAffinityTerm": term}
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}}


def _some(key: str, value: Any) -> Manifest:
    """One entry, or none for what is empty."""
    return {key: value} if value else {}
