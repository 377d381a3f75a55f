"""Rules on pools: what exists only there, which machines stand together, and what priorities and hang detection need."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from launcher.backends.modelarts.values import POOL_FLAVORS, flavor
from launcher.findings import Finding
from launcher.jobfile.spec_modelarts import ModelArtsOptions
from launcher.plan.model import ASCEND_DEVICES, Plan

SUPERNODE, SUPERNODE_CARDS = "atlas-a3", 16
HIGH = 3


def _whole_groups(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    size = options.affinity_group_size
    if options.affinity and size and plan.nodes % size:
        yield Finding(
            "MA025",
            "error",
            f"{plan.nodes} machines can't be split into groups of {size} that stand together",
            "modelarts.affinity_group_size",
            f"use a number of machines that is a multiple of {size}, or another size",
        )


def _volumes(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    if options.volumes and options.pool_id is None:
        yield Finding(
            "MA026",
            "error",
            "file systems can be mounted in a dedicated pool only",
            "modelarts.volumes",
            "name the pool in modelarts.pool_id, or read from OBS",
        )


def _part(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    part = options.part
    if part is None:
        return
    if options.pool_id is None or options.flavor is not None:
        why = "with modelarts.flavor" if options.flavor else "without modelarts.pool_id"
        message = f"a part of a machine can't be had {why}"
        yield Finding("MA034", "error", message, "modelarts.part", "name the pool, and no flavor")
    elif plan.device in ASCEND_DEVICES and part.cards != plan.devices_per_node:
        message = f"the part has {part.cards:g} cards, and the job wants {plan.devices_per_node} per machine"
        yield Finding(
            "MA034", "error", message, "modelarts.part.cards", "write the same number in both places"
        )


def _flavor(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    on_npu = plan.device in ASCEND_DEVICES
    if options.pool_id is not None and options.flavor is not None and not on_npu:
        yield Finding(
            "MA027",
            "error",
            "a dedicated pool of CPU machines takes no flavor",
            "modelarts.flavor",
            "leave it out",
        )
    if on_npu and flavor(plan, options) == POOL_FLAVORS[SUPERNODE_CARDS] and plan.device != SUPERNODE:
        yield Finding(
            "MA027",
            "error",
            f"machines with {SUPERNODE_CARDS} cards of one flavor exist only as Snt9b23 ({SUPERNODE}), not as {plan.device}",
            "resources.devices_per_node",
            f"use at most 8 devices per node, or resources.device: {SUPERNODE}",
        )


def _hang(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    if options.restarts.on_hang and plan.device not in ASCEND_DEVICES:
        yield Finding(
            "MA028",
            "error",
            "the platform notices a job that stands still only on machines with NPUs or GPUs",
            "modelarts.restarts.on_hang",
            "leave it out; watch.hang_after works on every machine",
        )


def _priority(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    if options.priority == HIGH:
        yield Finding(
            "MA029",
            "info",
            "priority 3 needs the permission setHighPriority, else the service refuses the job",
            "modelarts.priority",
            "ask an administrator for it, or use 1 or 2",
        )


def _node_affinity(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    if options.node_affinity is not None and options.pool_id is None:
        yield Finding(
            "MA035",
            "error",
            "machines can be chosen by their labels in a dedicated pool only",
            "modelarts.node_affinity",
            "name the pool in modelarts.pool_id, or leave it out",
        )


POOL_RULES: tuple[Callable[[Plan, ModelArtsOptions], Iterator[Finding]], ...] = (
    _whole_groups,
    _volumes,
    _flavor,
    _hang,
    _priority,
    _part,
    _node_affinity,
)
