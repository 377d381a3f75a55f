"""The `group_list` of platforms that start pods, and of the oldest HCCL tables, read as version 1.0."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from launcher.ranktable.lenient import Reader
from launcher.ranktable.model import UNKNOWN, Device, RankTable, Server, renumbered
from launcher.ranktable.read_v1 import device_v1

_TOP_KEYS = ("status", "version", "group_count", "group_list")
_GROUP_KEYS = ("group_name", "instance_count", "device_count", "instance_list", "device_num", "server_num")
_INSTANCE_KEYS = ("pod_name", "server_id", "host_ip", "devices", "rank_id")


@dataclass(frozen=True, slots=True)
class _Instance:
    """One pod, or one device of the lab form, with the machine that it is on."""

    pod: str
    server: Server


def read_groups(reader: Reader, document: Mapping[str, object]) -> RankTable:
    """Ranks that the file gives (`deploy_mode: lab`) are kept, also wrong ones, which `lint` reports.

    Without them, pods are ordered by the number at the end of their name, then devices as listed.
    """
    instances: list[_Instance] = []
    groups = reader.objects(document, "group_list", "")
    reader.count(document, "group_count", len(groups), "groups")
    reader.rest(document, _TOP_KEYS, "")
    for g, group in enumerate(groups):
        instances.extend(_group(reader, group, f"group_list[{g}]"))
    status = reader.text(document, "status", "")
    ranked = any(d.rank_id != UNKNOWN for one in instances for d in one.server.devices)
    if ranked:
        servers = _in_rank_order(_joined_servers([one.server for one in instances]))
        reader.note("RT025", "info", "group_list with ranks, read as version 1.0: each device keeps its rank")
        return RankTable("1.0", status, servers)
    ordered = [one.server for one in sorted(instances, key=lambda one: _trailing_number(one.pod))]
    if status == "completed" or ordered:
        reader.note("RT025", "info", "group_list, read as version 1.0 with ranks in pod order")
    return RankTable("1.0", status, renumbered(_joined_servers(ordered)))


def _group(reader: Reader, group: Mapping[str, object], where: str) -> list[_Instance]:
    entries = reader.objects(group, "instance_list", where)
    reader.count(group, "instance_count", len(entries), "instances", where)
    reader.rest(group, _GROUP_KEYS, where)
    instances = [_instance(reader, values, f"{where}.instance_list[{k}]") for k, values in enumerate(entries)]
    found = sum(len(one.server.devices) for one in instances)
    _check_device_count(reader, group, found, len(instances), where)
    reader.count(group, "device_num", found, "devices", where)
    reader.count(group, "server_num", len({one.server.server_id for one in instances}), "servers", where)
    return instances


def _check_device_count(
    reader: Reader, group: Mapping[str, object], found: int, pods: int, where: str
) -> None:
    """`device_count` is documented as the number of devices in the group; HCCL's own example gives it per pod."""
    declared = str(group.get("device_count", found))
    if declared not in {str(found), str(pods)}:
        reader.note("RT013", "error", f"device_count says {declared}, but there are {found} devices", where)


def _instance(reader: Reader, values: Mapping[str, object], where: str) -> _Instance:
    pod = reader.text(values, "pod_name", where)
    devices = tuple(
        replace(device_v1(reader, entry, f"{where}.devices[{k}]"), pod=pod)
        for k, entry in enumerate(reader.objects(values, "devices", where))
    )
    server = Server(
        reader.text(values, "server_id", where),
        _ranked(reader, values, devices, where),
        host_ip=reader.text(values, "host_ip", where),
        extra=reader.rest(values, _INSTANCE_KEYS, where),
    )
    return _Instance(pod, server)


def _ranked(
    reader: Reader, values: Mapping[str, object], devices: tuple[Device, ...], where: str
) -> tuple[Device, ...]:
    """The rank of an instance is that of its one device; a device may also name its own."""
    rank = reader.number(values, "rank_id", where, UNKNOWN, text=True)
    if rank == UNKNOWN or all(device.rank_id != UNKNOWN for device in devices):
        return devices
    if len(devices) == 1:
        return (replace(devices[0], rank_id=rank),)
    message = f"rank_id {rank} is given to {len(devices)} devices"
    reader.note("RT003", "error", message, where, "Give every device an instance or a rank_id of its own.")
    return tuple(replace(device, rank_id=rank) if device.rank_id == UNKNOWN else device for device in devices)


def _trailing_number(name: str) -> tuple[int, int]:
    """Sort key: names that end in a number by that number, the others after them in file order."""
    match = re.search(r"([0-9]+)$", name)
    return (0, int(match.group(1))) if match else (1, 0)


def _joined_servers(servers: Sequence[Server]) -> tuple[Server, ...]:
    """Pods on one machine become one server."""
    joined: dict[str, list[Server]] = {}
    for k, server in enumerate(servers):
        joined.setdefault(server.server_id or f"\0{k}", []).append(server)
    return tuple(
        replace(pods[0], devices=tuple(device for pod in pods for device in pod.devices))
        for pods in joined.values()
    )


def _in_rank_order(servers: Sequence[Server]) -> tuple[Server, ...]:
    """The same devices with the same ranks, listed by rank as HCCL wants them; those without one last."""
    listed = (replace(server, devices=tuple(sorted(server.devices, key=_rank_key))) for server in servers)
    return tuple(sorted(listed, key=lambda server: min(map(_rank_key, server.devices), default=(2, 0))))


def _rank_key(device: Device) -> tuple[int, int]:
    return (device.rank_id == UNKNOWN, device.rank_id)
