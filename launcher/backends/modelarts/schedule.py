"""Where and in which order a job is placed: priority, machines that stand together, machines that it may have or avoids. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from launcher.backends.modelarts.body import (
    Preference,
    PreferredAffinity,
    RequiredAffinity,
    Requirement,
    SchedulePolicy,
    Selector,
    Term,
)
from launcher.jobfile.spec_modelarts import ModelArtsOptions

HOST = "kubernetes.io/hostname"
"""The label of a machine with its address in the pool. Kubernetes documents the label, nobody that the value is the address."""
MOST, WISH = 100, 50
"""Weights: what failed a run counts more than a wish of the job file."""


def schedule_policy(options: ModelArtsOptions, avoid: Sequence[str]) -> SchedulePolicy | None:
    """None where nothing is asked for. `avoid`: addresses of machines that are taken only if no others are free."""
    policy = SchedulePolicy(
        priority=options.priority,
        preemptible=options.preemptible,
        required_affinity=_required(options),
        preferred_affinity=_preferred(options, avoid),
    )
    return policy if policy.model_dump(exclude_none=True) else None


def _required(options: ModelArtsOptions) -> RequiredAffinity | None:
    nodes = options.node_affinity
    wanted = (*_all_of(nodes.require, "In"), *_all_of(nodes.exclude, "NotIn")) if nodes else ()
    affinity = RequiredAffinity(
        affinity_type=options.affinity,
        job_level=options.affinity_job_level,
        affinity_group_size=options.affinity_group_size if options.affinity else None,
        affinity_group_level=options.affinity_group_level,
        node_affinity=Selector(nodeSelectorTerms=(Term(matchExpressions=wanted),)) if wanted else None,
    )
    return affinity if affinity.model_dump(exclude_none=True) else None


def _preferred(options: ModelArtsOptions, avoid: Sequence[str]) -> PreferredAffinity | None:
    wishes = _all_of(options.node_affinity.prefer, "In") if options.node_affinity else ()
    terms = [Preference(weight=WISH, preference=Term(matchExpressions=(wish,))) for wish in wishes]
    if avoid:
        others = Requirement(key=HOST, operator="NotIn", values=tuple(sorted(avoid)))
        terms.insert(0, Preference(weight=MOST, preference=Term(matchExpressions=(others,))))
    return PreferredAffinity(node_affinity=tuple(terms)) if terms else None


def _all_of(labels: Mapping[str, tuple[str, ...]], operator: str) -> tuple[Requirement, ...]:
    """`operator` is In or NotIn; a label without values asks whether it is there."""
    presence = {"In": "Exists", "NotIn": "DoesNotExist"}[operator]
    return tuple(
        Requirement(key=key, operator=operator, values=values)
        if values
        else Requirement(key=key, operator=presence)
        for key, values in labels.items()
    )
