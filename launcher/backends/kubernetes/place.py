"""Which node of the run a pod is: by the platform's rank table where there is one, since ranks must meet the table's devices.

The index that Volcano gives a pod within its task is another order: where the two differ, ranks would open the devices of another
machine and HCCL would wait for ever. So the table decides, and an annotation that contradicts it is an error before any rank starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.backends.variables import number_of
from launcher.errors import PlanError
from launcher.plan.model import Plan
from launcher.ranktable import RankTable, Server, wait

TABLE_S = 1800.0
"""The operator completes the table when all pods have an address, which may take a while after this one."""


@dataclass(frozen=True, slots=True)
class Pod:
    """What a pod knows of itself. `rank_index`: the annotation hccl/rankIndex. `index`: its number among the pods of the job, by the
    controller that made it. Each is None where nobody set it."""

    name: str
    uid: str
    ip: str
    host_ip: str
    rank_index: int | None
    index: int | None
    table: Path | None

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Pod:
        """Raises PlanError for a number that can't be read."""
        table = env.get("RANK_TABLE_FILE")
        return cls(
            name=env.get("POD_NAME", ""),
            uid=env.get("POD_UID", ""),
            ip=env.get("POD_IP", ""),
            host_ip=env.get("XDL_IP", ""),
            rank_index=number_of(env, "LAUNCHER_RANK_INDEX"),
            index=number_of(env, "VC_TASK_INDEX", "JOB_COMPLETION_INDEX", "MS_NODE_RANK", "RANK"),
            table=Path(table) if table else None,
        )


def node_of(pod: Pod, plan: Plan, on_wait: Callable[[str], None], *, timeout_s: float = TABLE_S) -> int:
    """The pod's node number. Blocks until the platform has completed its table. Raises PlanError."""
    if pod.table is not None:
        node = place_in(wait(pod.table, timeout_s, on_wait), pod)
        if pod.rank_index is not None and pod.rank_index != node:
            raise PlanError(
                f"the order of ranks is crossed: pod {pod.name} has the annotation hccl/rankIndex {pod.rank_index}, "
                f"and the rank table has it as machine {node}",
                where=str(pod.table),
                hint="HCCL would hang. Cancel the run and submit it again; only one of Volcano's plug-in hcclrank and the "
                "operator may number the pods",
            )
    else:
        node = next((each for each in (pod.rank_index, pod.index) if each is not None), 0)
    if node >= plan.nodes:
        raise PlanError(
            f"pod {pod.name} is machine {node}, the job has {plan.nodes}",
            hint="submit it again; nobody may change the number of pods of a job",
        )
    return node


def place_in(table: RankTable, pod: Pod) -> int:
    """The place of the pod's own entry, machines in the order of their ranks. Raises PlanError when there is none, or more than one."""
    servers = sorted(table.servers, key=lambda server: min(device.rank_id for device in server.devices))
    for mine in (_by_uid, _by_pod_ip, _by_host_ip):
        found = [place for place, server in enumerate(servers) if mine(server, pod)]
        if len(found) == 1:
            return found[0]
    named = ", ".join(server.server_id for server in servers[:8])
    raise PlanError(
        f"the rank table has no entry of its own for pod {pod.name} (uid {pod.uid}, address {pod.ip}, host {pod.host_ip})",
        where=table.source,
        hint=f"it names {named}; a table of an earlier start is rewritten by the platform: submit the run again",
    )


def _by_uid(server: Server, pod: Pod) -> bool:
    return bool(pod.uid) and server.server_id == pod.uid


def _by_pod_ip(server: Server, pod: Pod) -> bool:
    extra = {key: value.strip('"') for key, value in server.extra}
    return bool(pod.ip) and pod.ip in (extra.get("container_ip"), server.server_id)


def _by_host_ip(server: Server, pod: Pod) -> bool:
    """Good for one pod per machine only."""
    return bool(pod.host_ip) and pod.host_ip in (server.host_ip, server.server_id)
