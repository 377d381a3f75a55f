"""What MindCluster adds to a cluster: the chips of a pod as an annotation, and the rank table of a job in its ConfigMap."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.servers.kube import KubeServer

Object = dict[str, Any]
CHIPS = "huawei.com/Ascend910"
FILE = "hccl.json"


def chips_of(spec: Object) -> int:
    """So many chips the container of a pod asks for."""
    return int(spec["containers"][0].get("resources", {}).get("limits", {}).get(CHIPS, 0))


def give_chips(metadata: Object, spec: Object) -> None:
    """The device plugin's annotation. Chips of all pods are counted from 0: each is on a node of its own."""
    if count := chips_of(spec):
        metadata["annotations"][CHIPS] = ",".join(f"Ascend910-{number}" for number in range(count))


class Operator:
    """Completes the rank tables of jobs whose pods all run. `crossed`: it numbers the pods from the last one."""

    def __init__(self, server: KubeServer, namespace: str) -> None:
        self._server, self._namespace = server, namespace
        self.crossed = False

    def complete(self, job: Object, pods: Sequence[Object]) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/configmaps/rings-config-{job['metadata']['name']}"
        if not all(pod["status"].get("phase") == "Running" for pod in pods) or not chips_of(pods[0]["spec"]):
            return
        if json.loads(self._server.call("GET", path)["data"][FILE])["status"] == "initializing":
            self._server.call("PATCH", path, {"data": {FILE: json.dumps(self._table(pods))}})

    def _table(self, pods: Sequence[Object]) -> Object:
        ordered = sorted(pods, key=lambda pod: int(pod["metadata"]["annotations"]["hccl/rankIndex"]))
        servers, rank = [], 0
        for place, pod in enumerate(reversed(ordered) if self.crossed else ordered):
            devices = []
            for chip in range(chips_of(pod["spec"])):
                devices.append(
                    {"device_id": str(chip), "device_ip": f"192.0.2.{rank + 1}", "rank_id": str(rank)}
                )
                rank += 1
            address = f"198.51.100.{place + 1}"
            servers.append(
                {
                    "server_id": pod["metadata"]["uid"],
                    "host_ip": address,
                    "container_ip": address,
                    "device": devices,
                }
            )
        return {
            "status": "completed",
            "version": "1.0",
            "server_count": str(len(servers)),
            "server_list": servers,
        }
