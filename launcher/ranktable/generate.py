"""Make rank tables: from addresses, for a plan of unseen machines, or by joining tables. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from launcher.errors import PlanError, UsageError
from launcher.ranktable.chips import chip_of
from launcher.ranktable.model import (
    PLACEHOLDER_NOTE,
    SUPER_POD_VERSIONS,
    Device,
    RankTable,
    Server,
    SuperPod,
    renumbered,
)

PLACEHOLDER_SERVER = "placeholder-node-"


@dataclass(frozen=True, slots=True)
class DeviceAddress:
    """A device that takes part. `device_id` is the physical id; `super_device_id` is the SDID of npu-smi (A3)."""

    device_id: int
    device_ip: str = ""
    super_device_id: str = ""
    device_port: int = 0
    host_port: int = 0


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """A machine that takes part. Devices become ranks in the order given."""

    server_id: str
    devices: tuple[DeviceAddress, ...]
    host_ip: str = ""
    super_pod_id: str = ""


def generate(chip: str, nodes: Sequence[NodeAddress]) -> RankTable:
    """The table of these machines, ranks in the order given.

    910 and 910B get version 1.0. Atlas A3 gets 1.2 with super pods when every device has its SDID and every
    machine its pod, and 1.0 (server mode, no super pod) otherwise. Nothing is checked here but what
    a table can't be built without; `lint` knows the rules. Raises UsageError or PlanError.
    """
    known = chip_of(chip)
    if not known.versions:
        raise PlanError(
            f"a run on {known.title} has no rank table",
            hint="CPU ranks find each other through MS_SCHED_HOST; devices for inference do not meet.",
        )
    if known.versions == ("2.0",):
        raise PlanError(
            f"a table for {known.title} can't be generated",
            hint="Version 2.0 lists network layers that only the machine's own topology files tell. "
            "Take the platform's table; `rank-table lint` and `rank-table show` read it.",
        )
    if not nodes or not all(node.devices for node in nodes):
        raise UsageError("a rank table needs at least one machine, each with at least one device")
    pods = _super_pods(nodes) if known.name == "atlas-a3" else ()
    version = "1.2" if pods else "1.0"
    servers = renumbered(tuple(_server(node, version) for node in nodes))
    return RankTable(version=version, status="completed", servers=servers, super_pods=pods)


@lru_cache(maxsize=1)  # a dry run lints the table and shows it
def placeholder_table(chip: str, nodes: int, devices_per_node: int) -> RankTable:
    """A table with example addresses, for showing a plan of machines that can't be asked.

    It says so in `note`, in `status` and in every server id; `lint` reports it (RT012).
    """
    wide = nodes * devices_per_node > 254
    machines = tuple(_placeholder_node(chip, k, devices_per_node, wide=wide) for k in range(nodes))
    return replace(generate(chip, machines), status="initializing", note=PLACEHOLDER_NOTE)


def merge(tables: Sequence[RankTable]) -> RankTable:
    """One table of all servers in the order given, ranks renumbered from 0.

    Servers of one super pod are joined under its id. Raises UsageError when the tables differ in version,
    are not completed, or name a server twice.
    """
    if not tables:
        raise UsageError("nothing to merge")
    versions = sorted({table.version for table in tables})
    if len(versions) > 1:
        hint = "Merge tables of one version."
        raise UsageError(f"tables of different versions: {', '.join(versions)}", hint=hint)
    unfinished = next((table for table in tables if not table.completed), None)
    if unfinished:
        hint = "Wait until its writer sets status to completed."
        raise UsageError(f"status is {unfinished.status!r}", where=unfinished.source, hint=hint)
    servers = [server for table in tables for server in table.servers]
    ids: set[str] = set()
    for server in servers:
        if server.server_id in ids:
            hint = "Was one file given twice, or do two machines report the same address?"
            raise UsageError(f"server {server.server_id} appears twice", hint=hint)
        ids.add(server.server_id)
    pods = _joined_pods(pod for table in tables for pod in table.super_pods)
    extra = tuple(dict(pair for table in tables for pair in table.extra).items())
    note = next((table.note for table in tables if table.note), "")
    findings = tuple(finding for table in tables for finding in table.repaired("RT014", "RT025").found)
    return RankTable(versions[0], "completed", renumbered(tuple(servers)), pods, note, extra, found=findings)


def convert(table: RankTable, version: str) -> RankTable:
    """The same ranks in another version, and whatever rewriting repairs (types, counts) repaired.

    1.2 or 1.3 to 1.0 gives up the super pods; 1.0 to 1.2 needs them in the table. Raises PlanError for the rest.
    """
    if version == table.version:
        return table.repaired("RT013", "RT014", "RT025")
    if table.version in SUPER_POD_VERSIONS and version in SUPER_POD_VERSIONS:
        return replace(table.repaired("RT013", "RT014"), version=version)
    if table.version in SUPER_POD_VERSIONS and version == "1.0":
        servers = tuple(
            replace(s, devices=tuple(replace(d, super_device_id="") for d in s.devices))
            for s in table.servers
        )
        repaired = table.repaired("RT013", "RT014", "RT020")
        return replace(repaired, version="1.0", servers=servers, super_pods=())
    complete = table.super_pods and all(device.super_device_id for _, device in table.devices())
    if (table.version, version) == ("1.0", "1.2") and complete:
        return replace(table.repaired("RT013", "RT014", "RT025"), version="1.2")
    hint = "Version 1.2 needs super_device_id and super_pod_list, 2.0 the network layers: generate it for the chip."
    raise PlanError(f"can't make version {version} of version {table.version}", where=table.source, hint=hint)


def _server(node: NodeAddress, version: str) -> Server:
    devices = tuple(
        Device(
            device_id=device.device_id,
            device_ip=device.device_ip,
            super_device_id=device.super_device_id if version == "1.2" else "",
            device_port=device.device_port,
            host_port=device.host_port,
        )
        for device in node.devices
    )
    nic = "reserve" if version == "1.0" else ""  # as MindSpore's own generator writes it
    return Server(node.server_id, devices, host_ip=node.host_ip, host_nic_ip=nic)


def _super_pods(nodes: Sequence[NodeAddress]) -> tuple[SuperPod, ...]:
    complete = all(node.super_pod_id and all(d.super_device_id for d in node.devices) for node in nodes)
    if not complete:
        return ()
    return _joined_pods(SuperPod(node.super_pod_id, (node.server_id,)) for node in nodes)


def _joined_pods(pods: Iterable[SuperPod]) -> tuple[SuperPod, ...]:
    members: dict[str, list[str]] = {}
    for pod in pods:
        members.setdefault(pod.super_pod_id, []).extend(pod.server_ids)
    return tuple(SuperPod(pod_id, tuple(ids)) for pod_id, ids in members.items())


def _placeholder_node(chip: str, index: int, count: int, *, wide: bool) -> NodeAddress:
    super_pod = chip == "atlas-a3"
    devices = tuple(
        DeviceAddress(
            device_id=k,
            device_ip=f"2001:db8::{index:x}:{k:x}" if wide else f"198.51.100.{index * count + k + 1}",
            super_device_id=str(index * count + k) if super_pod else "",
        )
        for k in range(count)
    )
    host = f"192.0.2.{index + 1}" if index < 254 else f"2001:db8:1::{index:x}"
    pod = "placeholder-pod-0" if super_pod else ""
    return NodeAddress(
        f"{PLACEHOLDER_SERVER}{index}", devices, host_ip=host if super_pod else "", super_pod_id=pod
    )
