"""Lint rules for what only some tables have: super pods, ports, backup addresses, network layers."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator

from launcher.findings import Finding
from launcher.ranktable.chips import Chip
from launcher.ranktable.model import SUPER_POD_VERSIONS, Device, Level, LevelAddress, RankTable

_ADD_SDID = "Add the SDID of npu-smi info -t spod-info."


def check_pods(table: RankTable, _chip: Chip) -> Iterator[Finding]:
    """RT018 and RT019: super_pod_list against server_list."""
    if table.version not in SUPER_POD_VERSIONS or not table.super_pods:
        return
    owners: dict[str, str] = {}
    ids = {server.server_id for server in table.servers}
    for pod_id, count in Counter(pod.super_pod_id for pod in table.super_pods).items():
        if count > 1 or not pod_id:
            message = f"super_pod_id {pod_id!r} appears {count} times" if pod_id else "no super_pod_id"
            yield Finding("RT019", "error", message, table.source)
    for pod in table.super_pods:
        for server_id in pod.server_ids:
            where = f"super pod {pod.super_pod_id}"
            if server_id not in ids:
                yield Finding("RT019", "error", f"server {server_id!r} is not in server_list", where)
            elif server_id in owners:
                message = f"server {server_id} is already in super pod {owners[server_id]}"
                yield Finding("RT019", "error", message, where)
            owners.setdefault(server_id, pod.super_pod_id)
    for server in table.servers:
        if server.server_id not in owners:
            yield Finding("RT019", "error", "is in no super pod", f"server {server.server_id}")
    yield from _contiguous(table, owners)


def _contiguous(table: RankTable, owners: dict[str, str]) -> Iterator[Finding]:
    closed: set[str] = set()
    previous = ""
    for server in table.servers:
        pod = owners.get(server.server_id, "")
        if pod in closed and pod != previous:
            message = f"super pod {pod} goes on here after servers of super pod {previous}"
            fix = "List one pod after the other and renumber."
            yield Finding("RT018", "error", message, f"server {server.server_id}", fix)
        closed.add(pod)
        previous = pod


def check_super_devices(table: RankTable, _chip: Chip) -> Iterator[Finding]:
    """RT020: every device of a table with super pods has its own super_device_id inside its pod."""
    if table.version not in SUPER_POD_VERSIONS:
        return
    if not table.super_pods:
        message = f"version {table.version} without super_pod_list: HCCL falls back to plain server mode"
        yield Finding("RT020", "warning", message, table.source)
    if not any(device.super_device_id for _, device in table.devices()):
        message = "no super_device_id: HCCL falls back to plain server mode"
        yield Finding("RT020", "warning", message, table.source, _ADD_SDID)
        return
    pods = {server_id: pod.super_pod_id for pod in table.super_pods for server_id in pod.server_ids}
    owners: dict[tuple[str, str], str] = {}
    for server, device in table.devices():
        where = server.place_of(device)
        if not device.super_device_id:
            message = "no super_device_id, though others have one: HCCL falls back to plain server mode"
            yield Finding("RT020", "error", message, where, _ADD_SDID)
            continue
        key = (pods.get(server.server_id, ""), device.super_device_id)
        first = owners.setdefault(key, where)
        if first != where:
            message = f"super_device_id {device.super_device_id} is also {first}"
            yield Finding("RT020", "error", message, where)


def check_ports(table: RankTable, _chip: Chip) -> Iterator[Finding]:
    """RT021: range, and no port used twice where that matters."""
    mains: dict[tuple[str, int], str] = {}
    for server, device in table.devices():
        where = server.place_of(device)
        yield from _port_ranges(device, where)
        key = (device.device_ip or where, device.device_port)
        if device.device_port and mains.setdefault(key, where) != where:
            yield Finding(
                "RT021", "error", f"device_port {device.device_port} is also used by {mains[key]}", where
            )
    for server in table.servers:
        ports = Counter(device.host_port for device in server.devices if device.host_port)
        for port, count in ports.items():
            if count > 1:
                message = f"host_port {port} is given to {count} devices"
                yield Finding("RT021", "error", message, f"server {server.server_id}")
    for server, device in table.devices():
        port = device.backup_device_port
        if port and (device.backup_device_ip, port) in mains:
            message = f"backup_device_port {port} is the main port of that card"
            yield Finding("RT021", "error", message, server.place_of(device))


def _port_ranges(device: Device, where: str) -> Iterator[Finding]:
    named = (
        ("device_port", device.device_port),
        ("backup_device_port", device.backup_device_port),
        ("host_port", device.host_port),
    )
    for name, port in named:
        if port and not 1 <= port <= 65535:
            yield Finding("RT021", "error", f"{name} {port} is not within 1 to 65535", where)
        elif 0 < port < 1024:
            yield Finding("RT021", "warning", f"{name} {port} belongs to the system (1 to 1023)", where)


def check_backups(table: RankTable, _chip: Chip) -> Iterator[Finding]:
    """RT024: a backup address is that of the other device on the same card."""
    owners = {device.device_ip: (server.server_id, device.device_id) for server, device in table.devices()}
    for server, device in table.devices():
        backup = device.backup_device_ip
        if not backup:
            continue
        owner = owners.get(backup)
        if backup == device.device_ip:
            yield Finding(
                "RT024", "error", "backup_device_ip is the device's own address", server.place_of(device)
            )
        elif owner and owner != (server.server_id, device.device_id ^ 1):
            message = (
                f"backup_device_ip {backup} is device {owner[1]} of server {owner[0]}, not of the same card"
            )
            yield Finding("RT024", "error", message, server.place_of(device))


def check_layers(table: RankTable, _chip: Chip) -> Iterator[Finding]:
    """RT026: the network layers of a 2.0 table."""
    if table.version != "2.0":
        return
    for _, device in table.devices():
        where = f"rank {device.rank_id}"
        numbers = [level.net_layer for level in device.levels]
        if not numbers or numbers[0] != 0 or numbers != sorted(set(numbers)) or numbers[-1] > 7:
            message = f"layers {numbers}: they must start at 0 and ascend, up to 7"
            yield Finding("RT026", "error", message, where)
        for level in device.levels:
            yield from _layer(level, f"{where}, layer {level.net_layer}")
        if not 0 <= device.local_id <= 64:
            yield Finding("RT026", "error", f"local_id {device.local_id} is not within 0 to 64", where)


def _layer(level: Level, where: str) -> Iterator[Finding]:
    allowed = ("TOPO_FILE_DESC",) if level.net_layer == 0 else ("TOPO_FILE_DESC", "CLOS")
    if level.net_type not in allowed:
        yield Finding("RT026", "error", f"net_type {level.net_type!r}, not {' or '.join(allowed)}", where)
    if not 1 <= len(level.net_instance_id) <= 1024:
        yield Finding("RT026", "error", "net_instance_id must have 1 to 1024 characters", where)
    if not 1 <= len(level.addresses) <= 24:
        yield Finding("RT026", "error", f"{len(level.addresses)} addresses, not 1 to 24", where)
    ports = Counter(port for address in level.addresses for port in address.ports)
    for port, count in ports.items():
        if count > 1:
            yield Finding("RT026", "error", f"port {port} has {count} addresses, but may have one", where)
    for address in level.addresses:
        if problem := _layer_address_problem(address):
            yield Finding("RT026", "error", problem, where)


def _layer_address_problem(address: LevelAddress) -> str:
    kind = address.addr_type.upper()
    if kind == "EID":
        return (
            ""
            if re.fullmatch(r"[0-9a-fA-F]{32}", address.addr)
            else f"{address.addr!r} is no EID (32 hex digits)"
        )
    if kind not in ("IPV4", "IPV6"):
        return f"addr_type {address.addr_type!r}, not EID, IPV4 or IPV6"
    try:
        version = ipaddress.ip_address(address.addr).version
    except ValueError:
        return f"{address.addr!r} is no IP address"
    return "" if kind == f"IPV{version}" else f"{address.addr} is no {address.addr_type} address"
