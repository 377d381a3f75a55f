"""From a step of the plan to the processes of this machine: placeholders filled in, cores shared out, scheduler added."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher.devices.inventory import DeviceInfo
from launcher.devices.locks import HeldDevices
from launcher.errors import PlanError
from launcher.node.messages import StartOrder
from launcher.plan.model import ASCEND_DEVICES, HCCL_CONNECT_TIMEOUT_S, Plan, Rank, Step
from launcher.ranks.cores import nearest, numa_nodes, share_cores, usable_cores
from launcher.ranks.gang import Process
from launcher.ranks.orphans import MARK

CLUSTER_PORTS = range(
    20000, 32000
)  # below the ephemeral range, where any outgoing connection may sit on a port
_CLUSTER_KEYS = (
    "MS_ROLE",
    "MS_NODE_ID",
    "MS_WORKER_NUM",
    "MS_SCHED_HOST",
    "MS_SCHED_PORT",
    "RANK_TABLE_FILE",
)


def device_choices(device: str, count: int, available: Sequence[int]) -> list[tuple[int, ...]]:
    """Sets of `count` devices a run may take, in order of preference: aligned windows, so that 910 groups stay whole.

    CPU slots are only a way to queue: a machine with fewer cores than ranks still runs them.

    >>> device_choices("ascend910", 4, range(8))
    [(0, 1, 2, 3), (4, 5, 6, 7)]
    """
    if device == "cpu" and count > len(available):
        return [tuple(range(count))]
    ids = sorted(available)
    windows = [tuple(ids[i : i + count]) for i in range(0, len(ids) - count + 1, count)]
    return [window for window in windows if window[-1] - window[0] == count - 1] or windows


def visible_devices(devices: Sequence[DeviceInfo], env: Mapping[str, str] = os.environ) -> list[DeviceInfo]:
    """The devices a run may take: all, or those that ASCEND_RT_VISIBLE_DEVICES names, which are logical ids.

    A platform or a person that restricted the node program meant its ranks. Raises PlanError for ids that are not here.
    """
    named = env.get("ASCEND_RT_VISIBLE_DEVICES", "").replace(" ", "")
    if not named:
        return list(devices)
    by_logical = {device.logical_id: device for device in devices}
    wanted = [int(part) if part.isdecimal() else -1 for part in named.split(",")]
    missing = [k for k in wanted if k not in by_logical]
    if missing:
        here = ", ".join(map(str, sorted(by_logical))) or "none"
        raise PlanError(
            f"ASCEND_RT_VISIBLE_DEVICES={named}, but the logical ids here are {here}",
            hint="unset it, or name devices of this machine",
        )
    return [by_logical[k] for k in wanted]


def gang_processes(
    plan: Plan,
    step: Step,
    node: int,
    attempt: int,
    data_dir: Path,
    devices: HeldDevices,
    *,
    order: StartOrder,
    logical: Mapping[int, int] | None = None,
    near: Mapping[int, int] | None = None,
) -> list[Process]:
    """The processes of one step on one machine. The scheduler of MindSpore's dynamic cluster comes first, on node 0 only.

    `logical` maps the physical ids of the devices, which locks and rank tables use, to the logical ids that
    ASCEND_RT_VISIBLE_DEVICES takes. DEVICE_ID counts what that variable leaves visible, from 0. None: the platform
    has set all of that. `near` maps physical ids to the NUMA nodes that the devices are connected to.
    """
    ranks = plan.ranks_of(node) if step.ranks == "all" else plan.ranks[:1] if node == 0 else ()
    slices = share_cores(usable_cores(), max(1, len(ranks)), numa_nodes())
    slices = nearest(slices, [(near or {}).get(device, -1) for device in devices.ids])
    threads = len(slices[0]) or max(1, len(usable_cores()) // max(1, len(ranks)))
    fill = {"{data}": str(data_dir), "{sched_port}": str(order.scheduler_port), "{threads}": str(threads)}
    shown = [str(logical.get(k, k)) for k in devices.ids] if logical is not None else []
    processes = [
        _rank_process(plan, step, rank, attempt, fill, slices[i], devices, order, shown)
        for i, rank in enumerate(ranks)
    ]
    if node == 0 and any(p.env.get("MS_ROLE") == "MS_WORKER" for p in processes):
        processes.insert(0, _scheduler(plan, processes[0], attempt))
    return processes


def _rank_process(
    plan: Plan,
    step: Step,
    rank: Rank,
    attempt: int,
    fill: Mapping[str, str],
    cores: tuple[int, ...],
    devices: HeldDevices,
    order: StartOrder,
    visible: Sequence[str],
) -> Process:
    env = {key: _fill(value, fill) for key, value in {**plan.env, **rank.env}.items()}
    env["LAUNCHER_ATTEMPT"] = str(attempt)
    env.setdefault("MS_COMPILER_CACHE_PATH", str(plan.run_dir.root / "compile-cache" / f"rank-{rank.rank}"))
    if "MS_SCHED_HOST" in env:
        env["MS_SCHED_HOST"] = order.scheduler_host
    if plan.device in ASCEND_DEVICES:
        if visible:
            env["ASCEND_RT_VISIBLE_DEVICES"] = ",".join(visible)
        ours = env.get("HCCL_CONNECT_TIMEOUT") == str(HCCL_CONNECT_TIMEOUT_S)
        if ours and (set_here := os.environ.get("HCCL_CONNECT_TIMEOUT")):
            env["HCCL_CONNECT_TIMEOUT"] = set_here
    if step.ranks == "first":
        env |= {"RANK_SIZE": "1", "RANK_ID": "0"}
        for key in _CLUSTER_KEYS:
            env.pop(key, None)
    return Process(
        name=f"rank {rank.rank}",
        rank=rank.rank,
        argv=tuple(_fill(word, fill) for word in step.argv),
        env={**_inherited(), **env},
        cwd=plan.run_dir.work / f"rank-{rank.rank}",
        log=plan.run_dir.rank_log(attempt, rank.node, rank.rank),
        cores=cores,
        fds=devices.fds,
    )


def _scheduler(plan: Plan, first: Process, attempt: int) -> Process:
    """One more process of the same program; it joins the cluster as its scheduler and computes nothing."""
    env = {
        key: value for key, value in first.env.items() if key not in ("RANK_ID", "MS_NODE_ID", "DEVICE_ID")
    }
    return Process(
        name="scheduler",
        rank=None,
        argv=first.argv,
        env={**env, "MS_ROLE": "MS_SCHED"},
        cwd=plan.run_dir.work / "scheduler",
        log=plan.run_dir.logs(attempt, 0) / "scheduler.log",
    )


def _inherited() -> dict[str, str]:
    """The node program's own environment without what would tie ranks to another cluster or another gang."""
    foreign = (*_CLUSTER_KEYS, "RANK_ID", "RANK_SIZE", "DEVICE_ID", "ASCEND_DEVICE_ID", MARK)
    return {key: value for key, value in os.environ.items() if key not in foreign}


def _fill(text: str, values: Mapping[str, str]) -> str:
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text


def free_port() -> int:
    """A TCP port that was free on this machine a moment ago."""
    for port in random.sample(CLUSTER_PORTS, 50):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
