"""What MindCluster adds to a cluster: the chips of a pod as an annotation, the rank table of a job in its ConfigMap, and AscendJobs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.servers.kube import SERVICE_IP, KubeServer

Object = dict[str, Any]
ASCEND = "/apis/mindxdl.gitee.com/v1"
CHIPS = "huawei.com/Ascend910"
FILE = "hccl.json"
FIRST = 4
"""Physical id of the first chip of each pod; inside they count from 0."""


def chips_of(spec: Object) -> int:
    """So many chips the container of a pod asks for."""
    return int(spec["containers"][0].get("resources", {}).get("limits", {}).get(CHIPS, 0))


def give_chips(metadata: Object, spec: Object) -> None:
    """The device plugin's annotation. All pods have the same: each is on a node of its own."""
    if count := chips_of(spec):
        metadata["annotations"][CHIPS] = ",".join(f"Ascend910-{FIRST + number}" for number in range(count))


def templates_of(job: Object) -> list[tuple[str, Object]]:
    """Name and template of each pod of an AscendJob; the leader's comes first."""
    found = []
    for kind, replica in job["spec"]["replicaSpecs"].items():
        for index in range(replica["replicas"]):
            found.append((f"{job['metadata']['name']}-{kind.lower()}-{index}", replica["template"]))
    return found


def describe_pod(job: Object, place: int, metadata: Object, spec: Object) -> dict[str, str]:
    """The labels and annotations of an AscendJob's pod are set; its variables are returned, some as names of fields."""
    pods = templates_of(job)
    name = pods[place][0]
    kind, index = name.removeprefix(f"{job['metadata']['name']}-").rsplit("-", 1)
    metadata["labels"] |= {
        "job-name": job["metadata"]["name"],
        "replica-type": kind,
        "replica-index": index,
        "version": "0",
    }
    metadata["annotations"]["hccl/rankIndex"] = str(place)
    env = {"MINDX_TASK_ID": job["metadata"]["uid"], "REPLICA_TYPE": kind, "HostNetwork": "false"}
    if pods[0][0].endswith("-worker-0"):  # without a leader there is no cluster to describe
        return env
    return env | {
        "MS_SCHED_HOST": "status.podIP" if kind == "scheduler" else SERVICE_IP,
        "MS_SCHED_PORT": "2222",
        "MS_ROLE": "MS_SCHED" if kind == "scheduler" else "MS_WORKER",
        "MS_LOCAL_WORKER": str(chips_of(spec)),
        "MS_WORKER_NUM": str(sum(chips_of(template["spec"]) for _, template in pods)),
        "MS_NODE_RANK": str(place),
        "MS_SERVER_NUM": "0",
        "NPU_POD": "true",
    }


class Operator:
    """Completes the rank tables of jobs whose pods all run. `crossed`: it numbers the pods from the last one."""

    def __init__(self, server: KubeServer, namespace: str) -> None:
        self._server, self._namespace = server, namespace
        self.crossed = False
        self.restarts: dict[str, int] = {}

    def restart(self, job: Object, pods: Sequence[Object]) -> bool:
        """Whether the job is being restarted: after a failure all of its pods go, and others are made, as often as its labels say."""
        labels, uid = job["metadata"]["labels"], job["metadata"]["uid"]
        if any(pod["metadata"].get("deletionTimestamp") for pod in pods):
            return labels.get("fault-scheduling", "off") != "off"
        failed = any(pod["status"].get("phase") == "Failed" for pod in pods)
        so_far, most = self.restarts.get(uid, 0), int(labels.get("fault-retry-times", "0"))
        if not failed or labels.get("fault-scheduling", "off") == "off" or so_far >= most:
            return False
        self.restarts[uid] = so_far + 1
        namespace = f"/api/v1/namespaces/{self._namespace}"
        table = {"data": {FILE: json.dumps({"status": "initializing"})}}
        self._server.call("PATCH", f"{namespace}/configmaps/rings-config-{job['metadata']['name']}", table)
        for pod in pods:
            self._server.call("DELETE", f"{namespace}/pods/{pod['metadata']['name']}")
        return True

    def complete(self, job: Object, pods: Sequence[Object]) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/configmaps/rings-config-{job['metadata']['name']}"
        if not all(pod["status"].get("phase") == "Running" for pod in pods) or not chips_of(pods[0]["spec"]):
            return
        if json.loads(self._server.call("GET", path)["data"][FILE])["status"] == "initializing":
            self._server.call("PATCH", path, {"data": {FILE: json.dumps(self._table(pods))}})

    def rewrite(self, job_name: str, old: str, new: str) -> None:
        """Change the table of a job that runs, as after a chip was replaced."""
        path = f"/api/v1/namespaces/{self._namespace}/configmaps/rings-config-{job_name}"
        text = self._server.call("GET", path)["data"][FILE]
        assert old in text
        self._server.call("PATCH", path, {"data": {FILE: text.replace(old, new)}})

    def _table(self, pods: Sequence[Object]) -> Object:
        ordered = sorted(pods, key=lambda pod: int(pod["metadata"]["annotations"]["hccl/rankIndex"]))
        servers, rank = [], 0
        for pod in reversed(ordered) if self.crossed else ordered:
            devices = []
            for chip in range(chips_of(pod["spec"])):
                devices.append(
                    {"device_id": str(FIRST + chip), "device_ip": f"10.1.0.{rank + 1}", "rank_id": str(rank)}
                )
                rank += 1
            servers.append(
                {
                    "server_id": pod["metadata"]["uid"],
                    "host_ip": pod["status"]["hostIP"],
                    "container_ip": pod["status"]["podIP"],
                    "device": devices,
                }
            )
        return {
            "status": "completed",
            "version": "1.0",
            "server_count": str(len(servers)),
            "server_list": servers,
        }
