"""Lint rules on the addresses of servers and devices."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator

from launcher.findings import Finding, Severity
from launcher.ranktable.chips import Chip
from launcher.ranktable.model import RankTable

_EXAMPLES = tuple(
    ipaddress.ip_network(text)
    for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
)


def check_repeated_addresses(table: RankTable, _chip: Chip) -> Iterator[Finding]:
    owners: dict[str, tuple[str, int]] = {}
    for server, device in table.devices():
        if not device.device_ip or not _is_address(device.device_ip):
            continue
        me = (server.server_id, device.device_id)
        first = owners.setdefault(device.device_ip, me)
        if first != me:
            message = f"{device.device_ip} is also device {first[1]} of server {first[0]}"
            fix = "Read the addresses again: hccn_tool -i N -ip -g."
            yield Finding("RT006", "error", message, server.place_of(device), fix)


def check_server_ids(table: RankTable, _chip: Chip) -> Iterator[Finding]:
    counts = Counter(server.server_id for server in table.servers)
    several = len(table.servers) > 1
    for server_id, count in counts.items():
        where = f"server {server_id}"
        if count > 1 and server_id:
            yield Finding(
                "RT008", "error", f"appears {count} times", where, "Every machine needs its own id."
            )
        if not 1 <= len(server_id) <= 64:
            message = (
                f"server_id has {len(server_id)} characters, not 1 to 64" if server_id else "no server_id"
            )
            yield Finding("RT009", "error", message, table.source if not server_id else where)
        if _is_loopback(server_id):
            severity: Severity = "error" if several else "info"
            message = "is a loopback address, the same on every machine"
            fix = "Generate with --server-ip and the address that the other machines see."
            yield Finding("RT010", severity, message, where, fix)


def check_addresses(table: RankTable, chip: Chip) -> Iterator[Finding]:
    if table.is_placeholder:
        yield Finding("RT012", "error", "every address is a placeholder, made for a plan", table.source)
        return
    needed = _addresses_needed(table, chip)
    for server, device in table.devices():
        where = server.place_of(device)
        if not device.device_ip:
            if needed:
                fix = "Read it with hccn_tool -i N -ip -g or from hccn.conf."
                yield Finding("RT011", "error", f"no device_ip: {needed}", where, fix)
        elif problem := address_problem(device.device_ip):
            yield Finding("RT012", "error", f"device_ip {device.device_ip} {problem}", where)


def check_families(table: RankTable, _chip: Chip) -> Iterator[Finding]:
    """RT029: of two families the one with fewer addresses is named, by its first device."""
    families: dict[int, list[tuple[str, str]]] = {4: [], 6: []}
    for server, device in table.devices():
        if _is_address(device.device_ip):
            family = ipaddress.ip_address(device.device_ip).version
            families[family].append((server.place_of(device), device.device_ip))
    if all(families.values()) and not table.is_placeholder:
        few, many = sorted(families, key=lambda family: len(families[family]))
        where, address = families[few][0]
        message = f"device_ip {address} is IPv{few}, as {len(families[few])} of {len(families[4]) + len(families[6])} are; the others are IPv{many}"
        fix = "Give every card an address of one family; env.HCCL_SOCKET_FAMILY says which one HCCL takes."
        yield Finding("RT029", "error", message, where, fix)


def _addresses_needed(table: RankTable, chip: Chip) -> str:
    """Why device addresses are required here; empty when they are not."""
    if chip.name == "cpu" or table.version == "2.0":
        return ""
    if chip.address_needed_on_one_server:
        return f"{chip.title} always needs it"
    if table.version == "1.2":
        return "needed between super pods" if len(table.super_pods) > 1 else ""
    return "needed as soon as there are several servers" if len(table.servers) > 1 else ""


def check_host_addresses(table: RankTable, _chip: Chip) -> Iterator[Finding]:
    for server in table.servers:
        if server.host_ip and not _is_ipv4(server.host_ip) and not table.is_placeholder:
            message = f"host_ip {server.host_ip!r} is no IPv4 address"
            yield Finding(
                "RT022", "warning", message, server.place, "HCCL's operator retry stays off without it."
            )


def address_problem(text: str) -> str:
    """The problem with a device address, as the end of a sentence; empty for a good address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        unset = not text.strip("-.:*xX ")
        return "is a placeholder: the card is not configured" if unset else "is no IP address"
    if any(address in network for network in _EXAMPLES):
        return "is an example address, reserved for documentation"
    if address.is_unspecified or address.is_loopback or address.is_multicast:
        return "can't be the address of a network card"
    return ""


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_loopback(server_id: str) -> bool:
    if server_id == "localhost" or server_id.startswith("localhost."):
        return True
    try:
        return ipaddress.ip_address(server_id).is_loopback
    except ValueError:
        return False
