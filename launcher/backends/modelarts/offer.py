"""What a project offers before anything is paid for: pools, kinds of machine, engines, images, quota, authorisation.

Field names are those of the SDK's classes (huaweicloudsdkmodelarts 3.1.219). Nothing here changes anything at the service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.backends.modelarts.wire import as_map, as_number, dicts

FROZEN = 8 | 16
"""Bits of a pool's control mode: frozen, and frozen by the authorities."""
MOST_WAITING = 500
MOST_NODES = 500
"""The most machines of a pool that one question returns."""
_CARDS = ("huawei.com/", "nvidia.com/")
"""The most jobs that one question on a pool's queue returns."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A dedicated pool. `machines`: how many of them work, by kind; `flavors`: kinds that jobs may name, empty for any."""

    phase: str
    message: str
    trains: bool
    control: int
    machines: Mapping[str, int]
    flavors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flavor:
    """A kind of machine. `most`: machines of one job, 0 where the service does not say. `billing`: code and units per machine."""

    id: str
    kind: str
    most: int
    cards: int
    billing: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is registered with ModelArts."""

    path: str
    tag: str
    status: str
    arch: str


class Offer:
    """Questions on a project; `ask` sends them, as Wire.ask does. Every method raises BackendError."""

    def __init__(self, ask: Callable[..., dict[str, Any]]) -> None:
        self._ask = ask

    def pool(self, pool_id: str) -> Pool:
        """Raises ServiceError with the service's code for a pool that is not there."""
        answer = self._ask("show_pool", "ShowPoolRequest", ("status", "metadata"), pool_name=pool_id)
        spec, status = as_map(answer.get("spec")), as_map(answer.get("status"))
        scopes = {str(each.get("scopeType")): each.get("state") for each in dicts(status.get("scope"))}
        available = as_map(status.get("resources")).get("available")
        counts = dicts(available) or dicts([available])
        return Pool(
            phase=str(status.get("phase") or ""),
            message=str(status.get("message") or ""),
            trains=scopes.get("Train", "Enabled") == "Enabled",
            control=int(as_number(spec.get("controlMode")) or 0),
            machines={str(each.get("flavor")): int(as_number(each.get("count")) or 0) for each in counts},
            flavors=tuple(str(name) for name in spec.get("jobFlavors") or ()),
        )

    def waiting(self, pool_id: str) -> int:
        """How many training jobs wait in a pool's queue; at most `MOST_WAITING` are counted."""
        answer = self._ask(
            "list_workloads",
            "ListWorkloadsRequest",
            pool_name=pool_id,
            type="train",
            status="Queue",
            limit=MOST_WAITING,
        )
        return len(dicts(answer.get("items")))

    def free_cards(self, pool_id: str) -> Sequence[int]:
        """Cards that are free on each machine of a pool that works. Empty where the service does not tell them.

        Of a pool with more than `MOST_NODES` machines only so many are asked for.
        """
        answer = self._ask(
            "list_pool_nodes", "ListPoolNodesRequest", ("items",), pool_name=pool_id, limit=MOST_NODES
        )
        states = [as_map(each.get("status")) for each in dicts(answer.get("items"))]
        free = [as_map(s.get("availableResources")) for s in states if s.get("phase") == "Available"]
        counts = [[as_number(n) for key, n in each.items() if key.startswith(_CARDS)] for each in free]
        return [int(sum(filter(None, cards))) for cards in counts if cards]

    def flavors(self) -> Sequence[Flavor]:
        """Kinds of machine of the public pool."""
        answer = self._ask("show_training_job_flavors", "ShowTrainingJobFlavorsRequest", ("flavors",))
        return [_flavor(each) for each in dicts(answer.get("flavors"))]

    def engines(self) -> Sequence[str]:
        """Preset engines, as `name:version`."""
        answer = self._ask("show_training_job_engines", "ShowTrainingJobEnginesRequest", ("items",))
        return [
            f"{each.get('engine_name')}:{each.get('engine_version')}" for each in dicts(answer.get("items"))
        ]

    def images(self, organisation: str, name: str) -> Sequence[Image]:
        """Images of the project's own that are registered under this name, with all tags."""
        answer = self._ask(
            "list_image",
            "ListImageRequest",
            ("data",),
            namespace=organisation,
            name=name,
            name_fuzzy_match=False,
            type="DEDICATED",
        )
        return [
            Image(
                str(i.get("swr_path") or ""),
                str(i.get("tag") or ""),
                str(i.get("status") or ""),
                str(i.get("arch") or ""),
            )
            for i in dicts(answer.get("data"))
        ]

    def job_quota(self) -> tuple[int, int] | None:
        """Training jobs that the project has and may have; None where the service sets no limit."""
        answer = self._ask(
            "show_training_quotas", "ShowTrainingQuotasRequest", ("quotas",), resource="job-num"
        )
        for each in dicts(answer.get("quotas")):
            used, most = as_number(each.get("used")), as_number(each.get("quota"))
            if used is not None and most is not None and most >= 0:
                return int(used), int(most)
        return None

    def authorised(self) -> bool:
        """Whether anybody of the project has let ModelArts use other services (an agency, or keys)."""
        answer = self._ask("get_authorizations", "GetAuthorizationsRequest", ("auth", "total_count"))
        return bool(dicts(answer.get("auth")))


def _flavor(value: Mapping[str, Any]) -> Flavor:
    info, billing = as_map(value.get("flavor_info")), as_map(value.get("billing"))
    code = str(billing.get("code") or "")
    return Flavor(
        id=str(value.get("flavor_id") or ""),
        kind=str(value.get("flavor_type") or ""),
        most=int(as_number(value.get("max_num")) or as_number(info.get("max_num")) or 0),
        cards=int(as_number(as_map(info.get("npu")).get("unit_num")) or 0),
        billing=f"{code} × {billing.get('unit_num') or 1}" if code else "",
    )
