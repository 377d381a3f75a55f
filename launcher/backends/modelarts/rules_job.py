"""Rules on the job itself: its name, machines, variables and options, and what it may cost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from launcher.backends.modelarts.values import POOL_FLAVORS, REGIONS, environments, flavor
from launcher.findings import Finding
from launcher.jobfile.spec_modelarts import ModelArtsOptions
from launcher.plan.model import ASCEND_DEVICES, Plan
from vitmodels.suggest import nearest

NAME_LENGTH = 64
ATTEMPT_LENGTH = 6  # -a99-9
MANY_RESTARTS, MOST_RESTARTS = 3, 128
ALLOWED = ("MA_DETECT_TRAIN_INJECT_CODE", "MA_HANG_DETECT_TIME", "MA_RUN_METHOD")
"""Variables of the platform that a job may set."""
MOST_VARIABLES, LONGEST_KEY, LONGEST_VALUE = 100, 8192, 4096


def _name(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    over = len(plan.run_id) + ATTEMPT_LENGTH - NAME_LENGTH
    if over > 0:
        yield Finding(
            "MA001",
            "error",
            f"a job's name is '{plan.run_id}-a1', and {NAME_LENGTH} characters are the most",
            "name",
            f"use a name of at most {len(plan.name) - over} characters",
        )


def _what_starts(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    if options.image is None and options.engine is None:
        yield Finding(
            "MA002",
            "error",
            "a job starts from an image of your own, from a preset engine, or from the engine with your image in its place",
            "modelarts.image",
            "set modelarts.image or modelarts.engine",
        )


def _where(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    if options.region is None and options.endpoint is None:
        yield Finding(
            "MA003",
            "error",
            "no region: where is the service?",
            "modelarts.region",
            "set it, such as cn-north-4",
        )
    elif options.region is not None and options.endpoint is None and not _is_region(options.region):
        near = nearest(options.region, REGIONS)
        yield Finding(
            "MA003",
            "error",
            f"there is no region '{options.region}'" + (f"; did you mean {near}?" if near else ""),
            "modelarts.region",
            "the console shows the id of a region beside its name; for one that launcher does not know set modelarts.endpoint, too",
        )


def _is_region(name: str) -> bool:
    """A region of the table, or one that the SDK's variable defines."""
    return name in REGIONS or bool(
        os.environ.get(f"HUAWEICLOUD_SDK_REGION_MODELARTS_{name.upper().replace('-', '_')}")
    )


def _machines(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    chosen = flavor(plan, options)
    cards = {name: count for count, name in POOL_FLAVORS.items()}.get(chosen or "")
    if chosen is None and (options.pool_id is None or plan.device in ASCEND_DEVICES):
        yield Finding(
            "MA007",
            "error",
            f"no kind of machine for {plan.devices_per_node} {plan.device} devices",
            "modelarts.flavor",
            "set modelarts.flavor; a dedicated pool has machines with 1, 2, 4, 8 and 16 cards",
        )
    elif cards is not None and plan.device in ASCEND_DEVICES and cards != plan.devices_per_node:
        yield Finding(
            "MA007",
            "error",
            f"{chosen} has {cards} card(s), the job asks for {plan.devices_per_node} per node",
            "modelarts.flavor",
            f"use {POOL_FLAVORS.get(plan.devices_per_node, 'another flavor')}, or leave it out",
        )


def _sizes(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    variables = environments(plan)
    if len(variables) > MOST_VARIABLES:
        yield Finding(
            "MA008",
            "error",
            f"{len(variables)} variables; {MOST_VARIABLES} are the most",
            "env",
            "put them into a file",
        )
    for key, value in variables.items():
        if len(key) > LONGEST_KEY or len(value) > LONGEST_VALUE:
            yield Finding(
                "MA008",
                "error",
                f"a variable's name may have {LONGEST_KEY} characters, its value {LONGEST_VALUE}; this value has {len(value)}",
                f"env.{key[:40]}",
                "put it into a file of modelarts.code",
            )


def _dollar(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for key, value in environments(plan).items():
        if "$" in value:
            yield Finding(
                "MA009",
                "error",
                "the service refuses references such as $HOME in values of variables",
                f"env.{key}",
                "write the value out",
            )


def _prefix(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for key in plan.env:
        if key.startswith("MA_") and key not in ALLOWED:
            yield Finding(
                "MA010",
                "error",
                "names with MA_ in front belong to the platform",
                f"env.{key}",
                f"use another name; only {', '.join(ALLOWED)} may be set",
            )


def _restarts(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for name in ("jobs", "pods"):
        count = getattr(options.restarts, name)
        if not 0 <= count <= MOST_RESTARTS:
            yield Finding(
                "MA012",
                "error",
                f"{count} restarts; the service takes 1 to {MOST_RESTARTS}, or 0 for none",
                f"modelarts.restarts.{name}",
                f"use at most {MANY_RESTARTS}, which all regions take",
            )


def _dedicated(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for name in ("priority", "preemptible", "affinity"):
        if getattr(options, name) is not None and options.pool_id is None:
            yield Finding(
                "MA013",
                "error",
                f"{name} has a meaning in a dedicated pool only",
                f"modelarts.{name}",
                "name the pool in modelarts.pool_id, or leave it out",
            )


def _affinity(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    needs = options.affinity in ("hyperinstance", "networkTopology")
    if needs and options.affinity_group_size is None:
        yield Finding(
            "MA014",
            "error",
            f"affinity {options.affinity} needs the number of machines that stand together",
            "modelarts.affinity_group_size",
            "set it",
        )
    for field in ("affinity_job_level", "affinity_group_level"):
        if getattr(options, field) is not None and options.affinity != "networkTopology":
            yield Finding(
                "MA014",
                "error",
                f"{field} counts with the affinity networkTopology only",
                f"modelarts.{field}",
                "write affinity: networkTopology, or leave it out",
            )


def _annotations(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for key in options.annotations:
        if key.startswith("fault-tolerance/"):
            yield Finding(
                "MA019",
                "error",
                f"{key} is set by modelarts.restarts",
                f"modelarts.annotations.{key}",
                "use jobs, pods, unconditional, on_hang and hccl_operators there",
            )


def _preset(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    if options.engine is not None and plan.device not in ASCEND_DEVICES and plan.devices_per_node > 1:
        yield Finding(
            "MA020",
            "info",
            "a preset engine without NPUs starts one process per machine, which then starts its ranks on CPUs",
            "modelarts.engine",
            "fine for a try; use NPUs for training",
        )


def _cost(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    if plan.time_limit_s is None:
        yield Finding(
            "MA021",
            "warning",
            "nothing bounds how long the job runs, and so what it costs",
            "resources.time_limit",
            "set it: the run then stops with a checkpoint, and the platform ends what is left",
        )


def _network(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    if options.requirements:
        yield Finding(
            "MA022",
            "info",
            "every container installs packages before it starts; without a way to a package index it ends there",
            "modelarts.requirements",
            "put them into the image",
        )


def _topic(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    if options.notify_topic is not None and not options.notify_topic.startswith("urn:"):
        yield Finding(
            "MA023",
            "error",
            f"'{options.notify_topic}' is no URN of a topic",
            "modelarts.notify_topic",
            "copy it from the console: urn:smn:region:project:topic",
        )


def _logs(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    if options.log_export is not None and not options.export_logs:
        yield Finding(
            "MA036",
            "error",
            "log_export says how logs are written, and export_logs: false that none are",
            "modelarts.log_export",
            "leave one of them out",
        )


JOB_RULES: tuple[Callable[[Plan, ModelArtsOptions], Iterator[Finding]], ...] = (
    _name,
    _what_starts,
    _where,
    _machines,
    _sizes,
    _dollar,
    _prefix,
    _restarts,
    _dedicated,
    _affinity,
    _annotations,
    _preset,
    _cost,
    _network,
    _topic,
    _logs,
)
