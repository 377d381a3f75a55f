"""A platform that starts one process per card: the node program acts as that one rank, and never starts N × N.

Some images of a platform run the boot file once per card with RANK_ID, RANK_SIZE, ASCEND_DEVICE_ID and RANK_TABLE_FILE
set. Every such process then counts as a machine of its own with one device, so everything else stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from launcher.errors import PlanError
from launcher.plan.model import ASCEND_DEVICES, Plan


def preset_rank(plan: Plan, env: Mapping[str, str]) -> int | None:
    """The rank that the platform has given this process; None where the platform starts one process per machine. Raises PlanError."""
    if plan.device not in ASCEND_DEVICES or not ("RANK_ID" in env and "ASCEND_DEVICE_ID" in env):
        return None
    if any(step.ranks == "nodes" for step in plan.steps):
        raise PlanError(
            "the platform starts one process per device, and per: node asks for one per machine",
            hint="leave per: out, and name the training script itself in program:",
        )
    values = {}
    for key in ("RANK_ID", "ASCEND_DEVICE_ID", "RANK_SIZE"):
        text = env.get(key, str(plan.world_size))
        if not text.isdecimal():
            raise PlanError(f"the platform set {key}={text!r}, which is no number")
        values[key] = int(text)
    if values["RANK_SIZE"] != plan.world_size or values["RANK_ID"] >= plan.world_size:
        raise PlanError(
            f"the platform started rank {values['RANK_ID']} of {values['RANK_SIZE']}, the job has {plan.world_size} ranks",
            hint="make resources.nodes and devices_per_node those of the platform's job",
        )
    return values["RANK_ID"]


def as_one_rank(plan: Plan, rank: int, device_id: str) -> Plan:
    """The plan of this process: as many machines as ranks, one device each. `device_id` is the platform's logical id."""
    ranks = []
    for each in plan.ranks:
        device = device_id if each.rank == rank else each.env.get("DEVICE_ID", "0")
        env = {**each.env, "DEVICE_ID": device, "ASCEND_DEVICE_ID": device}
        ranks.append(each.model_copy(update={"node": each.rank, "local_rank": 0, "env": env}))
    return plan.model_copy(update={"nodes": plan.world_size, "devices_per_node": 1, "ranks": tuple(ranks)})
