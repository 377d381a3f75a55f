"""Read a rank table of any known form: 1.0, 1.2, 2.0, or the `group_list` of platforms that start pods (converted to 1.0).

Reading is lenient and remembers: a number where a string belongs, a wrong count or an unknown key becomes a
`Quirk` of the table, and `lint` reports it. Only what is no rank table at all raises here.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from launcher.errors import PlanError, UsageError
from launcher.ranktable.lenient import Reader
from launcher.ranktable.model import (
    UNKNOWN,
    Device,
    Level,
    LevelAddress,
    RankTable,
    Server,
    SuperPod,
    renumbered,
)

FILE_NAMES = ("jobstart_hccl.json", "hccl.json", "rank_table.json")
"""What a platform calls its table inside a folder, tried in this order."""

WaitCallback = Callable[[str], None]

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
_MAX_BYTES = 1 << 30  # HCCL's own limit


def load(path: Path) -> RankTable:
    """Read `path`, a file or the folder a platform puts its table into. Whatever its status.

    Raises UsageError when there is no such file, when it is not JSON, or when it has none of
    `server_list`, `group_list` and `rank_list`.
    """
    file: Path | None = path
    try:
        file = _file_in(path)
        if file is None:
            raise UsageError("no rank table here", where=str(path), hint=_expected_in(path))
        if file.stat().st_size > _MAX_BYTES:
            raise UsageError("a rank table may not be larger than 1 GiB", where=str(file))
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"not UTF-8 text: {error.reason} at byte {error.start}", where=str(file)) from None
    except OSError as error:
        raise UsageError(f"can't be read: {error.strerror}", where=str(file)) from None
    return parse(text, where=str(file))


def parse(text: str, *, where: str = "") -> RankTable:
    """Read a table from its text. Raises UsageError as `load` does."""
    reader = Reader(where)
    try:
        document = json.loads(text, object_pairs_hook=reader.pairs)
    except json.JSONDecodeError as error:
        place = f"{where}:{error.lineno}:{error.colno}" if where else f"line {error.lineno}"
        hint = "The file is empty: is its writer still at work?" if not text.strip() else ""
        raise UsageError(f"not JSON: {error.msg}", where=place, hint=hint) from None
    except (
        RecursionError,
        ValueError,
    ) as error:  # nested beyond reason, or a number with thousands of digits
        raise UsageError(f"not a rank table: {error}", where=where) from None
    if isinstance(document, dict):
        for key, read in (("server_list", _read_v1), ("group_list", _read_groups), ("rank_list", _read_v2)):
            if isinstance(document.get(key), list):
                return replace(read(reader, document), source=where, quirks=reader.finished())
    hint = "A rank table has a list named server_list (1.0, 1.2), rank_list (2.0) or group_list (pods)."
    raise UsageError("not a rank table", where=where, hint=hint)


def wait(
    path: Path, timeout_s: float, on_wait: WaitCallback | None = None, *, poll_s: float = 1.0
) -> RankTable:
    """Block until the platform has completed the table at `path` (file or folder), then return it.

    `on_wait` gets a sentence saying what is missing, whenever that changes. Raises PlanError after
    `timeout_s`. A half-written file counts as not there yet.
    """
    deadline = time.monotonic() + timeout_s
    said = ""
    while True:
        try:
            table = load(path)
            if table.completed:
                return table
            missing = f"{table.source}: status is {table.status!r}, not 'completed'"
        except UsageError as error:
            missing = f"{error.where or path}: {error.what}"
        if on_wait is not None and missing != said:
            on_wait(missing)
            said = missing
        left = deadline - time.monotonic()
        if left <= 0:
            raise PlanError(
                f"no completed rank table after {timeout_s:g} s: {missing}",
                where=str(path),
                hint="The platform writes it once every machine of the job runs; look for one that did not start.",
            )
        time.sleep(min(poll_s, left))


def _file_in(path: Path) -> Path | None:
    if not path.is_dir():
        return path if path.exists() else None
    named = (path / name for name in FILE_NAMES)
    found = next((file for file in named if file.is_file()), None)
    if found is not None:
        return found
    others = sorted(path.glob("*.json"))
    return others[0] if len(others) == 1 else None


def _expected_in(path: Path) -> str:
    if path.is_dir():
        return f"Expected {', '.join(FILE_NAMES)} or exactly one .json file in this folder."
    return "Give the file, or the folder that RANK_TABLE_FILE names."


def _read_v1(reader: Reader, document: Mapping[str, object]) -> RankTable:
    servers = tuple(
        _server_v1(reader, values, f"server_list[{k}]")
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
    version = reader.text(document, "version", "")
    status = reader.text(document, "status", "")
    note = reader.text(document, "note", "")
    return RankTable(version, status, servers, pods, note, reader.rest(document, known, ""))


def _server_v1(reader: Reader, values: Mapping[str, object], where: str) -> Server:
    devices = tuple(
        _device_v1(reader, entry, f"{where}.device[{k}]")
        for k, entry in enumerate(reader.objects(values, "device", where))
    )
    return Server(
        reader.text(values, "server_id", where),
        devices,
        host_ip=reader.text(values, "host_ip", where),
        host_nic_ip=reader.text(values, "host_nic_ip", where),
        extra=reader.rest(values, _SERVER_KEYS, where),
    )


def _device_v1(reader: Reader, values: Mapping[str, object], where: str) -> Device:
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


def _pod(reader: Reader, values: Mapping[str, object], where: str) -> SuperPod:
    entries = reader.objects(values, "server_list", where)
    ids = tuple(
        reader.text(entry, "server_id", f"{where}.server_list[{k}]") for k, entry in enumerate(entries)
    )
    return SuperPod(reader.text(values, "super_pod_id", where), ids)


def _read_groups(reader: Reader, document: Mapping[str, object]) -> RankTable:
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
        _device_v1(reader, entry, f"{where}.devices[{k}]")
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


def _read_v2(reader: Reader, document: Mapping[str, object]) -> RankTable:
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
    servers: list[Server] = []
    current: list[Device] = []

    def close() -> None:
        if current:
            servers.append(Server(f"{_instance_of(current[0])}#{len(servers)}", tuple(current)))
            current.clear()

    for device in devices:
        again = any(other.local_id == device.local_id for other in current)
        if current and (again or _instance_of(device) != _instance_of(current[0])):
            close()
        current.append(device)
    close()
    return tuple(servers)


def _instance_of(device: Device) -> str:
    return device.levels[0].net_instance_id if device.levels else ""
