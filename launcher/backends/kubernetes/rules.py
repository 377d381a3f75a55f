"""Rules on a plan for the back end `kubernetes` that need no cluster. One rule, one id, one function."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from launcher.backends.kubernetes.machines import CACHE, options_of, uses_npus
from launcher.backends.kubernetes.manifests import job_manifest, plain_job
from launcher.backends.kubernetes.names import CONTAINER, RUN_ID, RUN_URL
from launcher.backends.kubernetes.npus import has_table, npus_of
from launcher.backends.kubernetes.podspecs import templates_of
from launcher.findings import Finding
from launcher.plan.model import Plan

MOST_NODES, MOST_RESTARTS = 1000, 100
_FAULT_LABELS = {"fault-scheduling", "fault-retry-times", "pod-rescheduling"}
_POLICY = re.compile(r"chip(\d+)-node(\d+)(?:-.*)?")
_MODULE = re.compile(r"(?:module|card)-[a-z0-9]+-(\d+)(?:-super-pod)?")
_SYSTEM = ("/", "/proc", "/sys", "/dev", "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64")
_OURS = ("/dev/shm", "/usr/local/Ascend/driver", "/user/config", "/user/serverid", "/etc/volcano")  # noqa: S108


def check_pods(plan: Plan) -> list[Finding]:
    """Everything that the rules find, in their order."""
    return [finding for rule in RULES for finding in rule(plan)]


def _image(plan: Plan) -> Iterator[Finding]:
    image = options_of(plan).image
    if image is None:
        fix = "name an image with CANN, Python and launcher (docs/kubernetes.md shows how to build one)"
        yield Finding("K8001", "error", "no image", "kubernetes.image", fix)
    elif "@" not in image and ":" not in image.rpartition("/")[2]:
        message = f"'{image}' has no tag: nodes take whatever `latest` they have or find, and a resumed run may get another one"
        yield Finding("K8002", "warning", message, "kubernetes.image", "add a tag, or better a digest")


def _kind(plan: Plan) -> Iterator[Finding]:
    options = options_of(plan)
    if options.kind == "ascendjob" and options.platform == "cce":
        fix = "use kind: vcjob, or platform: mindcluster"
        yield Finding("K8003", "error", "CCE has no AscendJobs", "kubernetes.kind", fix)
    elif options.kind == "ascendjob" and not uses_npus(plan):
        fix = "use kind: job or vcjob for a job on CPU"
        yield Finding(
            "K8003", "error", "the operator of AscendJobs refuses pods without NPUs", "kubernetes.kind", fix
        )
    if options.kind == "job" and options.queue is not None:
        fix = "use kind: vcjob, or leave the queue out"
        yield Finding("K8003", "error", "a plain Job has no queue", "kubernetes.queue", fix)
    if options.kind == "job" and plan.nodes > 1:
        message = f"a plain Job starts its {plan.nodes} pods one by one; those that got a node hold it while they wait for the others"
        fix = "use kind: vcjob, which starts all of them or none"
        yield Finding("K8004", "warning", message, "kubernetes.kind", fix)
    if options.kind == "vcjob" and plan.nodes > MOST_NODES:
        message = f"MindCluster takes {MOST_NODES} nodes in a job of Volcano, this one asks for {plan.nodes}"
        yield Finding("K8003", "error", message, "resources.nodes", "use kind: ascendjob")


def _board(plan: Plan) -> Iterator[Finding]:
    """The number of chips against what the job file says of the nodes."""
    options = options_of(plan)
    if not uses_npus(plan):
        return
    accelerator = options.node_selector.get("accelerator-type", "")
    for field, text, pattern, group in (
        ("schedule_policy", options.schedule_policy or "", _POLICY, 2),
        ("node_selector.accelerator-type", accelerator, _MODULE, 1),
    ):
        if match := pattern.fullmatch(text):
            yield from _chips(plan, f"kubernetes.{field}", text, int(match[group]))
    if options.platform == "cce" and (options.schedule_policy or accelerator):
        message = "MindCluster's words have no effect on CCE"
        fix = "leave schedule_policy and accelerator-type out, or set platform: mindcluster"
        yield Finding("K8006", "warning", message, "kubernetes.platform", fix)
    elif options.platform == "mindcluster" and not (options.schedule_policy or accelerator):
        message = "nothing says which boards the job is for; MindCluster's scheduler may then leave it pending for ever"
        fix = "set kubernetes.schedule_policy (chip8-node8), or accelerator-type in kubernetes.node_selector"
        yield Finding("K8006", "warning", message, "kubernetes.schedule_policy", fix)


def _chips(plan: Plan, field: str, text: str, per_node: int) -> Iterator[Finding]:
    count = plan.devices_per_node
    where = "resources.devices_per_node"
    if count > per_node:
        message = f"{count} devices per node, and a node of {field}: {text} has {per_node}"
        yield Finding("K8005", "error", message, where, f"use at most {per_node}, or another board")
    elif plan.nodes > 1 and count != per_node:
        message = f"a job of several nodes takes whole nodes: {count} of {per_node} devices ({field}: {text})"
        yield Finding("K8005", "error", message, where, f"use {per_node}, or one node")


def _patched(plan: Plan) -> Iterator[Finding]:
    """What the patch has made of what launcher depends on."""
    if not options_of(plan).patch:
        return
    before, after = plain_job(plan, 1), job_manifest(plan, 1)
    for place in (
        ("apiVersion",),
        ("kind",),
        ("metadata", "name"),
        ("metadata", "namespace"),
        ("metadata", "labels"),
        ("metadata", "annotations", RUN_ID),
        ("metadata", "annotations", RUN_URL),
    ):
        if not _keeps(_at(before, place), _at(after, place)):
            message = f"the patch changes {'.'.join(place)}, by which launcher finds the job again"
            yield Finding(
                "K8007", "error", message, f"kubernetes.patch.{'.'.join(place)}", "leave it out of the patch"
            )
    templates = templates_of(after)
    if sum(each.replicas for each in templates) != plan.nodes:
        message = f"the patch leaves {sum(each.replicas for each in templates)} pods, the job has {plan.nodes} node(s)"
        yield Finding("K8007", "error", message, "kubernetes.patch.spec", "change resources.nodes instead")
    for each in templates:
        yield from _container(plan, each.container(CONTAINER))


def _container(plan: Plan, container: dict[str, Any] | None) -> Iterator[Finding]:
    field = "kubernetes.patch.spec"
    if container is None:
        message = f"the patch leaves a pod without the container '{CONTAINER}'"
        yield Finding(
            "K8007", "error", message, field, "a patch replaces lists as a whole: repeat what is to stay"
        )
        return
    npus = npus_of(plan)
    if npus is None:
        return
    asked = [str(_at(container, ("resources", part, npus.resource))) for part in ("requests", "limits")]
    if asked != [str(plan.devices_per_node)] * 2:
        message = f"{npus.resource} must be {plan.devices_per_node} in requests and in limits; the patch makes it {asked[0]} and {asked[1]}"
        yield Finding(
            "K8008", "error", message, field, "leave NPUs out of the patch; use resources.devices_per_node"
        )


def _stores(plan: Plan) -> Iterator[Finding]:
    mounts = tuple(f"{each.mount.rstrip('/')}/" for each in options_of(plan).volumes)
    for field, address in (
        ("output.url", plan.store),
        ("data.url", plan.data),
        ("model.checkpoint", plan.checkpoint),
    ):
        if address is None or not address.url.startswith("file:"):
            continue
        path = unquote(urlsplit(address.url).path)
        if not f"{path}/".startswith(mounts):
            fix = "use obs:// or s3://, or a folder below the mount of one of kubernetes.volumes"
            yield Finding("K8009", "error", f"pods can't reach {path} of this machine", field, fix)


def _mounts(plan: Plan) -> Iterator[Finding]:
    seen: set[str] = set()
    for number, volume in enumerate(options_of(plan).volumes):
        field = f"kubernetes.volumes[{number}].mount"
        if volume.mount in seen:
            yield Finding(
                "K8010", "error", f"two volumes at {volume.mount}", field, "mount one of them elsewhere"
            )
        elif volume.mount in _SYSTEM or any(f"{volume.mount}/".startswith(f"{each}/") for each in _OURS[1:]):
            message = f"{volume.mount} belongs to the platform or to the image"
            yield Finding("K8010", "error", message, field, "mount it elsewhere, such as at /mnt/data")
        seen.add(volume.mount)


def _grace(plan: Plan) -> Iterator[Finding]:
    options = options_of(plan)
    if options.grace <= plan.watch.grace:
        message = f"the pod is killed after {options.grace} s; the ranks have {plan.watch.grace} s to save (watch.grace), and then the checkpoint is uploaded"
        fix = f"raise kubernetes.grace well above {plan.watch.grace} s, or lower watch.grace"
        yield Finding("K8011", "warning", message, "kubernetes.grace", fix)


def _program(plan: Plan) -> Iterator[Finding]:
    """Files that a program names by their whole path do not travel with the snapshot: they must be in the image or on a volume, at the same path."""
    mounts = tuple(f"{each.mount.rstrip('/')}/" for each in options_of(plan).volumes)
    outside = [path for path in plan.sources if not path.startswith(mounts)]
    if outside:
        message = f"{outside[0]} must be in the image, at this path and with this content; pods verify it before they start"
        fix = "put the program on one of kubernetes.volumes, or build the image with it"
        yield Finding("K8012", "warning", message, "program", fix)


def _cache(plan: Plan) -> Iterator[Finding]:
    mounts = (*(each.mount for each in options_of(plan).volumes), CACHE)
    for field, path in (("data.cache_dir", plan.cache_dir), ("output.work_dir", plan.work_dir)):
        if not any(f"{path}/".startswith(f"{mount.rstrip('/')}/") for mount in mounts):
            message = f"{path} is in the container's own layer, which is small and slow on most nodes"
            yield Finding(
                "K8013",
                "warning",
                message,
                field,
                f"use a folder below {CACHE}, or below the mount of a volume",
            )


def _line(plan: Plan) -> Iterator[Finding]:
    """What runs that wait for others need."""
    options = options_of(plan)
    if (plan.after_runs or options.max_parallel) and options.starter_account is None:
        message = "no account for the starter, which makes the jobs of runs that wait for others"
        fix = "apply docs/kubernetes-starter.yaml once to the namespace, and name its account"
        yield Finding("K8014", "error", message, "kubernetes.starter_account", fix)
    elsewhere = {namespace for _, namespace, _ in (each.split("/") for each in plan.after_jobs)} - {
        options.namespace
    }
    if elsewhere:
        message = f"a run of the namespace {elsewhere.pop()} can't be followed from {options.namespace}"
        yield Finding("K8015", "error", message, "kubernetes.after", "submit both to one namespace")


def _restarts(plan: Plan) -> Iterator[Finding]:
    """Who restarts a run that has failed: one side only."""
    options, where = options_of(plan), "kubernetes.fault_scheduling"
    for key in sorted(_FAULT_LABELS & {*options.labels, *options.annotations}):
        message = f"{key} makes MindCluster restart pods on its own, beside launcher"
        fix = "leave it out; kubernetes.fault_scheduling hands restarts over to MindCluster"
        yield Finding("K8017", "error", message, "kubernetes.labels", fix)
    if options.fault_scheduling is None:
        return
    if not has_table(plan) or options.platform != "mindcluster":
        message = "only MindCluster restarts jobs, and only vcjobs and AscendJobs on NPUs"
        yield Finding(
            "K8016", "error", message, where, "leave it out: launcher restarts the ranks, by `retry`"
        )
    elif not 1 <= plan.retry.max_restarts <= MOST_RESTARTS:
        message = f"{plan.retry.max_restarts} restarts: MindCluster takes 1 to {MOST_RESTARTS}"
        fix = "set retry.max_restarts, or leave kubernetes.fault_scheduling out"
        yield Finding("K8016", "error", message, "retry.max_restarts", fix)
    elif plan.retry.on:
        message = "has no effect: MindCluster restarts the job whatever the failure was"
        yield Finding(
            "K8018", "warning", message, "retry.on", "leave one of retry.on and fault_scheduling out"
        )


def _at(value: Any, place: tuple[str, ...]) -> Any:
    for key in place:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _keeps(before: Any, after: Any) -> bool:
    """Whether a value is unchanged; labels may be added."""
    if isinstance(before, dict) and isinstance(after, dict):
        return all(after.get(key) == value for key, value in before.items())
    return bool(before == after)


RULES: tuple[Callable[[Plan], Iterator[Finding]], ...] = (
    _image,
    _kind,
    _board,
    _patched,
    _stores,
    _mounts,
    _grace,
    _program,
    _cache,
    _line,
    _restarts,
)
