"""Why a job waits or has ended: Slurm's reasons as sentences for people."""

from __future__ import annotations

import re

TOO_LARGE = ("PartitionConfig", "PartitionNodeLimit")
NEVER = "will never start"

REASONS = {
    "Priority": "other jobs go first",
    "Resources": "waits for free nodes",
    "Dependency": "waits for the run that it follows",
    "DependencyNeverSatisfied": f"{NEVER}: the run that it was to follow did not succeed",
    "JobArrayTaskLimit": "waits for another run of its sweep to end (slurm.max_parallel)",
    "BeginTime": "is started again in a moment",
    "JobHeldUser": "is held; `scontrol release` lets it go",
    "JobHeldAdmin": "is held by an administrator",
    "JobHoldMaxRequeue": "is held: it was queued again too often; `scontrol release` lets it go",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is inactive",
    "PartitionTimeLimit": f"{NEVER}: its time is above the partition's limit",
    "BadConstraints": f"{NEVER}: no node fits what it asks for",
    "InvalidAccount": f"{NEVER}: the account is not valid",
    "InvalidQOS": f"{NEVER}: the quality of service is not valid",
    "AccountNotAllowed": f"{NEVER}: the partition does not take this account (slurm.account)",
    "QOSNotAllowed": f"{NEVER}: the partition or account does not take this quality of service (slurm.qos)",
    "MaxMemPerLimit": f"{NEVER}: it asks for more memory than the partition allows (slurm.memory)",
    "DeadLine": f"{NEVER}: it can't end before its deadline (slurm.extra)",
    "ReservationDeleted": f"{NEVER}: its reservation was deleted (slurm.extra)",
    "QOSTimeLimit": f"{NEVER}: its time is above what its quality of service allows (slurm.time)",
    "AssociationTimeLimit": f"{NEVER}: its time is above what its account allows (slurm.time)",
    "QOSUsageThreshold": "waits: its account has used more than its quality of service allows",
    "QOSJobLimit": "waits for other jobs of its quality of service to end",
    "QOSResourceLimit": "waits for other jobs of its quality of service to end",
    "AssociationJobLimit": "waits for other jobs of its account to end",
    "AssociationResourceLimit": "waits for other jobs of its account to end",
    "AccountingPolicy": "waits for a limit of its account or quality of service",
    "Reservation": "waits for its reservation",
    "ReqNodeNotAvail": "waits for a node that is not available",
    "ReqNodeNotAvail, Reserved for maintenance": "waits for nodes that are reserved for maintenance",
    "ReqNodeNotAvail, May be reserved for other job": "waits for nodes that may be kept for another job",
    "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions": (
        "waits: the nodes that fit are down, drained or kept for partitions that go first"
    ),
    "FrontEndDown": "waits: the front end of the cluster is down",
    "Cleaning": "waits for what is left of its last start to be cleaned up",
    "Prolog": "its node is being prepared",
    "launch failed requeued held": "could not be launched and is held; `scontrol release` tries again",
    "job requeued in held state": "was queued again and is held; `scontrol release` lets it go",
    "Licenses": "waits for a licence",
}
"""Why a job waits. A reason that is neither here nor a limit is shown in Slurm's words."""
ONLY_WAITING = {
    "NodeDown": "waits: a node that it needs is down",
    "SystemFailure": "waits: Slurm could not start it because of a failure of its own",
}
"""Reasons that ended jobs have, too, and that then mean why."""
ENDS = {
    "JobLaunchFailure": "its script could not start, or was killed; the folder of slurm.log must exist on its first node",
    "NodeDown": "a node was lost",
    "TimeLimit": "its time was over before the run could stop; raise slurm.time or slurm.stop_before",
    "OutOfMemory": "it used more memory than it had asked for; raise slurm.memory",
}
"""Why a job ended."""

_LIMIT = re.compile(
    r"(?P<whose>QOS|Assoc)(?P<kind>Grp|Max|Min)(?P<what>[A-Z][A-Za-z]*?)(?:Run)?(?P<minutes>Minutes)?"
    r"(?P<per>PerJob|PerNode|PerUser|PerAccount)?(?P<missed>NotSatisfied)?(?:Limit)?"
)
_WHOSE = {"QOS": "quality of service", "Assoc": "account"}
_WHAT = {
    "BB": "burst buffers",
    "Billing": "billing units",
    "CPU": "CPUs",
    "Cpu": "CPUs",
    "GRES": "NPUs and other generic resources",
    "Jobs": "jobs",
    "SubmitJobs": "jobs in the queue",
    "SubmitJob": "jobs in the queue",
    "License": "licences",
    "Mem": "memory",
    "Memory": "memory",
    "Node": "nodes",
    "WallDuration": "time",
    "Wall": "time",
}
_FIELDS = {
    "CPUs": "slurm.cpus",
    "nodes": "resources.nodes",
    "memory": "slurm.memory",
    "time": "slurm.time",
    "NPUs and other generic resources": "resources.devices_per_node",
}


def words_of(code: str) -> str:
    """A sentence for a reason of waiting; '' for one that is not known."""
    head = re.split(r"[,(]", code)[0].strip()
    for name in (code, head):
        if words := REASONS.get(name) or ONLY_WAITING.get(name) or limit_words(name):
            return words
    return ""


def is_of_waiting(code: str) -> bool:
    """Whether the reason says only why a job waited. Slurm leaves it at a job that has ended."""
    return code in REASONS or bool(limit_words(code))


def limit_words(code: str) -> str:
    """A limit of an account or a quality of service: of one job, which then never starts, or of all jobs together.

    >>> limit_words("QOSMaxNodePerJobLimit")
    'will never start: its quality of service allows a job fewer nodes (resources.nodes)'
    """
    match = _LIMIT.fullmatch(code)
    if match is None:
        return ""
    whose = _WHOSE[match["whose"]]
    kind = _WHAT.get(match["what"], match["what"])
    field = f" ({_FIELDS[kind]})" if kind in _FIELDS else ""
    if match["minutes"]:
        kind = f"{kind.removesuffix('s')} minutes"
    if match["kind"] == "Min":
        return f"{NEVER}: its {whose} wants a job to have more {kind}{field}"
    if match["per"] in ("PerJob", "PerNode"):
        of = "a node of a job" if match["per"] == "PerNode" else "a job"
        fewer = "less" if kind in ("memory", "time") else "fewer"
        return f"{NEVER}: its {whose} allows {of} {fewer} {kind}{field}"
    if match["minutes"] or kind == "time":
        return f"waits: its {whose} has used all the {kind} that it may use"
    owner = "of yours" if match["per"] == "PerUser" or match["kind"] == "Max" else f"of its {whose}"
    return f"waits for other jobs {owner} to end: its {whose} limits their {kind}"
