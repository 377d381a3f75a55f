"""Checks before anything starts. Each finding has a rule id, a severity and what to do; nothing here prints or changes anything.

`check_plan` asks nothing but this process, `check_data_here` reads names on this machine. `check_elsewhere` asks the stores and looks at the disks: a dry
run leaves it out.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from launcher.backends import get_backend
from launcher.dataset.shards import Packed, read_packed
from launcher.dataset.single import single_file
from launcher.errors import NotFound, StoreError, UsageError
from launcher.findings import Finding
from launcher.plan.model import ASCEND_DEVICES, INFERENCE_DEVICES, Plan
from launcher.plan.rules import check_rules
from launcher.portable import disk_space
from launcher.ranktable import check_devices_per_node, lint, placeholder_table
from launcher.storage.address import StoreAddress, is_clear_text, local_folder
from launcher.submission.datahint import explained
from launcher.tracking.trackers import check_usable, mlflow_uri
from launcher.units import show_bytes
from vitmodels.secrets import mask_paths

PATIENCE_S = 6.0
"""A person waits for the answer, so a store that fails is tried only this long."""

IMAGE_BYTES = 112_000
"""What one JPEG of ImageNet takes on average."""

_PLACEHOLDER_RULES = ("RT002", "RT012")  # not completed, made-up addresses: as a plan's table has to be


def check_plan(plan: Plan) -> list[Finding]:
    """Findings that follow from the plan alone, from the environment's addresses, and from the trackers of this Python."""
    findings: list[Finding] = []
    if finding := check_devices_per_node(plan.device, plan.devices_per_node, plan.nodes):
        findings.append(replace(finding, where="resources.devices_per_node"))
    backend = get_backend(plan.backend)
    if plan.device in INFERENCE_DEVICES and backend.runs_elsewhere:
        message = f"launcher asks no platform for {plan.device}, so the job would get none"
        findings.append(
            Finding(
                "PF014",
                "error",
                message,
                "resources.device",
                "run it on the machine itself (resources.backend: local)",
            )
        )
    here = [] if backend.runs_elsewhere else _check_trackers(plan)
    return [*findings, *check_rules(plan), *_check_encryption(plan), *here, *backend.rules(plan)]


def _check_trackers(plan: Plan) -> list[Finding]:
    """Finding PF019: trackers of a run on this machine that will get nothing."""
    findings = []
    for place, name in enumerate(plan.track.to):
        try:
            check_usable(name, mlflow_uri(plan.track, os.environ))
        except UsageError as error:
            message = f"{error.what}, so {name} gets no curves of this run"
            findings.append(Finding("PF019", "warning", message, f"track.to[{place}]", error.hint))
    return findings


def _check_encryption(plan: Plan) -> list[Finding]:
    """Finding PF048: what would cross a network in clear. The endpoint may be the environment's."""
    stores = {"output": plan.store, "data": plan.data, "model.checkpoint": plan.checkpoint}
    places = {name: address.endpoint_in_use() for name, address in stores.items() if address is not None}
    places |= {"track.mlflow_uri": plan.track.mlflow_uri or ""}
    places |= {f"notify.to[{k}]": each.webhook or "" for k, each in enumerate(plan.notify.to)}
    return [
        Finding(
            "PF048",
            "warning",
            f"{mask_paths(endpoint)} is not encrypted: others on the network can read data and results",
            name,
            "use an https:// address; a certificate of your own is named by ca_bundle",
        )
        for name, endpoint in places.items()
        if is_clear_text(endpoint)
    ]


def check_world(plan: Plan) -> list[Finding]:
    """Findings on the data, the stores and this machine's disks. Reads only. A store that fails is a finding, too."""
    return [*check_data_here(plan), *check_elsewhere(plan)]


def check_elsewhere(plan: Plan) -> list[Finding]:
    """`check_world` without what `check_data_here` finds."""
    backend = get_backend(plan.backend)
    findings = [] if backend.runs_elsewhere else [*check_folders(plan), *_check_cache(plan)]
    can_be_asked = backend.shares_files or not (plan.data and plan.data.url.startswith("file:"))
    if plan.data is not None and can_be_asked and _data_folder_here(plan) is None:
        findings += _check_data(plan.data, any_layout=plan.own_program)
    findings += _check_store(plan.store, "output.url", "PF020") or _check_above(plan.store)
    if plan.checkpoint is not None:
        findings += _check_store(plan.checkpoint, "model.checkpoint", "PF021")
    return [*findings, *_check_pretrained(plan)]


def _check_pretrained(plan: Plan) -> list[Finding]:
    weights = "" if plan.own_program else str(plan.recipe.get("pretrained", ""))
    if not weights or not get_backend(plan.backend).shares_files or Path(weights).exists():
        return []
    return [
        Finding(
            rule="PF022",
            severity="error",
            message=f"{weights} does not exist",
            where="model.set.pretrained",
            fix="name a file of weights, or a folder of checkpoints, that the machines of the run see",
        )
    ]


def check_data_here(plan: Plan, beside: Path | None = None) -> list[Finding]:
    """Whether the data are there, when they are a folder of the machine that this run will be on. Reads names only.

    `beside`: what a relative path would be if it counted from the folder of the job file.
    """
    folder = _data_folder_here(plan)
    if plan.data is None or folder is None:
        return []
    digits = str(plan.recipe.get("arch", "")).endswith("_digits")
    findings = _check_data(plan.data, any_layout=plan.own_program)
    return [
        explained(each, folder, beside=beside, digits=digits) if each.rule == "PF030" else each
        for each in findings
    ]


def _data_folder_here(plan: Plan) -> Path | None:
    """The data folder on the machine of this run, which is this one; None for a store, and for a run elsewhere."""
    if plan.data is None or get_backend(plan.backend).runs_elsewhere:
        return None
    return local_folder(plan.data.url)


def dry_rank_table(plan: Plan) -> str | None:
    """The rank table this plan would start with, on addresses that are marked as placeholders; None without NPUs."""
    if plan.device not in ASCEND_DEVICES or not _legal(plan):
        return None
    return placeholder_table(plan.device, plan.nodes, plan.devices_per_node).to_json()


def check_rank_table(plan: Plan) -> list[Finding]:
    """Lint of the table of `dry_rank_table`; its placeholder addresses are expected, so they are not reported."""
    if plan.device not in ASCEND_DEVICES or not _legal(plan):
        return []
    table = placeholder_table(plan.device, plan.nodes, plan.devices_per_node)
    findings = lint(table, chip=plan.device, ranks=plan.world_size, nodes=plan.nodes)
    return [finding for finding in findings if finding.rule not in _PLACEHOLDER_RULES]


def _legal(plan: Plan) -> bool:
    """Whether a rank table can be made: notes and warnings don't prevent it."""
    finding = check_devices_per_node(plan.device, plan.devices_per_node, plan.nodes)
    return finding is None or finding.severity != "error"


def check_folders(plan: Plan) -> list[Finding]:
    """Whether output.work_dir can be written to, and has room for the checkpoints."""
    numbers = plan.arithmetic
    folder = _existing(Path(plan.work_dir))
    if not os.access(folder, os.W_OK):
        message = f"{folder} can't be written to"
        return [Finding("PF011", "error", message, "output.work_dir", "name another folder")]
    if findings := _check_file_there(plan.work_dir, "output.work_dir"):
        return findings
    if numbers is None:
        return []
    needed = numbers.checkpoint_bytes * (numbers.keep_checkpoints + 2)
    free = _free(folder)
    if free >= needed:
        return []
    return [
        Finding(
            rule="PF010",
            severity="error",
            message=f"{numbers.keep_checkpoints} checkpoints of {show_bytes(numbers.checkpoint_bytes)} and two in flight need {show_bytes(needed)}; {folder} has {show_bytes(free)} free",
            where="output.work_dir",
            fix="free some space, name another disk, or lower keep_checkpoint_max",
        )
    ]


def _check_file_there(name: str, field: str) -> list[Finding]:
    folder = _existing(Path(name))
    if folder.is_dir():
        return []
    message = f"{folder} is a file, and would be a folder, too"
    return [Finding("PF011", "error", message, field, "name another folder, or rename the file")]


def _check_cache(plan: Plan) -> list[Finding]:
    """No room is only a warning: the data may be staged already, and staging counts the real bytes before it begins."""
    numbers = plan.arithmetic
    if plan.data is not None and (findings := _check_file_there(plan.cache_dir, "data.cache_dir")):
        return findings
    if plan.data is None or numbers is None or not numbers.train_images:
        return []
    needed = numbers.train_images * IMAGE_BYTES
    folder = _existing(Path(plan.cache_dir))
    free = _free(folder)
    if free >= needed or (Path(plan.cache_dir) / "datasets").exists():
        return []
    return [
        Finding(
            rule="PF012",
            severity="warning",
            message=f"{numbers.train_images:,} images of ImageNet's usual size are about {show_bytes(needed)}; {folder} has {show_bytes(free)} free",
            where="data.cache_dir",
            fix="name a larger disk",
        )
    ]


def _existing(folder: Path) -> Path:
    while not os.path.lexists(folder):
        folder = folder.parent
    return folder


def _free(folder: Path) -> int:
    return disk_space(folder).free


def _check_data(address: StoreAddress, *, any_layout: bool) -> list[Finding]:
    """`any_layout`: for a program of the user's own, which reads it in its own way."""
    try:
        store = address.open(PATIENCE_S)
        if any_layout and (next(iter(store.list()), None) or single_file(address, PATIENCE_S)):
            return []
        if next(iter(store.list("train/")), None) or next(iter(store.list("val/")), None):
            return []
        if packed := read_packed(store):
            return _check_packed(packed, store.url)
        if next(iter(store.list()), None) is None:
            hint = "put the images there (train/<class>/ and val/<class>/), or correct the address"
            raise NotFound("nothing there", where=store.url, hint=hint)
    except StoreError as error:
        return [_store_finding(error, "data.url", "PF030")]
    return [
        Finding(
            rule="PF031",
            severity="error",
            message=f"{store.url} has neither train/ nor val/",
            where="data.url",
            fix="name the folder that holds train/<class>/ and val/<class>/",
        )
    ]


def _check_packed(packed: Packed, where: str) -> list[Finding]:
    if {"train", "val"} & packed.classes.keys():
        return []
    return [
        Finding(
            rule="PF031",
            severity="error",
            message=f"{where} has packed neither train/ nor val/",
            where="data.url",
            fix="pack the folder that holds train/<class>/ and val/<class>/",
        )
    ]


def _check_store(address: StoreAddress, field: str, rule: str) -> list[Finding]:
    try:
        address.open(PATIENCE_S).head("plan.json")
    except StoreError as error:
        return [_store_finding(error, field, rule)]
    return []


def _check_above(address: StoreAddress) -> list[Finding]:
    """Whether the folder of the runs, or one above it, is an object: a bucket takes both, and no disk could hold a copy."""
    try:
        address.refuse_objects_above(PATIENCE_S)
    except StoreError as error:
        return [_store_finding(error, "output.url", "PF020")]
    return []


def _store_finding(error: StoreError, field: str, rule: str) -> Finding:
    message = f"{error.where}: {error.what}" if error.where else error.what
    fix = error.hint or "check the address, the endpoint and the credentials"
    return Finding(rule=rule, severity="error", message=message, where=field, fix=fix, source="store")
