"""Checks that ask the cluster: of a plan before it is submitted, and of the cluster itself for `launcher doctor`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from launcher.backends.slurm.query import NotInstalled, call
from launcher.backends.slurm.script import gres_of, options_of
from launcher.errors import BackendError
from launcher.findings import Finding
from launcher.installed import program_output
from launcher.plan.model import Plan
from launcher.units import show_bytes, show_duration


@dataclass(frozen=True, slots=True)
class Partition:
    """`limit_s` is None for a partition without a time limit; `default_s` is what a job without one gets, where that is less;
    `gres` is what the nodes have, by name and by name:type."""

    name: str
    default: bool
    up: bool
    nodes: int
    limit_s: int | None
    default_s: int | None
    cpus: int
    memory_mb: int
    gres: dict[str, int]


def partitions() -> list[Partition]:
    """Raises BackendError when Slurm is not installed or does not answer."""
    by_name: dict[str, Partition] = {}
    for line in call("sinfo", "-h", "-a", "-o", "%P|%a|%D|%l|%L|%c|%m|%G").splitlines():
        fields = line.split("|", 7)
        if len(fields) != 8:  # the name of the cluster, where there are several
            continue
        name, up, nodes, limit, default, cpus, memory, gres = fields
        one = Partition(
            name.rstrip("*"),
            name.endswith("*"),
            up == "up",
            _number(nodes),
            _seconds(limit),
            _seconds(default),
            _number(cpus),
            _number(memory),
            parse_gres(gres),
        )
        other = by_name.get(one.name)
        by_name[one.name] = _together(other, one) if other else one
    return list(by_name.values())


def parse_gres(text: str) -> dict[str, int]:
    """`npu:910b:8(S:0-1),gpu:2` as {"npu": 8, "npu:910b": 8, "gpu": 2}."""
    counts: dict[str, int] = {}
    for part in re.split(r",(?![^(]*\))", text):
        match = re.fullmatch(r"([^:()]+)(?::([^:()]+))?:(\d+)(?:\(.*\))?", part)
        if match:
            name, kind, count = match[1], match[2], int(match[3])
            counts[name] = counts.get(name, 0) + count
            if kind:
                counts[f"{name}:{kind}"] = count
    return counts


def _together(a: Partition, b: Partition) -> Partition:
    """Merge the lines of a partition with several kinds of nodes: the larger of each value counts."""
    gres = {name: max(a.gres.get(name, 0), b.gres.get(name, 0)) for name in {**a.gres, **b.gres}}
    return Partition(
        a.name,
        a.default,
        a.up,
        a.nodes + b.nodes,
        a.limit_s,
        a.default_s,
        max(a.cpus, b.cpus),
        max(a.memory_mb, b.memory_mb),
        gres,
    )


def _number(text: str) -> int:
    match = re.match(r"\d+", text)
    return int(match[0]) if match else 0


def _seconds(text: str) -> int | None:
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if not match:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def check_cluster(plan: Plan) -> list[Finding]:
    """Findings SL001 to SL009, and SL014."""
    try:
        known = partitions()
    except BackendError as error:
        return [_unreachable(error)]
    partition = options_of(plan).partition
    names_asked = None if partition is None else partition.split(",")
    chosen = [one for one in known if (one.default if names_asked is None else one.name in names_asked)]
    if not chosen:
        what = (
            "the cluster has no default partition"
            if names_asked is None
            else f"there is no partition '{partition}'"
        )
        names = ", ".join(one.name for one in known)
        return [Finding("SL003", "error", what, "slurm.partition", f"name one of {names}")]
    return [*_ignored_variables(plan), *([] if len(chosen) > 1 else _fits(plan, chosen[0]))]


def _unreachable(error: BackendError) -> Finding:
    message = f"{error.where}: {error.what}" if error.where else error.what
    if isinstance(error, NotInstalled):
        return Finding("SL001", "error", message, "resources.backend", error.hint, source="platform")
    fix = "try again; `scontrol ping` tells who is down"
    return Finding("SL002", "error", message, "resources.backend", fix, source="platform")


def _ignored_variables(plan: Plan) -> Iterator[Finding]:
    """SBATCH_ variables are not used: a request is the script alone, as other shells and `resume` submit it again."""
    for field in ("partition", "account", "qos", "constraint", "reservation"):
        name = f"SBATCH_{field.upper()}"
        if os.environ.get(name) and not getattr(options_of(plan), field, None):
            way_out = (
                f"set slurm.{field}" if field != "reservation" else "add --reservation=NAME to slurm.extra"
            )
            where = "slurm.extra" if field == "reservation" else f"slurm.{field}"
            message = f"{name}={os.environ[name]} of this shell is ignored"
            yield Finding("SL014", "warning", message, where, f"{way_out}, where the job needs it")


def _fits(plan: Plan, partition: Partition) -> Iterator[Finding]:
    if not partition.up:
        message = f"partition {partition.name} is down: the run would wait"
        yield Finding("SL004", "warning", message, "slurm.partition", "name another one")
    if plan.nodes > partition.nodes:
        yield Finding(
            "SL005",
            "error",
            f"the job asks for {plan.nodes} nodes, partition {partition.name} has {partition.nodes}: it would wait for ever",
            "resources.nodes",
            f"ask for at most {partition.nodes}, or name another partition",
        )
    yield from _time(plan, partition)
    yield from _gres(plan, partition)
    yield from _size(plan, partition)


def _time(plan: Plan, partition: Partition) -> Iterator[Finding]:
    options, limit_s = options_of(plan), partition.limit_s
    if options.time and limit_s and options.time > limit_s:
        yield Finding(
            "SL006",
            "error",
            f"{show_duration(options.time)} is above the limit of partition {partition.name}, {show_duration(limit_s)}",
            "slurm.time",
            "lower it: the run is queued again when its time is over, and goes on",
        )
    default_s = partition.default_s or limit_s
    if options.time is None and default_s and default_s <= options.stop_before:
        yield Finding(
            "SL007",
            "error",
            f"a job of partition {partition.name} that names no time gets {show_duration(default_s)}: the run would be stopped "
            f"as soon as it starts, {show_duration(options.stop_before)} before the end",
            "slurm.time",
            "set it, or lower slurm.stop_before to what a checkpoint and its upload need",
        )


def _gres(plan: Plan, partition: Partition) -> Iterator[Finding]:
    gres = options_of(plan).gres if gres_of(plan) else ""
    if gres and plan.devices_per_node > partition.gres.get(gres, 0):
        have = ", ".join(f"{key}:{count}" for key, count in sorted(partition.gres.items())) or "none"
        yield Finding(
            "SL008",
            "error",
            f"the job asks for {gres_of(plan)} on each node, a node of partition {partition.name} has {have}",
            "slurm.gres",
            "name it as the cluster does, or set it to '' for whole nodes",
        )


def _size(plan: Plan, partition: Partition) -> Iterator[Finding]:
    options = options_of(plan)
    cpus, memory, has_memory = options.cpus or 0, options.memory or 0, partition.memory_mb << 20
    too_much = []
    if cpus > partition.cpus:
        too_much.append(("slurm.cpus", f"{cpus} CPUs", f"{partition.cpus}"))
    if memory > has_memory:
        too_much.append(("slurm.memory", show_bytes(memory), show_bytes(has_memory)))
    for field, request, limit in too_much:
        yield Finding(
            "SL009",
            "error",
            f"{request} per node are asked for, a node of partition {partition.name} has {limit}",
            field,
            "ask for less, or name another partition",
        )


def doctor_checks() -> list[Finding]:
    """Whether this machine has Slurm's commands, and whether the controller answers."""
    version = program_output("sbatch", "--version")
    if not version:
        return [Finding("Slurm", "info", "no sbatch here")]
    try:
        return [Finding("Slurm", "ok", f"{version}; {describe_cluster()}")]
    except BackendError as error:
        fix = "`scontrol ping` tells who is down; SLURM_CONF names the cluster's configuration"
        message = f"{version}, but the controller does not answer: {error.what}"
        return [Finding("Slurm", "warning", message, fix=fix)]


def describe_cluster() -> str:
    """One line on the partitions. Raises BackendError."""
    return "; ".join(
        f"partition {one.name}{'' if one.up else ' (down)'}: {one.nodes} nodes"
        + "".join(f", {key}:{count}" for key, count in sorted(one.gres.items()) if ":" not in key)
        for one in partitions()
    )
