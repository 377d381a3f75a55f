"""The `group_list` of platforms that start pods, read as version 1.0. It has no rank ids: the names of pods order them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from launcher.ranktable.lenient import Reader
from launcher.ranktable.model import (
    RankTable,
    Server,
    renumbered,
)
from launcher.ranktable.read_v1 import device_v1


def read_groups(reader: Reader, document: Mapping[str, object]) -> RankTable:
    """This form has no rank ids: pods are ordered by the number at the end of their name, then devices as listed."""
    pods: list[tuple[str, Server]] = []
    groups = reader.objects(document, "group_list", "")
    reader.count(document, "group_count", len(groups), "groups")
    for g, group in enumerate(groups):
        instances = reader.objects(group, "instance_list", f"group_list[{g}]")
        reader.count(group, "instance_count", len(instances), "instances", f"group_list[{g}]")
        group_pods = [
            _instance(reader, values, f"group_list[{g}].instance_list[{k}]")
            for k, values in enumerate(instances)
        ]
        found = sum(len(server.devices) for _, server in group_pods)
        _check_device_count(reader, group, found, len(instances), f"group_list[{g}]")
        pods.extend(group_pods)
    ordered = [server for _, server in sorted(pods, key=lambda pod: _trailing_number(pod[0]))]
    status = reader.text(document, "status", "")
    if status == "completed" or ordered:
        reader.note("RT025", "info", "group_list, read as version 1.0 with ranks in pod order")
    return RankTable("1.0", status, renumbered(_joined_servers(ordered)))


def _check_device_count(
    reader: Reader, group: Mapping[str, object], found: int, pods: int, where: str
) -> None:
    """`device_count` is documented as the number of devices in the group; HCCL's own example gives it per pod."""
    declared = str(group.get("device_count", found))
    if declared not in {str(found), str(pods)}:
        reader.note("RT013", "error", f"device_count says {declared}, but there are {found} devices", where)


def _instance(reader: Reader, values: Mapping[str, object], where: str) -> tuple[str, Server]:
    devices = tuple(
        device_v1(reader, entry, f"{where}.devices[{k}]")
        for k, entry in enumerate(reader.objects(values, "devices", where))
    )
    pod = reader.text(values, "pod_name", where)
    return pod, Server(
        reader.text(values, "server_id", where), tuple(replace(device, pod=pod) for device in devices)
    )


def _trailing_number(name: str) -> tuple[int, int]:
    """Sort key: names that end in a number by that number, the others after them in file order."""
    match = re.search(r"([0-9]+)$", name)
    return (0, int(match.group(1))) if match else (1, 0)


def _joined_servers(servers: list[Server]) -> tuple[Server, ...]:
    """Pods on one machine become one server."""
    joined: dict[str, list[Server]] = {}
    for k, server in enumerate(servers):
        joined.setdefault(server.server_id or f"\0{k}", []).append(server)
    return tuple(
        replace(pods[0], devices=tuple(device for pod in pods for device in pod.devices))
        for pods in joined.values()
    )
