"""What the fake ModelArts offers: pools, kinds of machine, engines, images, quota, authorisation. Every answer fits the SDK's class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.modelarts_cloud import Cloud
from tests.fakes.modelarts_jobs import ENDED
from tests.fakes.modelarts_rules import FLAVORS, MOST_NODES
from tests.fakes.modelarts_wire import Refused, as_sdk

Answer = tuple[int, Any]
ENGINES = (
    "mindspore_2.7.1-cann_8.3.rc1-py_3.11-hce_2.0.2509-aarch64-snt9b",
    "mindspore_2.7.1-cann_8.3.rc1-py_3.11-hce_2.0.2509-aarch64-snt9b23",
)


@dataclass
class Offered:
    """What a test changes of a project. `images`: status by `organisation/name:tag`."""

    cloud: Cloud
    machines: int = 4
    control: int = 0
    trains: bool = True
    pool_flavors: tuple[str, ...] = ()
    authorised: bool = True
    images: dict[str, str] = field(default_factory=lambda: {"org/launcher:1": "ACTIVE"})

    def routes(self) -> list[tuple[str, str, str, Callable[..., Answer]]]:
        project = r"/v2/(?P<project>[^/]+)"
        pool = rf"{project}/pools/(?P<pool>[^/]+)"
        return [
            ("pool", "GET", pool, self._pool),
            ("workloads", "GET", f"{pool}/workloads", self._workloads),
            ("nodes", "GET", f"{pool}/nodes", self._nodes),
            ("flavors", "GET", f"{project}/training-job-flavors", self._flavors),
            ("engines", "GET", f"{project}/training-job-engines", self._engines),
            ("quotas", "GET", f"{project}/training-quotas", self._quotas),
            ("authorizations", "GET", f"{project}/authorizations", self._authorizations),
            ("images", "GET", r"/v1/(?P<project>[^/]+)/images", self._images),
        ]

    def _pool(self, body: Any, query: dict[str, str], pool: str, **_: str) -> Answer:
        pools = self.cloud.pools
        if pools is not None and pool not in pools:
            raise Refused(404, "ModelArts.2890", f"Pool ({pool}) does not exist")
        phase = pools[pool] if pools is not None else "Running"
        flavor = {"flavor": "modelarts.bm.npu.arm.8snt9b", "count": self.machines}
        return _fits(
            "ShowPoolResponse",
            {
                "apiVersion": "v2",
                "kind": "Pool",
                "metadata": {"name": pool},
                "spec": {
                    "type": "Dedicate",
                    "jobFlavors": list(self.pool_flavors),
                    "controlMode": self.control,
                },
                "status": {
                    "phase": phase,
                    "message": "" if phase == "Running" else "machines are being repaired",
                    "resources": {"available": flavor},
                    "scope": [{"scopeType": "Train", "state": "Enabled" if self.trains else "Disabled"}],
                },
            },
        )

    def _workloads(self, body: Any, query: dict[str, str], pool: str, **_: str) -> Answer:
        waiting = [job for job in self.cloud.jobs.values() if job.phase == "Pending"]
        items = [{"name": job.name, "status": "Queue", "type": "train"} for job in waiting]
        return _fits("ListWorkloadsResponse", {"apiVersion": "v1", "kind": "WorkloadList", "items": items})

    def _nodes(self, body: Any, query: dict[str, str], pool: str, **_: str) -> Answer:
        """The machines of the pool: all cards of one that runs a job are taken. The classes name no key for cards of today."""
        items = [
            {
                "metadata": {"name": f"node-{n}"},
                "status": {
                    "phase": "Available",
                    "privateIp": host.address,
                    "availableResources": {"huawei.com/ascend-snt9": "0" if host.job else "8"},
                },
            }
            for n, host in enumerate(self.cloud.hosts.all[: self.machines])
        ]
        return _fits("ListPoolNodesResponse", {"apiVersion": "v2", "kind": "NodeList", "items": items})

    def _flavors(self, body: Any, query: dict[str, str], **_: str) -> Answer:
        flavors = [_flavor(name, cards) for name, cards in FLAVORS.items()]
        return _fits("ShowTrainingJobFlavorsResponse", {"total_count": len(flavors), "flavors": flavors})

    def _engines(self, body: Any, query: dict[str, str], **_: str) -> Answer:
        items = [
            {"engine_id": version, "engine_name": "Ascend-Powered-Engine", "engine_version": version}
            for version in ENGINES
        ]
        return _fits("ShowTrainingJobEnginesResponse", {"total": len(items), "items": items})

    def _quotas(self, body: Any, query: dict[str, str], **_: str) -> Answer:
        used = sum(job.phase not in ENDED for job in self.cloud.jobs.values())
        quota = {"resource": "job-num", "quota": self.cloud.capacity, "used": used}
        return _fits("ShowTrainingQuotasResponse", {"quotas": [quota]})

    def _authorizations(self, body: Any, query: dict[str, str], **_: str) -> Answer:
        auth = [{"user_id": "user-1", "type": "agency", "content": "ma_agency"}] if self.authorised else []
        return _fits("GetAuthorizationsResponse", {"total_count": float(len(auth)), "auth": auth})

    def _images(self, body: Any, query: dict[str, str], **_: str) -> Answer:
        wanted = f"{query.get('namespace')}/{query.get('name')}:"
        data = [
            {
                "name": query["name"],
                "namespace": query["namespace"],
                "tag": key.removeprefix(wanted),
                "status": status,
            }
            for key, status in self.images.items()
            if key.startswith(wanted) and query.get("type") == "DEDICATED"
        ]
        return _fits("ListImageResponse", {"total": len(data), "data": data})


def _flavor(name: str, cards: int) -> dict[str, Any]:
    return {
        "flavor_id": name,
        "flavor_name": name,
        "flavor_type": "Ascend" if cards else "CPU",
        "max_num": MOST_NODES,
        "billing": {"code": name.removeprefix("modelarts."), "unit_num": 1},
        "flavor_info": {"npu": {"unit_num": str(cards), "product_name": "Ascend"}} if cards else {},
    }


def _fits(type_name: str, answer: dict[str, Any]) -> Answer:
    as_sdk(type_name, answer)
    return 200, answer
