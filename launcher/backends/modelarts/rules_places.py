"""Rules on where things are: stores, mounted volumes, channels, folders and programs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from launcher.backends.modelarts.values import bucket_path
from launcher.findings import Finding
from launcher.jobfile.spec_modelarts import ModelArtsOptions
from launcher.plan.model import OUTSIDE, Plan
from launcher.storage.address import StoreAddress

_SHELL = re.compile(r"[\s\"'`$\\;&|<>(){}\[\]*?!#~]")
_CHANNEL = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_KEPT_FREE = ("/cache", "/home/ma-user", "/tmp", "/", "/user/config")  # noqa: S108 - names, nothing is written


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
            yield Finding(
                "MA004",
                "error",
                f"containers can't reach {store.url}",
                field,
                f"use obs://bucket/folder{also}",
            )


def _profile(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for section, store in _stores(plan):
        for name in ("profile", "ca_bundle"):
            if getattr(store, name) and section != "model.checkpoint":
                yield Finding(
                    "MA005",
                    "error",
                    f"{name} names something of this machine, which no container has",
                    f"{section}.{name}",
                    "leave it out; in a container the platform's own credentials are used",
                )


def _one_region(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for section, store in _stores(plan):
        match = re.search(r"//obs\.([a-z0-9-]+)\.", store.endpoint or "")
        region = store.region or (match[1] if match else None)
        if options.region and region and region != options.region and section != "model.checkpoint":
            yield Finding(
                "MA006",
                "error",
                f"the bucket is in {region}, the pool in {options.region}; they must be in one region",
                f"{section}.region",
                "copy the data, or choose a pool there",
            )


def _mounts(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    mounts: set[str] = set()
    for index, volume in enumerate(options.volumes):
        mount = "/" + volume.mount.strip("/")
        if not volume.mount.startswith("/") or mount in _KEPT_FREE or mount in mounts:
            yield Finding(
                "MA011",
                "error",
                f"nothing can be mounted at {volume.mount}: it is taken, or no whole path",
                f"modelarts.volumes.{index}.mount",
                "use a folder of its own, such as /mnt/data",
            )
        mounts.add(mount)


def _channels(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for kind, channels in (("inputs", options.inputs), ("outputs", options.outputs)):
        for name, url in channels.items():
            wrong = not _CHANNEL.fullmatch(name) or name.startswith("MA_")
            if wrong or (kind == "outputs" and name in options.inputs):
                yield Finding(
                    "MA015",
                    "error",
                    f"'{name}' can't be a channel: letters, digits, - and _, each name once",
                    f"modelarts.{kind}.{name}",
                    "rename it",
                )
            elif not url.startswith("obs://"):
                yield Finding(
                    "MA015",
                    "error",
                    f"a channel is a folder in OBS, not {url}",
                    f"modelarts.{kind}.{name}",
                    "use obs://",
                )


def _overlaps(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    """What is written must not lie in, around or at what is read, nor at another place that is written."""
    reads = [("data.url", plan.data.url)] if plan.data is not None else []
    reads += [(f"modelarts.inputs.{name}", url) for name, url in options.inputs.items()]
    own = plan.store.url
    writes = [(f"modelarts.outputs.{name}", url) for name, url in options.outputs.items()]
    for field, url in reads:
        if url.startswith("obs://") and own.startswith("obs://") and _inside(own, url):
            yield _overlap("output.url", "results lie", field, url)
    for number, (field, url) in enumerate(writes):
        others = [("output.url", own), *writes[:number]]
        for other, folder in [*others, *reads]:
            if _inside(url, folder) or _inside(folder, url):
                yield _overlap(field, f"{url} lies", other, folder)


def _inside(url: str, folder: str) -> bool:
    return bucket_path(url).startswith(bucket_path(folder))


def _overlap(field: str, what: str, other: str, url: str) -> Finding:
    return Finding(
        "MA016",
        "error",
        f"{what} in or around {other} ({url}): one would be read or overwritten as the other",
        field,
        "give each folder that is written a place of its own, beside the others",
    )


def _folders(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for place, folder in (("data.cache_dir", plan.cache_dir), ("output.work_dir", plan.work_dir)):
        if folder.startswith("/home/ma-user/modelarts"):
            yield Finding(
                "MA017",
                "error",
                f"{folder} belongs to the platform",
                place,
                "leave it out, or name a folder below /cache",
            )


def _program(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for step in plan.steps:
        for word in step.argv:
            if word.startswith(OUTSIDE):
                yield Finding(
                    "MA018",
                    "error",
                    f"{word.removeprefix(OUTSIDE)} does not travel to the container",
                    "program",
                    "move it into the folder where you submit, or name its folder in modelarts.code",
                )


def _plain_words(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    for name in ("url", "endpoint"):
        text = getattr(plan.store, name) or ""
        if match := _SHELL.search(text):
            yield Finding(
                "MA024",
                "error",
                f"{match[0]!r} in {text}, which is a word of the command that starts the containers",
                f"output.{name}",
                "use letters, digits and . _ - / only",
            )


PLACE_RULES: tuple[Callable[[Plan, ModelArtsOptions], Iterator[Finding]], ...] = (
    _in_obs,
    _profile,
    _one_region,
    _mounts,
    _channels,
    _overlaps,
    _folders,
    _program,
    _plain_words,
)
