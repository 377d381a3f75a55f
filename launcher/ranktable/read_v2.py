"""Version 2.0: `rank_list`, each rank with its addresses in every network layer."""

from __future__ import annotations

from collections.abc import Mapping

from launcher.ranktable.lenient import Reader
from launcher.ranktable.model import (
    UNKNOWN,
    Device,
    Level,
    LevelAddress,
    RankTable,
    Server,
)


def read_v2(reader: Reader, document: Mapping[str, object]) -> RankTable:
    devices = [
        _rank_v2(reader, values, f"rank_list[{k}]")
        for k, values in enumerate(reader.objects(document, "rank_list", ""))
    ]
    reader.count(document, "rank_count", len(devices), "ranks")
    reader.number(document, "rank_count", "", 0, text=False)
    known = ("version", "status", "rank_count", "rank_list", "note")
    version = reader.text(document, "version", "")
    status = reader.text(document, "status", "")
    note = reader.text(document, "note", "")
    return RankTable(version, status, _servers_v2(devices), (), note, reader.rest(document, known, ""))


def _rank_v2(reader: Reader, values: Mapping[str, object], where: str) -> Device:
    levels = tuple(
        _level(reader, entry, f"{where}.level_list[{k}]")
        for k, entry in enumerate(reader.objects(values, "level_list", where))
    )
    known = ("rank_id", "local_id", "device_id", "device_port", "host_port", "level_list")
    return Device(
        device_id=reader.number(values, "device_id", where, UNKNOWN, text=False),
        rank_id=reader.number(values, "rank_id", where, UNKNOWN, text=False),
        local_id=reader.number(values, "local_id", where, UNKNOWN, text=False),
        device_port=reader.number(values, "device_port", where, 0, text=False),
        host_port=reader.number(values, "host_port", where, 0, text=False),
        levels=levels,
        extra=reader.rest(values, known, where),
    )


def _level(reader: Reader, values: Mapping[str, object], where: str) -> Level:
    addresses = tuple(
        _address(reader, entry, f"{where}.rank_addr_list[{k}]")
        for k, entry in enumerate(reader.objects(values, "rank_addr_list", where))
    )
    return Level(
        net_layer=reader.number(values, "net_layer", where, UNKNOWN, text=False),
        net_instance_id=reader.text(values, "net_instance_id", where),
        net_type=reader.text(values, "net_type", where),
        net_attr=reader.text(values, "net_attr", where),
        addresses=addresses,
    )


def _address(reader: Reader, values: Mapping[str, object], where: str) -> LevelAddress:
    ports = values.get("ports")
    return LevelAddress(
        addr_type=reader.text(values, "addr_type", where),
        addr=reader.text(values, "addr", where),
        ports=tuple(str(port) for port in ports) if isinstance(ports, list) else (),
        plane_id=reader.text(values, "plane_id", where),
    )


def _servers_v2(devices: list[Device]) -> tuple[Server, ...]:
    """2.0 names no servers: a new one starts where the innermost network changes or a local id comes again."""
    groups: list[list[Device]] = []
    for device in devices:
        group = groups[-1] if groups else []
        is_repeated = any(other.local_id == device.local_id for other in group)
        if not group or is_repeated or _instance_of(device) != _instance_of(group[0]):
            groups.append([])
        groups[-1].append(device)
    return tuple(Server(f"{_instance_of(group[0])}#{k}", tuple(group)) for k, group in enumerate(groups))


def _instance_of(device: Device) -> str:
    return device.levels[0].net_instance_id if device.levels else ""
