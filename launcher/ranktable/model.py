"""The rank table as a frozen value, and its text: versions 1.0, 1.2, 1.3 and 2.0.

Numbers are numbers here, whatever the file spells: 1.x write every value as a string, 2.0 writes
numbers. `device_id` is the *physical* id (N of /dev/davinciN); the logical id that a process is started
with (DEVICE_ID) is the position among the visible devices and never appears in a table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from launcher.disk import replacing, write_all
from launcher.errors import UsageError
from launcher.findings import Finding
from launcher.portable import set_mode

UNKNOWN = -1
"""In place of an id that is missing in the file, or is no number there."""

SUPER_POD_VERSIONS = ("1.2", "1.3")
"""Versions with super pods. 1.3 is what some cloud clusters write: 1.2 with keys of their own."""

PLACEHOLDER_NOTE = (
    "PLACEHOLDER ADDRESSES, made for a plan: no machine was asked. HCCL would refuse this table."
)

Extra = tuple[tuple[str, str], ...]
"""Keys of a file that the model has no field for, each with its value as JSON text."""


@dataclass(frozen=True, slots=True)
class LevelAddress:
    """One address of a device in one network layer (2.0)."""

    addr_type: str
    addr: str
    ports: tuple[str, ...] = ()
    plane_id: str = ""


@dataclass(frozen=True, slots=True)
class Level:
    """What a device has in one network layer (2.0)."""

    net_layer: int
    net_instance_id: str
    net_type: str
    net_attr: str = ""
    addresses: tuple[LevelAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class Device:
    """One device, which is one rank. Ports are 0 and texts empty where the table has none."""

    device_id: int
    device_ip: str = ""
    rank_id: int = UNKNOWN
    super_device_id: str = ""
    device_port: int = 0
    backup_device_ip: str = ""
    backup_device_port: int = 0
    host_port: int = 0
    local_id: int = UNKNOWN
    levels: tuple[Level, ...] = ()
    extra: Extra = ()
    pod: str = field(default="", compare=False)  # of the group_list form, not written


@dataclass(frozen=True, slots=True)
class Server:
    """One machine with the devices that take part, in rank order."""

    server_id: str
    devices: tuple[Device, ...]
    host_ip: str = ""
    host_nic_ip: str = ""
    extra: Extra = ()

    @property
    def place(self) -> str:
        """For findings."""
        return f"server {self.server_id}"

    def place_of(self, device: Device) -> str:
        """For findings on one device."""
        return f"{self.place}, device {device.device_id}"


@dataclass(frozen=True, slots=True)
class SuperPod:
    """Servers that one high-speed fabric joins (1.2)."""

    super_pod_id: str
    server_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RankTable:
    """Which device of which server is which rank."""

    version: str
    status: str
    servers: tuple[Server, ...]
    super_pods: tuple[SuperPod, ...] = ()
    note: str = ""
    extra: Extra = ()
    source: str = field(default="", compare=False)
    found: tuple[Finding, ...] = field(default=(), compare=False)
    """What reading the file found that the fields can't hold; `where` is a place in the document."""

    @property
    def rank_count(self) -> int:
        """Devices over all servers."""
        return sum(len(server.devices) for server in self.servers)

    @property
    def completed(self) -> bool:
        """Whether its writer says that it may be used. 2.0 may leave the word out."""
        return self.status == "completed" or (self.status == "" and self.version == "2.0")

    @property
    def unwritten(self) -> bool:
        """Its writer has put nothing but a first status into it: there is nothing to check."""
        return not self.completed and self.rank_count == 0

    @property
    def is_placeholder(self) -> bool:
        """Made for a plan of machines nobody has looked at: its addresses are examples."""
        return self.note == PLACEHOLDER_NOTE

    def devices(self) -> Iterator[tuple[Server, Device]]:
        """Every device with its server, in the order of the table."""
        for server in self.servers:
            for device in server.devices:
                yield server, device

    def server(self, server_id: str) -> Server | None:
        """The first server with this id."""
        return next((server for server in self.servers if server.server_id == server_id), None)

    def of_pod(self, name: str) -> tuple[Device, ...]:
        """The devices of one pod of a group_list, by logical id: 0 is the first."""
        return tuple(device for _, device in self.devices() if device.pod == name)

    def repaired(self, *rules: str) -> RankTable:
        """The same table without the findings of these rules, for when writing it again puts them right."""
        return replace(self, found=tuple(finding for finding in self.found if finding.rule not in rules))

    def to_json(self) -> str:
        """The file's text: the same table always gives the same bytes, one device a line, newline at the end."""
        return _text_v2(self) if self.version == "2.0" else _text_v1(self)

    def write(self, path: Path) -> None:
        """Replace `path` with this table: complete or not at all, readable by everybody. Raises UsageError."""
        try:
            with replacing(path) as handle:
                set_mode(handle, 0o644)  # whatever the umask
                write_all(handle, self.to_json().encode())
        except OSError as error:
            raise UsageError(f"can't be written: {error.strerror}", where=str(path)) from None


def renumbered(servers: tuple[Server, ...]) -> tuple[Server, ...]:
    """The same servers with ranks 0..N-1 in the order given."""
    result: list[Server] = []
    rank = 0
    for server in servers:
        devices = tuple(replace(device, rank_id=rank + k) for k, device in enumerate(server.devices))
        rank += len(devices)
        result.append(replace(server, devices=devices))
    return tuple(result)


def _with_extra(values: Mapping[str, object], extra: Extra) -> dict[str, object]:
    return {**{key: value for key, value in values.items() if value != ""}, **_unpacked(extra)}


def _unpacked(extra: Extra) -> dict[str, object]:
    return {key: json.loads(text) for key, text in extra}


def _number(value: int, absent: int) -> str:
    return "" if value == absent else str(value)


def _device_v1(device: Device) -> dict[str, object]:
    values = {
        "device_id": _number(device.device_id, UNKNOWN),
        "super_device_id": device.super_device_id,
        "device_ip": device.device_ip,
        "device_port": _number(device.device_port, 0),
        "backup_device_ip": device.backup_device_ip,
        "backup_device_port": _number(device.backup_device_port, 0),
        "host_port": _number(device.host_port, 0),
        "rank_id": _number(device.rank_id, UNKNOWN),
    }
    return _with_extra(values, device.extra)


def _server_v1(server: Server) -> str:
    head: dict[str, object] = {"server_id": server.server_id}
    head |= _with_extra({"host_ip": server.host_ip, "host_nic_ip": server.host_nic_ip}, server.extra)
    keys = ",\n     ".join(_member(key, value) for key, value in head.items())
    lines = ",\n       ".join(json.dumps(_device_v1(device)) for device in server.devices)
    return f'    {{{keys},\n     "device": [\n       {lines}]}}'


def _text_v1(table: RankTable) -> str:
    head: dict[str, object] = {"version": table.version, "status": table.status}
    if table.note:
        head = {"note": table.note, **head}
    head = {**head, "server_count": str(len(table.servers)), **_unpacked(table.extra)}
    parts = [f"  {_member(key, value)}" for key, value in head.items()]
    parts.append('  "server_list": [\n' + ",\n".join(_server_v1(server) for server in table.servers) + "]")
    if table.super_pods:
        parts.append('  "super_pod_list": [\n' + ",\n".join(_pod_v1(pod) for pod in table.super_pods) + "]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _pod_v1(pod: SuperPod) -> str:
    servers = [{"server_id": server_id} for server_id in pod.server_ids]
    return "    " + json.dumps({"super_pod_id": pod.super_pod_id, "server_list": servers})


def _text_v2(table: RankTable) -> str:
    head: dict[str, object] = {"note": table.note} if table.note else {}
    head |= {"status": table.status} if table.status else {}
    head |= {"version": "2.0", "rank_count": table.rank_count, **_unpacked(table.extra)}
    parts = [f"  {_member(key, value)}" for key, value in head.items()]
    ranks = (f"    {json.dumps(_device_v2(device))}" for _, device in table.devices())
    parts.append('  "rank_list": [\n' + ",\n".join(ranks) + "]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _device_v2(device: Device) -> dict[str, object]:
    values: dict[str, object] = {
        "rank_id": device.rank_id,
        "local_id": device.local_id,
        "device_id": device.device_id,
        "device_port": device.device_port or "",
        "host_port": device.host_port or "",
        "level_list": [_level_v2(level) for level in device.levels],
    }
    return _with_extra(values, device.extra)


def _level_v2(level: Level) -> dict[str, object]:
    return {
        "net_layer": level.net_layer,
        "net_instance_id": level.net_instance_id,
        "net_type": level.net_type,
        "net_attr": level.net_attr,
        "rank_addr_list": [_address_v2(address) for address in level.addresses],
    }


def _address_v2(address: LevelAddress) -> dict[str, object]:
    values: dict[str, object] = {"addr_type": address.addr_type, "addr": address.addr}
    values["ports"] = list(address.ports)
    return values | ({"plane_id": address.plane_id} if address.plane_id else {})


def _member(key: str, value: object) -> str:
    return f"{json.dumps(key)}: {json.dumps(value)}"
