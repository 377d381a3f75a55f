"""Where the machines of a rank table come from: this machine, a map of addresses, or a plan."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from launcher.devices.inventory import DeviceInfo, addresses_of, check_chip, list_devices
from launcher.devices.probe import Probe
from launcher.errors import NoDevices, UsageError
from launcher.jsontext import parse_json
from launcher.ranktable.generate import DeviceAddress, NodeAddress, placeholder_table
from launcher.ranktable.model import RankTable

_MAX_DEVICE = 65


@dataclass(frozen=True, slots=True)
class Choice:
    """Which devices of a machine take part. `visible` maps logical ids to physical ids; None: ask the machine.

    `logical` is None for all of them.
    """

    logical: tuple[int, ...] | None = None
    visible: tuple[int, ...] | None = None

    def physical(self, machine: Sequence[int]) -> tuple[int, ...]:
        """Physical ids, `machine` being those of the machine by logical id. Raises UsageError."""
        visible = self.visible if self.visible is not None else tuple(machine)
        if self.logical is None:
            return visible
        outside = [k for k in self.logical if k >= len(visible)]
        if outside:
            hint = (
                "--device_num counts visible devices from 0, so with --visible_devices 4,5,6,7 "
                'all four are "[0,4)"; --devices names physical ids.'
            )
            raise UsageError(f"no device {outside[0]} among {len(visible)} visible devices", hint=hint)
        return tuple(visible[k] for k in self.logical)


def parse_interval(text: str) -> tuple[int, ...]:
    """`[0,8)` as hccl_tools writes it: from the first number, up to but without the second."""
    match = re.fullmatch(r"\s*\[\s*([0-9]+)\s*,\s*([0-9]+)\s*\)\s*", text)
    if not match:
        raise UsageError(f"not an interval of devices: {text!r}", hint='Write "[0,8)" for devices 0 to 7.')
    first, end = int(match.group(1)), int(match.group(2))
    if not first < end <= _MAX_DEVICE:
        raise UsageError(
            f"no devices in {text!r}", hint=f"The second number is larger, and at most {_MAX_DEVICE}."
        )
    return tuple(range(first, end))


def parse_ids(text: str) -> tuple[int, ...]:
    """`0,1,2`, `0-3` or a mixture, in the order written. Raises UsageError for anything else, or a repetition."""
    ids: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]+)\s*(?:-\s*([0-9]+)\s*)?", part)
        if not match:
            raise UsageError(f"not a list of devices: {text!r}", hint="Write 0-3 or 0,1,2,3.")
        first = int(match.group(1))
        last = int(match.group(2) or first)
        if not first <= last < _MAX_DEVICE:
            raise UsageError(
                f"not a range of devices: {part.strip()!r}", hint=f"Ids run from 0 to {_MAX_DEVICE - 1}."
            )
        ids.extend(range(first, last + 1))
    if len(set(ids)) != len(ids):
        raise UsageError(f"a device appears twice in {text!r}")
    return tuple(ids)


def this_machine(
    chip: str, choice: Choice, *, server_ip: str = "", super_pod: str = "", probe: Probe | None = None
) -> NodeAddress:
    """This machine with its devices' addresses, from npu-smi, hccn_tool and hccn.conf.

    Without npu-smi the addresses are enough, when the devices were named. Raises NoDevices, UsageError.
    """
    probe = probe or Probe()
    try:
        inventory = list_devices(chip, addresses=False, probe=probe)
    except NoDevices as error:
        if choice.visible is None and choice.logical is None:
            raise
        # The way of hccl_tools: believe the ids given, logical and physical alike when nothing maps them.
        physical_ids = choice.physical(range(max(choice.logical or (0,)) + 1))
        inventory = tuple(DeviceInfo(k, k, "") for k in physical_ids)
        if chip == "atlas-a3":
            raise NoDevices(error.what, where=error.where, hint="Super pods need npu-smi.") from error
    if wrong := check_chip(chip, inventory):
        raise UsageError(wrong[0].message, where="npu-smi info -m", hint=wrong[0].fix)
    by_id = {device.device_id: device for device in inventory}
    by_logical = sorted(inventory, key=lambda device: device.logical_id)
    ids = choice.physical([device.device_id for device in by_logical])
    missing = [k for k in ids if k not in by_id]
    if missing:
        have = ", ".join(str(k) for k in sorted(by_id))
        raise UsageError(f"this machine has no device {missing[0]}", hint=f"It has {have}.")
    ips = addresses_of(ids, probe)
    devices = tuple(DeviceAddress(k, ips[k], by_id[k].super_device_id) for k in ids)
    pods = {by_id[k].super_pod_id for k in ids} - {""}
    host = server_ip or own_address()
    on_a3 = chip == "atlas-a3"
    pod = super_pod or (pods.pop() if len(pods) == 1 else "")
    return NodeAddress(host, devices, host_ip=host if on_a3 else "", super_pod_id=pod if on_a3 else "")


def own_address() -> str:
    """The address other machines most likely see: what the host name means, or the one routes leave from."""
    try:
        address = socket.gethostbyname(socket.gethostname())
        if not ipaddress.ip_address(address).is_loopback:
            return address
    except OSError:
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: asks the kernel which address it would use
            return str(probe.getsockname()[0])
        except OSError:
            hint = "Give --server-ip."
            raise UsageError("can't tell this machine's address", hint=hint) from None


def from_map(text: str, *, where: str = "") -> list[NodeAddress]:
    """Machines from YAML or JSON: `{server: {device: address}}`, or a list of objects with
    server_id, devices, host_ip and super_pod_id. Machines become servers in the order written."""
    try:
        document = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader that refuses repeated keys
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        raise UsageError(f"not a map of addresses: {error.problem}", where=place) from None
    hint = "Write one block a machine:\n  10.0.0.5:\n    0: 192.168.100.101\n    1: 192.168.101.101"
    if isinstance(document, dict) and document:
        return [
            NodeAddress(str(name), _map_devices(values, where, hint)) for name, values in document.items()
        ]
    if isinstance(document, list) and document:
        return [_map_node(entry, where, hint) for entry in document]
    raise UsageError("not a map of addresses", where=where, hint=hint)


def from_plan(text: str, *, where: str = "") -> tuple[str, RankTable]:
    """The chip and placeholder table of a plan.json, or of anything that names device, nodes and devices_per_node."""
    try:
        document = parse_json(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"not JSON: {error.msg}", where=f"{where}:{error.lineno}:{error.colno}") from None
    resources = _find_resources(document)
    if resources is None:
        hint = "It needs device, nodes and devices_per_node, at the top or under resources."
        raise UsageError("not a plan", where=where, hint=hint)
    chip, nodes, devices = str(resources["device"]), resources["nodes"], resources["devices_per_node"]
    if not isinstance(nodes, int) or not isinstance(devices, int) or nodes < 1 or devices < 1:
        raise UsageError("nodes and devices_per_node must be numbers of at least 1", where=where)
    return chip, placeholder_table(chip, nodes, devices)


class _UniqueKeys(yaml.SafeLoader):
    """SafeLoader that refuses a key twice: a machine that silently disappears is the worst kind of mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        keys: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in keys:
                raise yaml.MarkedYAMLError(problem=f"{key} appears twice", problem_mark=key_node.start_mark)
            keys.add(key)
        return super().construct_mapping(node, deep=deep)


def _map_node(entry: object, where: str, hint: str) -> NodeAddress:
    if not isinstance(entry, dict) or "server_id" not in entry or "devices" not in entry:
        raise UsageError("an entry needs server_id and devices", where=where, hint=hint)
    known = ("server_id", "devices", "host_ip", "super_pod_id")
    unknown = [key for key in entry if key not in known]
    if unknown:
        raise UsageError(f"unknown key {unknown[0]!r}", where=where, hint=f"Known: {', '.join(known)}.")
    return NodeAddress(
        str(entry["server_id"]),
        _map_devices(entry["devices"], where, hint),
        host_ip=str(entry.get("host_ip", "")),
        super_pod_id=str(entry.get("super_pod_id", "")),
    )


def _map_devices(values: object, where: str, hint: str) -> tuple[DeviceAddress, ...]:
    if isinstance(values, dict) and values:
        return tuple(DeviceAddress(_device_id(key, where), str(address)) for key, address in values.items())
    if isinstance(values, list) and values and all(isinstance(entry, dict) for entry in values):
        return tuple(_map_device(entry, where) for entry in values)
    raise UsageError("a machine needs its devices: number and address", where=where, hint=hint)


def _map_device(entry: Mapping[str, object], where: str) -> DeviceAddress:
    known = ("device_id", "device_ip", "super_device_id")
    unknown = [key for key in entry if key not in known]
    if unknown or "device_id" not in entry:
        message = f"unknown key {unknown[0]!r}" if unknown else "a device needs device_id"
        raise UsageError(message, where=where, hint=f"Known: {', '.join(known)}.")
    ip, sdid = str(entry.get("device_ip", "")), str(entry.get("super_device_id", ""))
    return DeviceAddress(_device_id(entry["device_id"], where), ip, sdid)


def _device_id(value: object, where: str) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,3}", str(value)):
        raise UsageError(f"device {value!r} is no number", where=where)
    return int(str(value))


def _find_resources(document: object) -> Mapping[str, object] | None:
    if not isinstance(document, dict):
        return None
    if all(key in document for key in ("device", "nodes", "devices_per_node")):
        return document
    for key in ("resources", "spec", "job"):
        found = _find_resources(document.get(key))
        if found is not None:
            return found
    return None


def read_text(path: Path) -> str:
    """The file's text. Raises UsageError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(f"can't be read: {reason}", where=str(path)) from None
