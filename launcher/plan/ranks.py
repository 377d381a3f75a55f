"""The ranks of a job and the environment that each of them gets."""

from __future__ import annotations

from launcher.jobfile.spec import JobSpec
from launcher.jobfile.spec_profile import ProfileSpec
from launcher.plan.model import ASCEND_DEVICES, HCCL_CONNECT_TIMEOUT_S, Rank
from launcher.runfolder.paths import RunDir

TOPOLOGY_TIMEOUT_S = 600
COLLECTIVE_TIMEOUT_S = 1800
QUICK_HEARTBEATS = 256
"""Up to so many ranks send MindSpore's scheduler a heartbeat each second, by which they hear that all have come. Its default, one in 3
to 5 s, makes a start that much slower; with more ranks it spares the scheduler."""


def ranks_of(spec: JobSpec, run_dir: RunDir) -> tuple[Rank, ...]:
    """All ranks: `devices_per_node` on each node, numbered through."""
    per_node = spec.resources.devices_per_node
    return tuple(
        Rank(rank=r, node=r // per_node, local_rank=r % per_node, env=rank_env(spec, r, run_dir))
        for r in range(_world_size(spec))
    )


def common_env(spec: JobSpec, run_id: str, run_dir: RunDir) -> dict[str, str]:
    """Environment that all ranks share. The user's `env` overrides it."""
    env = {
        "LAUNCHER_RUN_DIR": run_dir.root.as_posix(),
        "LAUNCHER_RUN_ID": run_id,
        "RANK_SIZE": str(_world_size(spec)),
        "WORLD_SIZE": str(_world_size(spec)),
        "LOCAL_WORLD_SIZE": str(spec.resources.devices_per_node),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "{master_port}",
        "OMP_NUM_THREADS": "{threads}",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        "GLOG_v": "3",
    }
    env |= profile_env(spec.profile)
    if spec.resources.device in ASCEND_DEVICES:
        env |= {
            "RANK_TABLE_FILE": run_dir.rank_table.as_posix(),
            "HCCL_CONNECT_TIMEOUT": str(HCCL_CONNECT_TIMEOUT_S),
            "JOB_ID": run_id,
        }
    elif _has_scheduler(spec):
        env |= {
            "MS_WORKER_NUM": env["RANK_SIZE"],
            "MS_SCHED_HOST": "127.0.0.1",
            "MS_SCHED_PORT": "{sched_port}",
            "MS_TOPO_TIMEOUT": str(TOPOLOGY_TIMEOUT_S),
            "MS_NODE_TIMEOUT": str(COLLECTIVE_TIMEOUT_S),
            "MS_CPU_COMM_OP_TIMEOUT": str(COLLECTIVE_TIMEOUT_S),
        }
        if _world_size(spec) <= QUICK_HEARTBEATS:
            env |= {"MS_RETRY_INTERVAL_LOWER": "1", "MS_RETRY_INTERVAL_UPPER": "1"}
    return env | dict(spec.env)


def rank_env(spec: JobSpec, rank: int, run_dir: RunDir) -> dict[str, str]:
    """Environment of one rank. DEVICE_ID is the logical index on its machine, never the physical id of the rank table."""
    local_rank = str(rank % spec.resources.devices_per_node)
    node = str(rank // spec.resources.devices_per_node)
    env = {"RANK_ID": str(rank), "DEVICE_ID": local_rank}
    env |= {"RANK": str(rank), "LOCAL_RANK": local_rank, "NODE_RANK": node, "GROUP_RANK": node}
    if spec.resources.device in ASCEND_DEVICES:
        env |= {
            "ASCEND_DEVICE_ID": local_rank,
            "ASCEND_PROCESS_LOG_PATH": f"{run_dir.root.as_posix()}/ascend/rank-{rank}",
        }
    elif _has_scheduler(spec):
        env |= {"MS_ROLE": "MS_WORKER", "MS_NODE_ID": str(rank)}
    return env


def profile_env(profile: ProfileSpec) -> dict[str, str]:
    """How every rank hears which steps of which ranks are profiled."""
    if profile.steps is None:
        return {}
    return {
        "LAUNCHER_PROFILE_STEPS": profile.steps,
        "LAUNCHER_PROFILE_RANKS": ",".join(map(str, profile.ranks)),
    }


def _has_scheduler(spec: JobSpec) -> bool:
    """Whether ranks meet through MindSpore's scheduler, which is one more process of the program."""
    return (
        _world_size(spec) > 1
        and spec.per == "rank"
        and (spec.program is None or spec.requires is None or "mindspore" in spec.requires)
    )


def _world_size(spec: JobSpec) -> int:
    return spec.resources.nodes * spec.resources.devices_per_node
