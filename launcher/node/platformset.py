"""The cluster that a platform has formed for the ranks: a whole set of MindSpore's or torch's variables in our environment.

The operator of AscendJobs and `msrun` set such variables. A set that is whole and fits the job takes the place of ours, so
that ranks meet where the platform expects them. One that does not fit is refused: a mixture of two would hang. A set that is not
whole is what an earlier program left behind; it does not reach the ranks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from launcher.errors import PlanError
from launcher.plan.model import Plan

_MINDSPORE = ("MS_SCHED_HOST", "MS_SCHED_PORT", "MS_WORKER_NUM", "MS_ROLE")
_MINDSPORE_PLACE = ("MS_NODE_RANK", "MS_NODE_ID")
_TORCH = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK")


@dataclass(frozen=True, slots=True)
class PlatformSet:
    """What ranks get in place of ours. `scheduler`: ours is to run here; with a set of the platform only where it says so."""

    env: Mapping[str, str] = field(default_factory=dict)
    scheduler: bool = True


def platform_set(plan: Plan, node: int, env: Mapping[str, str]) -> PlatformSet:
    """The sets of the platform for the ranks of this machine. Raises PlanError that shows both sets when they differ."""
    forms_own = not plan.own_program or plan.steps[0].ranks != "all" or plan.world_size == 1
    if forms_own or {"RANK_ID", "ASCEND_DEVICE_ID"} <= env.keys():  # the latter: see `preset`
        return PlatformSet()
    torch = _torch_set(plan, node, env)
    mindspore = _mindspore_set(plan, node, env)
    if not mindspore:
        return PlatformSet(torch)
    return PlatformSet({**torch, **mindspore}, scheduler=env["MS_ROLE"] == "MS_SCHED")


def words_on(found: PlatformSet, env: Mapping[str, str]) -> str:
    """Which cluster the ranks form, for the log; empty where the platform has set none."""
    if found.env:
        where = " ".join(f"{name}={value}" for name, value in found.env.items())
        scheduler = "its scheduler runs here" if found.scheduler else "its scheduler runs elsewhere"
        return f"adopted the cluster that the platform has formed: {where}" + (
            f"; {scheduler}" if "MS_SCHED_HOST" in found.env else ""
        )
    theirs = [name for name in (*_MINDSPORE, *_MINDSPORE_PLACE, *_TORCH) if env.get(name)]
    if not theirs:
        return ""
    return f"overridden: {', '.join(theirs)} of the platform; launcher forms the cluster of this run itself"


def _mindspore_set(plan: Plan, node: int, env: Mapping[str, str]) -> dict[str, str]:
    if not all(env.get(name) for name in _MINDSPORE) or not any(env.get(name) for name in _MINDSPORE_PLACE):
        return {}
    place = "MS_NODE_RANK" if env.get("MS_NODE_RANK") else "MS_NODE_ID"
    ours = {"MS_WORKER_NUM": str(plan.world_size), place: _place(plan, node, place == "MS_NODE_RANK")}
    if "MS_LOCAL_WORKER" in env:
        ours["MS_LOCAL_WORKER"] = str(plan.devices_per_node)
    _compare(env, ours, (*_MINDSPORE, place), plan, roles=("MS_WORKER", "MS_SCHED"))
    return {name: env[name] for name in ("MS_SCHED_HOST", "MS_SCHED_PORT", "MS_WORKER_NUM")}


def _torch_set(plan: Plan, node: int, env: Mapping[str, str]) -> dict[str, str]:
    if not all(env.get(name) for name in _TORCH):
        return {}
    ours = {"WORLD_SIZE": str(plan.world_size), "LOCAL_WORLD_SIZE": str(plan.devices_per_node)}
    ours["RANK"] = _place(plan, node, by_machine=True)
    _compare(env, ours, _TORCH, plan)
    return {name: env[name] for name in ("MASTER_ADDR", "MASTER_PORT")}


def _place(plan: Plan, node: int, by_machine: bool) -> str:
    """The number of this machine, or of its first rank."""
    return str(node if by_machine else plan.ranks_of(node)[0].rank)


def _compare(
    env: Mapping[str, str],
    ours: Mapping[str, str],
    names: tuple[str, ...],
    plan: Plan,
    roles: tuple[str, ...] = (),
) -> None:
    """Raises PlanError unless the platform's numbers are those of the job."""
    same = all(env.get(name) == value for name, value in ours.items())
    if same and (not roles or env["MS_ROLE"] in roles):
        return
    theirs = " ".join(f"{name}={env[name]}" for name in dict.fromkeys((*names, *ours)) if name in env)
    mine = " ".join(f"{name}={value}" for name, value in ours.items())
    raise PlanError(
        f"the platform has formed another cluster than the job asks for: it set {theirs}; the job would set {mine}",
        hint=f"make resources.nodes ({plan.nodes}) and devices_per_node ({plan.devices_per_node}) those of the platform, or unset its variables",
    )
