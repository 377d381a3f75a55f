"""Versions 1.0, 1.2 and 1.3: `server_list`, each server with its devices, and super pods."""

from __future__ import annotations

from collections.abc import Mapping

from launcher.ranktable.lenient import Reader
from launcher.ranktable.model import (
    SUPER_POD_VERSIONS,
    UNKNOWN,
    Device,
    RankTable,
    Server,
    SuperPod,
)

_DEVICE_KEYS = (
    "device_id",
    "device_ip",
    "rank_id",
    "super_device_id",
    "device_port",
    "backup_device_ip",
    "backup_device_port",
    "host_port",
)
_SERVER_KEYS = ("server_id", "host_ip", "host_nic_ip", "device")


def read_v1(reader: Reader, document: Mapping[str, object]) -> RankTable:
    version = reader.text(document, "version", "")
    servers = tuple(
        _server_v1(reader, values, f"server_list[{k}]", version)
        for k, values in enumerate(reader.objects(document, "server_list", ""))
    )
    reader.count(document, "server_count", len(servers), "servers")
    if "server_count" in document:
        reader.text(document, "server_count", "")
    pods: tuple[SuperPod, ...] = ()
    if "super_pod_list" in document:
        entries = reader.objects(document, "super_pod_list", "")
        pods = tuple(_pod(reader, values, f"super_pod_list[{k}]") for k, values in enumerate(entries))
    known = ("version", "status", "server_count", "server_list", "super_pod_list", "note")
    status = reader.text(document, "status", "")
    note = reader.text(document, "note", "")
    return RankTable(version, status, servers, pods, note, reader.rest(document, known, ""))


def _server_v1(reader: Reader, values: Mapping[str, object], where: str, version: str) -> Server:
    entries = reader.objects(values, "device", where)
    devices = tuple(device_v1(reader, entry, f"{where}.device[{k}]") for k, entry in enumerate(entries))
    if version in SUPER_POD_VERSIONS:
        for k, entry in enumerate(entries):
            _refuse_empty_super_device(reader, entry, f"{where}.device[{k}]")
    return Server(
        reader.text(values, "server_id", where),
        devices,
        host_ip=reader.text(values, "host_ip", where),
        host_nic_ip=reader.text(values, "host_nic_ip", where),
        extra=reader.rest(values, _SERVER_KEYS, where),
    )


def device_v1(reader: Reader, values: Mapping[str, object], where: str) -> Device:
    return Device(
        device_id=reader.number(values, "device_id", where, UNKNOWN, text=True),
        device_ip=reader.text(values, "device_ip", where),
        rank_id=reader.number(values, "rank_id", where, UNKNOWN, text=True),
        super_device_id=reader.text(values, "super_device_id", where),
        device_port=reader.number(values, "device_port", where, 0, text=True),
        backup_device_ip=reader.text(values, "backup_device_ip", where),
        backup_device_port=reader.number(values, "backup_device_port", where, 0, text=True),
        host_port=reader.number(values, "host_port", where, 0, text=True),
        extra=reader.rest(values, _DEVICE_KEYS, where),
    )


def _refuse_empty_super_device(reader: Reader, values: Mapping[str, object], where: str) -> None:
    """A missing id means server mode. An empty one is a mistake of the file's writer, which HCCL refuses."""
    if "super_device_id" in values and values["super_device_id"] in ("", None):
        fix = (
            "Add the SDID of npu-smi info -t spod-info, or leave the key out on every device for server mode."
        )
        reader.note("RT020", "error", "super_device_id is empty", where, fix)


def _pod(reader: Reader, values: Mapping[str, object], where: str) -> SuperPod:
    entries = reader.objects(values, "server_list", where)
    ids = tuple(
        reader.text(entry, "server_id", f"{where}.server_list[{k}]") for k, entry in enumerate(entries)
    )
    return SuperPod(reader.text(values, "super_pod_id", where), ids)
