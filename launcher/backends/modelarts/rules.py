"""Rules on a plan for ModelArts: limits of the service, and settings that would fail or mislead there.

One rule, one id, one function of the table at the end. They need neither the service nor its SDK.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from launcher.backends.modelarts.machines import options_of
from launcher.findings import Finding, Severity
from launcher.jobfile.spec_modelarts import ModelArtsOptions
from launcher.plan.model import ASCEND_DEVICES, OUTSIDE, Plan
from launcher.storage.address import StoreAddress

NAME_LENGTH = 64
ATTEMPT_LENGTH = 6  # -a99-9
_SHELL = re.compile(r"[\s\"'`$\\;&|<>(){}\[\]*?!#~]")
POOL_FLAVORS = {
    1: "modelarts.pool.visual.xlarge",
    2: "modelarts.pool.visual.2xlarge",
    4: "modelarts.pool.visual.4xlarge",
    8: "modelarts.pool.visual.8xlarge",
    16: "modelarts.pool.visual.16xlarge",
}
MANY_RESTARTS, MOST_RESTARTS = 3, 128
MOST_VARIABLES, LONGEST_KEY, LONGEST_VALUE = 100, 8192, 4096
_CHANNEL = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_OURS = ("LAUNCHER_", "RANK_", "MS_", "JOB_ID")
_KEPT_FREE = ("/cache", "/home/ma-user", "/tmp", "/", "/user/config")  # noqa: S108 - names, nothing is written
_HERE = "modelarts"


def environments(plan: Plan) -> dict[str, str]:
    """Variables of the container itself. What tells a rank who it is comes later, from the node program."""
    return {
        key: value
        for key, value in plan.env.items()
        if not key.startswith(_OURS) and "{" not in value and not key.startswith("OMP_")
    }


def flavor(plan: Plan, options: ModelArtsOptions) -> str | None:
    """The kind of machine: as given, or in a dedicated pool of NPUs by the number of cards."""
    if options.flavor or not options.pool_id or plan.device not in ASCEND_DEVICES:
        return options.flavor
    return POOL_FLAVORS.get(plan.devices_per_node)


def bucket_path(url: str) -> str:
    """`obs://bucket/a` as the service writes it: `/bucket/a/`."""
    parts = urlsplit(url)
    return f"/{parts.netloc}/{parts.path.strip('/')}/".replace("//", "/")


def check_modelarts(plan: Plan) -> list[Finding]:
    """Everything that the rules find, in their order."""
    return [finding for rule in RULES for finding in rule(plan, options_of(plan))]


def _found(rule: str, message: str, field: str, fix: str, severity: Severity = "error") -> Finding:
    return Finding(rule, severity, message, field, fix)


def _name(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    over = len(plan.run_id) + ATTEMPT_LENGTH - NAME_LENGTH
    if over > 0:
        yield _found(
            "MA001",
            f"a job's name is '{plan.run_id}-a1', and {NAME_LENGTH} characters are the most",
            "name",
            f"use a name of at most {len(plan.name) - over} characters",
        )


def _what_starts(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    if (options.image is None) == (options.engine is None):
        yield _found(
            "MA002",
            "a job starts from either an image of your own or a preset engine",
            f"{_HERE}.image",
            "set exactly one of modelarts.image and modelarts.engine",
        )


def _where(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    if options.region is None and options.endpoint is None:
        yield _found(
            "MA003", "no region: where is the service?", f"{_HERE}.region", "set it, such as cn-north-4"
        )


def _stores(plan: Plan) -> Iterator[tuple[str, StoreAddress]]:
    yield "output", plan.store
    if plan.data is not None:
        yield "data", plan.data
    if plan.checkpoint is not None:
        yield "model.checkpoint", plan.checkpoint


def _in_obs(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    mounts = tuple(f"file://{volume.mount.rstrip('/')}/" for volume in options.volumes)
    for section, store in _stores(plan):
        mounted = section == "data" and f"{store.url}/".startswith(mounts)
        if not store.url.startswith("obs://") and not mounted:
            field = section if "." in section else f"{section}.url"
            also = ", or a folder of one of modelarts.volumes" if section == "data" else ""
            yield _found(
                "MA004",
                f"containers can't reach {store.url}",
                field,
                f"use obs://bucket/folder{also}",
            )


def _profile(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for section, store in _stores(plan):
        for name in ("profile", "ca_bundle"):
            if getattr(store, name) and section != "model.checkpoint":
                yield _found(
                    "MA005",
                    f"{name} names something of this machine, which no container has",
                    f"{section}.{name}",
                    "leave it out; in a container the platform's own credentials are used",
                )


def _one_region(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for section, store in _stores(plan):
        match = re.search(r"//obs\.([a-z0-9-]+)\.", store.endpoint or "")
        region = store.region or (match[1] if match else None)
        if options.region and region and region != options.region and section != "model.checkpoint":
            yield _found(
                "MA006",
                f"the bucket is in {region}, the pool in {options.region}; they must be in one region",
                f"{section}.region",
                "copy the data, or choose a pool there",
            )


def _machines(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    chosen = flavor(plan, options)
    cards = {name: count for count, name in POOL_FLAVORS.items()}.get(chosen or "")
    if chosen is None and (options.pool_id is None or plan.device in ASCEND_DEVICES):
        yield _found(
            "MA007",
            f"no kind of machine for {plan.devices_per_node} {plan.device} devices",
            f"{_HERE}.flavor",
            "set modelarts.flavor; a dedicated pool has machines with 1, 2, 4, 8 and 16 cards",
        )
    elif cards is not None and plan.device in ASCEND_DEVICES and cards != plan.devices_per_node:
        yield _found(
            "MA007",
            f"{chosen} has {cards} card(s), the job asks for {plan.devices_per_node} per node",
            f"{_HERE}.flavor",
            f"use {POOL_FLAVORS.get(plan.devices_per_node, 'another flavor')}, or leave it out",
        )


def _sizes(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    found = environments(plan)
    if len(found) > MOST_VARIABLES:
        yield _found(
            "MA008", f"{len(found)} variables; {MOST_VARIABLES} are the most", "env", "put them into a file"
        )
    for key, value in found.items():
        if len(key) > LONGEST_KEY or len(value) > LONGEST_VALUE:
            yield _found(
                "MA008",
                f"a variable's name may have {LONGEST_KEY} characters, its value {LONGEST_VALUE}; this value has {len(value)}",
                f"env.{key[:40]}",
                "put it into a file of modelarts.code",
            )


def _dollar(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for key, value in environments(plan).items():
        if "$" in value:
            yield _found(
                "MA009",
                "the service refuses references such as $HOME in values of variables",
                f"env.{key}",
                "write the value out",
            )


def _prefix(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for key in plan.env:
        if key.startswith("MA_"):
            yield _found(
                "MA010",
                "names with MA_ in front belong to the platform",
                f"env.{key}",
                "use another name",
            )


def _mounts(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, volume in enumerate(options.volumes):
        mount = "/" + volume.mount.strip("/")
        if not volume.mount.startswith("/") or mount in _KEPT_FREE or mount in seen:
            yield _found(
                "MA011",
                f"nothing can be mounted at {volume.mount}: it is taken, or no whole path",
                f"{_HERE}.volumes.{index}.mount",
                "use a folder of its own, such as /mnt/data",
            )
        seen.add(mount)


def _restarts(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for name in ("jobs", "pods"):
        count = getattr(options.restarts, name)
        if not 0 <= count <= MOST_RESTARTS:
            yield _found(
                "MA012",
                f"{count} restarts; the service takes 1 to {MOST_RESTARTS}, or 0 for none",
                f"{_HERE}.restarts.{name}",
                f"use at most {MANY_RESTARTS}, which all regions take",
            )


def _dedicated(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for name in ("priority", "preemptible", "affinity"):
        if getattr(options, name) is not None and options.pool_id is None:
            yield _found(
                "MA013",
                f"{name} has a meaning in a dedicated pool only",
                f"{_HERE}.{name}",
                "name the pool in modelarts.pool_id, or leave it out",
            )


def _affinity(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    needs = options.affinity in ("hyperinstance", "networkTopology")
    if needs and options.affinity_group_size is None:
        yield _found(
            "MA014",
            f"affinity {options.affinity} needs the number of machines that stand together",
            f"{_HERE}.affinity_group_size",
            "set it",
        )


def _channels(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for kind, channels in (("inputs", options.inputs), ("outputs", options.outputs)):
        for name, url in channels.items():
            wrong = not _CHANNEL.fullmatch(name) or name.startswith("MA_")
            if wrong or (kind == "outputs" and name in options.inputs):
                yield _found(
                    "MA015",
                    f"'{name}' can't be a channel: letters, digits, - and _, each name once",
                    f"{_HERE}.{kind}.{name}",
                    "rename it",
                )
            elif not url.startswith("obs://"):
                yield _found(
                    "MA015",
                    f"a channel is a folder in OBS, not {url}",
                    f"{_HERE}.{kind}.{name}",
                    "use obs://",
                )


def _own_output(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    taken = {"the run's own folder": plan.store.url}
    for name, url in options.outputs.items():
        for what, other in taken.items():
            if bucket_path(url) == bucket_path(other):
                yield _found(
                    "MA016",
                    f"{url} is {what}: two writers in one folder",
                    f"{_HERE}.outputs.{name}",
                    "give each channel a folder of its own",
                )
        taken[f"channel {name}"] = url


def _folders(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for place, folder in (("data.cache_dir", plan.cache_dir), ("output.work_dir", plan.work_dir)):
        if folder.startswith("/home/ma-user/modelarts"):
            yield _found(
                "MA017",
                f"{folder} belongs to the platform",
                place,
                "leave it out, or name a folder below /cache",
            )


def _program(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for step in plan.steps:
        for word in step.argv:
            if word.startswith(OUTSIDE):
                yield _found(
                    "MA018",
                    f"{word.removeprefix(OUTSIDE)} does not travel to the container",
                    "program",
                    "name its folder in modelarts.code",
                )


def _annotations(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for key in options.annotations:
        if key.startswith("fault-tolerance/"):
            yield _found(
                "MA019",
                f"{key} is set by modelarts.restarts",
                f"{_HERE}.annotations.{key}",
                "use jobs, pods, unconditional, on_hang and hccl_operators there",
            )


def _preset(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    if options.engine is not None and plan.device not in ASCEND_DEVICES and plan.devices_per_node > 1:
        yield _found(
            "MA020",
            "a preset engine without NPUs starts one process per machine, which then starts its ranks on CPUs",
            f"{_HERE}.engine",
            "fine for a try; use NPUs for training",
            "info",
        )


def _cost(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    if plan.time_limit_s is None:
        yield _found(
            "MA021",
            "nothing bounds how long the job runs, and so what it costs",
            "resources.time_limit",
            "set it: the run then stops with a checkpoint, and the platform ends what is left",
            "warning",
        )


def _network(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    if options.requirements:
        yield _found(
            "MA022",
            "every container installs packages before it starts; without a way to a package index it ends there",
            f"{_HERE}.requirements",
            "put them into the image",
            "info",
        )


def _topic(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    if options.notify_topic is not None and not options.notify_topic.startswith("urn:"):
        yield _found(
            "MA023",
            f"'{options.notify_topic}' is no URN of a topic",
            f"{_HERE}.notify_topic",
            "copy it from the console: urn:smn:region:project:topic",
        )


def _plain_words(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for name in ("url", "endpoint"):
        text = getattr(plan.store, name) or ""
        if match := _SHELL.search(text):
            yield _found(
                "MA024",
                f"{match[0]!r} in {text}, which is a word of the command that starts the containers",
                f"output.{name}",
                "use letters, digits and . _ - / only",
            )


RULES: tuple[Callable[[Plan, ModelArtsOptions], Iterator[Finding]], ...] = (
    _name,
    _what_starts,
    _where,
    _in_obs,
    _profile,
    _one_region,
    _machines,
    _sizes,
    _dollar,
    _prefix,
    _mounts,
    _restarts,
    _dedicated,
    _affinity,
    _channels,
    _own_output,
    _folders,
    _program,
    _annotations,
    _preset,
    _cost,
    _network,
    _topic,
    _plain_words,
)
