"""Makes the processes of this machine from a step of the plan: placeholders, cores, devices, scheduler."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.node.devices import RunDevices
from launcher.node.messages import StartOrder
from launcher.node.platformset import PlatformSet, platform_set
from launcher.plan.model import ASCEND_DEVICES, HCCL_CONNECT_TIMEOUT_S, NPU_DEVICES, Plan, Rank, Step
from launcher.plan.script import search_path
from launcher.ranks.cores import nearest, numa_nodes, share_cores, usable_cores
from launcher.ranks.gang import Process
from launcher.ranks.orphans import MARK
from launcher.ranks.plog import VARIABLE
from launcher.threads import environment
from vitmodels.secrets import opens_store

CLUSTER_PORTS = range(20000, 32000)
"""Below the ephemeral range, where any outgoing connection may use a port."""
_CLUSTER_KEYS = (
    "MS_ROLE",
    "MS_NODE_ID",
    "MS_WORKER_NUM",
    "MS_SCHED_HOST",
    "MS_SCHED_PORT",
    "RANK_TABLE_FILE",
)
_TORCH_KEYS = (
    "MASTER_ADDR",
    "MASTER_PORT",
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "NODE_RANK",
    "GROUP_RANK",
)
_TORCH_AGENT = ("TORCHELASTIC_", "PET_")
"""Variables of torch's own launcher: with them ranks would look for its store, or it would be told other numbers."""


@dataclass(frozen=True, slots=True)
class _Start:
    """What all processes of one start of a step on one machine have in common."""

    plan: Plan
    step: Step
    attempt: int
    devices: RunDevices
    order: StartOrder
    placeholders: Mapping[str, str]
    resume: Mapping[int, str]
    theirs: PlatformSet


def gang_processes(
    plan: Plan,
    step: Step,
    node: int,
    attempt: int,
    data_dir: Path,
    devices: RunDevices,
    order: StartOrder,
    resume: Mapping[int, str],
) -> list[Process]:
    """The processes of one step on one machine. The scheduler of MindSpore's dynamic cluster comes first, on node 0 only.

    `resume`: the checkpoint that each rank of a user's own program starts from, by rank; empty for none.
    """
    ranks = _started_ranks(plan, step, node)
    slices = share_cores(usable_cores(), max(1, len(ranks)), numa_nodes())
    slices = nearest(slices, [devices.numa_nodes.get(device, -1) for device in devices.ids])
    threads = len(slices[0]) or max(1, len(usable_cores()) // max(1, len(ranks)))
    placeholders = {
        "{data}": str(data_dir),
        "{sched_port}": str(order.scheduler_port),
        "{master_port}": str(order.master_port),
        "{threads}": str(threads),
    }
    if step.ranks == "nodes":
        placeholders |= {
            "{nodes}": str(plan.nodes),
            "{node}": str(node),
            "{ranks}": str(plan.world_size),
            "{ranks_per_node}": str(plan.devices_per_node),
            "{master_addr}": order.scheduler_host,
            "{rank_table}": str(plan.run_dir.rank_table) if plan.device in ASCEND_DEVICES else "",
        }
    theirs = platform_set(plan, node, os.environ)
    start = _Start(plan, step, attempt, devices, order, placeholders, resume, theirs)
    processes = [_rank_process(start, rank, slices[i]) for i, rank in enumerate(ranks)]
    if node == 0 and theirs.scheduler and any(p.env.get("MS_ROLE") == "MS_WORKER" for p in processes):
        processes.insert(0, _scheduler(plan, processes[0], attempt))
    return processes


def _started_ranks(plan: Plan, step: Step, node: int) -> tuple[Rank, ...]:
    """The ranks that a process is started for. One process per machine runs under the name of the machine's first rank."""
    if step.ranks == "first":
        return plan.ranks[:1] if node == 0 else ()
    ranks = plan.ranks_of(node)
    return ranks[:1] if step.ranks == "nodes" else ranks


def _rank_process(start: _Start, rank: Rank, cores: tuple[int, ...]) -> Process:
    plan, resume = start.plan, start.resume.get(rank.rank, "")
    placeholders = {**start.placeholders, "{resume}": resume}
    if plan.own_program:
        placeholders |= {"{run_dir}": str(plan.run_dir.root), "{rank}": str(rank.rank)}
    words = (*start.step.argv, *(start.step.resume_args if resume else ()))
    env = {key: _fill(value, placeholders) for key, value in {**plan.env, **rank.env}.items()}
    env["LAUNCHER_ATTEMPT"] = str(start.attempt)
    if plan.own_program:
        env |= {"LAUNCHER_RESUME": resume, "LAUNCHER_DATA": start.placeholders["{data}"] if plan.data else ""}
    env = _with_compile_cache(plan, rank, env)
    if VARIABLE in rank.env:  # the user's own folder is read where it is, ours is new for each attempt
        default = str(Path(rank.env[VARIABLE]) / f"attempt-{start.attempt}")
        env[VARIABLE] = plan.env.get(VARIABLE) or os.environ.get(VARIABLE) or default
    if "MS_SCHED_HOST" in env:
        env["MS_SCHED_HOST"] = start.order.scheduler_host
    if "MASTER_ADDR" in env:
        env["MASTER_ADDR"] = start.order.scheduler_host
    if plan.device in NPU_DEVICES:
        env |= _ascend_env(start.devices, env)
    env = _with_platform_set(start.theirs, rank, env)
    if start.step.ranks == "first":
        env |= {"RANK_SIZE": "1", "RANK_ID": "0"}
        env |= {key: "1" for key in ("WORLD_SIZE", "LOCAL_WORLD_SIZE") if key in env}
        for key in _CLUSTER_KEYS:
            env.pop(key, None)
    if start.step.ranks == "nodes":
        env = _node_env(plan, rank, env)
    here = inherited(plan.env_from)
    env.setdefault("PATH", search_path(plan.python, here.get("PATH", os.defpath)))
    return Process(
        name=f"rank {rank.rank}",
        rank=rank.rank,
        argv=tuple(_fill(word, placeholders) for word in words),
        env={**here, **env},
        cwd=plan.run_dir.work / f"rank-{rank.rank}",
        log=plan.run_dir.rank_log(start.attempt, rank.node, rank.rank),
        cores=cores,
        fds=start.devices.lock_fds,
    )


def _with_compile_cache(plan: Plan, rank: Rank, env: Mapping[str, str]) -> dict[str, str]:
    """Programs of vitmodels on CPU keep compiled graphs in the user's cache, by all that a graph depends on: restarts and later
    runs take them. MindSpore's own cache is not safe, so other programs get a folder for each rank of a run, and no switch."""
    if plan.own_program or plan.device != "cpu":
        own = str(plan.run_dir.root / "compile-cache" / f"rank-{rank.rank}")
        return {"MS_COMPILER_CACHE_PATH": own, **env}
    return {"MS_COMPILER_CACHE_ENABLE": os.environ.get("MS_COMPILER_CACHE_ENABLE", "1"), **env}


def _with_platform_set(theirs: PlatformSet, rank: Rank, env: Mapping[str, str]) -> dict[str, str]:
    """The platform's cluster in place of ours. Beside MindSpore's own one a rank table would be a second."""
    if "MS_SCHED_HOST" not in theirs.env:
        return {**env, **theirs.env}
    rest = {key: value for key, value in env.items() if key != "RANK_TABLE_FILE"}
    return {**rest, **theirs.env, "MS_ROLE": "MS_WORKER", "MS_NODE_ID": str(rank.rank)}


def _node_env(plan: Plan, first: Rank, env: Mapping[str, str]) -> dict[str, str]:
    """Environment of a program that starts the ranks of its machine itself, and tells each who it is.

    The PET_ variables are the defaults of torchrun's options. The rank table is handed over as `{rank_table}` only: beside the
    cluster that msrun forms it would be a second one.
    """
    of_a_rank = ("RANK_ID", "DEVICE_ID", "ASCEND_DEVICE_ID", "RANK", "LOCAL_RANK", "RANK_TABLE_FILE")
    return {
        **{key: value for key, value in env.items() if key not in of_a_rank},
        "PET_NNODES": str(plan.nodes),
        "PET_NODE_RANK": str(first.node),
        "PET_NPROC_PER_NODE": str(plan.devices_per_node),
        "PET_MASTER_ADDR": env["MASTER_ADDR"],
        "PET_MASTER_PORT": env["MASTER_PORT"],
    }


def _ascend_env(devices: RunDevices, env: Mapping[str, str]) -> dict[str, str]:
    """Which devices a rank sees (DEVICE_ID counts them, from 0), and this machine's own timeout in place of our default."""
    variables = {}
    if devices.logical_ids is not None:
        visible = [str(devices.logical_ids.get(device, device)) for device in devices.ids]
        variables["ASCEND_RT_VISIBLE_DEVICES"] = ",".join(visible)
    is_default = env.get("HCCL_CONNECT_TIMEOUT") == str(HCCL_CONNECT_TIMEOUT_S)
    if is_default and (set_here := os.environ.get("HCCL_CONNECT_TIMEOUT")):
        variables["HCCL_CONNECT_TIMEOUT"] = set_here
    return variables


def _scheduler(plan: Plan, first: Process, attempt: int) -> Process:
    """One more process of the same program; it joins the cluster as its scheduler and computes nothing."""
    of_a_rank = ("RANK_ID", "MS_NODE_ID", "DEVICE_ID", *_TORCH_KEYS)
    env = {key: value for key, value in first.env.items() if key not in of_a_rank}
    return Process(
        name="scheduler",
        rank=None,
        argv=first.argv,
        env={**env, "MS_ROLE": "MS_SCHED"},
        cwd=plan.run_dir.work / "scheduler",
        log=plan.run_dir.logs(attempt, 0) / "scheduler.log",
    )


def inherited(env_from: Sequence[str]) -> dict[str, str]:
    """The node program's own environment, without the variables of another cluster or another gang, and without credentials of
    stores and clouds: of these only what `env_from` names."""
    foreign = (*_CLUSTER_KEYS, *_TORCH_KEYS, "RANK_ID", "RANK_SIZE", "DEVICE_ID", "ASCEND_DEVICE_ID", MARK)
    return {
        key: value
        for key, value in environment().items()
        if key not in foreign
        and not key.startswith(_TORCH_AGENT)
        and (key in env_from or not opens_store(key))
    }


def _fill(text: str, values: Mapping[str, str]) -> str:
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text


def free_port(other_than: int = 0) -> int:
    """A TCP port that was free on this machine a moment ago."""
    for port in random.sample(CLUSTER_PORTS, 50):
        if port == other_than:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
