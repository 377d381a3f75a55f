"""What a platform calls its NPUs: the resource to ask for, the labels its operator looks for, the ConfigMap with the rank table."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.backends.kubernetes.machines import options_of, uses_npus
from launcher.plan.model import Plan

INITIALIZING = '{"status":"initializing"}'
SKIP_PLUGIN = {"huawei.com/skip-ascend-plugin": "enabled"}
"""Annotation of pods without NPUs, where the scheduler has MindCluster's plug-in."""
_RING = {"ascend910": "ascend-910", "ascend910b": "ascend-910b", "atlas-a3": "ascend-910b"}


@dataclass(frozen=True, slots=True)
class Npus:
    """`label`: key and value that mark the job, its pods and its ConfigMap for the platform's operator. `devices`: the pod's
    annotation with the chips that it got; empty where the platform tells them otherwise."""

    resource: str
    label: tuple[str, str]
    table_prefix: str
    table_file: str
    table_folder: str
    devices: str


def npus_of(plan: Plan) -> Npus | None:
    """None for a job on CPU."""
    if not uses_npus(plan):
        return None
    if options_of(plan).platform == "cce":
        return Npus(
            resource="huawei.com/ascend-1980",
            label=("ring-controller.cce", "ascend-1980"),
            table_prefix="configmap1980-",
            table_file="jobstart_hccl.json",
            table_folder="/user/config",
            devices="",
        )
    return Npus(
        resource="huawei.com/Ascend910",
        label=("ring-controller.atlas", _RING[plan.device]),
        table_prefix="rings-config-",
        table_file="hccl.json",
        table_folder="/user/serverid/devindex/config",
        devices="huawei.com/Ascend910",
    )


def has_table(plan: Plan) -> bool:
    """Whether the platform writes a rank table for the job. For a plain Job launcher makes it."""
    return uses_npus(plan) and options_of(plan).kind != "job"
