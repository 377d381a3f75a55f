"""From a step of the plan to the processes of this machine: placeholders filled in, cores shared out, scheduler added."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher.devices_locks import HeldDevices
from launcher.plan import ASCEND_DEVICES, Plan, Rank, Step
from launcher.run import Process, share_cores, usable_cores

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


def gang_processes(
    plan: Plan, step: Step, node: int, attempt: int, data_dir: Path, devices: HeldDevices
) -> list[Process]:
    """The processes of one step on one machine. The scheduler of MindSpore's dynamic cluster comes first, on node 0 only."""
    ranks = plan.ranks_of(node) if step.ranks == "all" else plan.ranks[:1] if node == 0 else ()
    cores = usable_cores()
    fill = {
        "{data}": str(data_dir),
        "{sched_port}": str(free_port()),
        "{threads}": str(max(1, len(cores) // max(1, len(ranks)))),
    }
    slices = share_cores(cores, max(1, len(ranks)))
    processes = [
        _rank_process(plan, step, rank, attempt, fill, slices[i], devices) for i, rank in enumerate(ranks)
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
) -> Process:
    env = {key: _fill(value, fill) for key, value in {**plan.env, **rank.env}.items()}
    env["LAUNCHER_ATTEMPT"] = str(attempt)
    if plan.device in ASCEND_DEVICES:
        env["ASCEND_RT_VISIBLE_DEVICES"] = ",".join(map(str, devices.ids))
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
    """The node program's own environment without what would tie ranks to another cluster."""
    foreign = (*_CLUSTER_KEYS, "RANK_ID", "RANK_SIZE", "DEVICE_ID")
    return {key: value for key, value in os.environ.items() if key not in foreign}


def _fill(text: str, values: Mapping[str, str]) -> str:
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text


def free_port() -> int:
    """A TCP port that was free on loopback a moment ago."""
    for port in random.sample(CLUSTER_PORTS, 50):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
