"""The devices of this machine: which there are, their addresses, who uses them, and how to take them.

Two numbers name a device: the *physical* id (N of /dev/davinciN, used in rank tables and locks) and the *logical* id
(position among the devices this process can see, which is what DEVICE_ID means). In a container that was given cards 4-7 the logical ids are 0-3.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.devices.lockfiles import Owner
from launcher.devices.lockfolder import default_lock_dir
from launcher.devices.locks import DeviceLocks, HeldDevices
from launcher.devices.npu import (
    ChipRow,
    chip_named,
    parse_address,
    parse_hccn_conf,
    parse_health,
    parse_mapping,
    parse_super_pod,
)
from launcher.devices.probe import Probe
from launcher.devices.processes import DeviceProcess, processes_of
from launcher.errors import NoDevices
from launcher.findings import Finding
from launcher.threads import Workers

__all__ = [
    "DeviceInfo",
    "DeviceLocks",
    "DeviceProcess",
    "HeldDevices",
    "Owner",
    "Probe",
    "addresses_of",
    "check_addresses",
    "check_chip",
    "check_devices",
    "default_lock_dir",
    "list_devices",
]


_CARDS_OF_A_BOARD = 8
MISSING = "missing"
"""The health of a device that one table of npu-smi has and the other lacks."""


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One device. `npu_id` and `chip_id` are how npu-smi calls it; -1 for a CPU slot.

    `numa_node` is the kernel's number of the node that its bus is connected to, -1 where it is not known.
    """

    device_id: int
    logical_id: int
    name: str
    health: str = "OK"
    device_ip: str = ""
    npu_id: int = -1
    chip_id: int = -1
    super_device_id: str = ""
    super_pod_id: str = ""
    numa_node: int = -1
    processes: tuple[DeviceProcess, ...] = ()


def list_devices(chip: str, *, addresses: bool = True, probe: Probe | None = None) -> tuple[DeviceInfo, ...]:
    """The devices of this machine by physical id. For `cpu`, one slot a core, numbered from 0.

    `addresses` asks `hccn_tool` too (then hccn.conf). Blocks while the tools run. Raises NoDevices when
    npu-smi is missing or fails; a missing address is empty, not an error.
    """
    if chip == "cpu":
        return tuple(DeviceInfo(k, k, "CPU slot") for k in range(os.cpu_count() or 1))
    probe = probe or Probe()
    rows = parse_mapping(probe.run(probe.npu_smi, "info", "-m"))
    if not rows:
        raise NoDevices("lists no device", where="npu-smi info -m", hint="Is the driver loaded?")
    table = probe.run(probe.npu_smi, "info")
    health = {(row.npu_id, row.chip_id): row for row in parse_health(table)}
    physical = _physical_ids(rows, {key: row.physical_id for key, row in health.items()}, probe)
    processes = processes_of(table, rows, physical, probe)
    with Workers(max_workers=16) as pool:
        ips = addresses_of(physical, probe) if addresses else {}
        pods = list(pool.map(lambda row: _super_pod(row, probe) if chip == "atlas-a3" else ("", ""), rows))
    devices = []
    for row, device_id, (sdid, pod) in zip(rows, physical, pods, strict=True):
        known = health.get((row.npu_id, row.chip_id))
        devices.append(
            DeviceInfo(
                device_id=device_id,
                logical_id=row.logical_id,
                name=row.name or (known.name if known else ""),
                health=known.health if known else MISSING if health else "unknown",
                device_ip=ips.get(device_id, ""),
                npu_id=row.npu_id,
                chip_id=row.chip_id,
                super_device_id=sdid,
                super_pod_id=pod,
                numa_node=_numa_node(known.bus_id, probe) if known else -1,
                processes=processes.get(device_id, ()),
            )
        )
    return tuple(sorted(devices, key=lambda device: device.device_id))


def addresses_of(ids: Sequence[int], probe: Probe | None = None) -> dict[int, str]:
    """Network card addresses by physical id, as printed; empty where neither hccn_tool nor hccn.conf knows one."""
    probe = probe or Probe()
    with Workers(max_workers=16) as pool:
        return dict(zip(ids, pool.map(lambda k: _address(k, probe), ids), strict=True))


def check_addresses(ids: Sequence[int], probe: Probe | None = None) -> list[Finding]:
    """DV006: devices for which hccn.conf and the network card itself give different addresses."""
    probe = probe or Probe()
    try:
        configured = parse_hccn_conf(probe.hccn_conf.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return []
    findings: list[Finding] = []
    for device_id, address in addresses_of([k for k in ids if k in configured], probe).items():
        if address != configured[device_id]:
            message = f"{probe.hccn_conf} says {configured[device_id]}, the network card says {address}"
            fix = f"The card counts. Correct the file, or set the card: hccn_tool -i {device_id} -ip -s ..."
            findings.append(Finding("DV006", "warning", message, f"device {device_id}", fix))
    return findings


def check_chip(chip: str, devices: Sequence[DeviceInfo]) -> list[Finding]:
    """DV005: npu-smi names another chip than `chip`. Names that several chips have say nothing.

    Two devices on one card are an Atlas A3, whose name alone doesn't tell.
    """
    names = {device.name: chip_named(device.name) for device in devices}
    two_each = any(device.chip_id > 0 for device in devices)
    for name, named in names.items():
        known = named or ("atlas-a3" if two_each and "910" in name else "")
        if known and known != chip:
            message = f"npu-smi names {name!r}, which is {known}, but {chip} was asked for"
            return [Finding("DV005", "error", message, "resources.device", f"Ask for {known}.")]
    return []


def check_devices(
    devices: Sequence[DeviceInfo], ids: Sequence[int], own: Sequence[int] = ()
) -> list[Finding]:
    """Why these physical ids can't be used now: missing, unhealthy, in use by a foreign process.

    `own` are pids that may be there: those of this run.
    """
    by_id = {device.device_id: device for device in devices}
    findings: list[Finding] = []
    for k in ids:
        device = by_id.get(k)
        where = f"device {k}"
        if device is None:
            have = ", ".join(str(other) for other in by_id) or "none"
            findings.append(Finding("DV001", "error", "not on this machine", where, f"It has: {have}."))
            continue
        if device.health == MISSING:
            message = "npu-smi info -m lists it, npu-smi info does not: its health is not known"
            fix = "The driver has lost it, most likely: look at `dmesg`, or use another device."
            findings.append(Finding("DV004", "error", message, where, fix))
        elif device.health not in ("OK", "unknown"):
            fix = f"Look at `npu-smi info -t health -i {device.npu_id} -c {device.chip_id}`, or use another device."
            findings.append(Finding("DV002", "error", f"health is {device.health}", where, fix))
        for process in device.processes:
            if process.pid not in own:
                name = f" ({process.name})" if process.name else ""
                message = f"in use by process {process.pid}{name}"
                fix = f"Wait for it, or see what it is: ps -fp {process.pid}"
                findings.append(Finding("DV003", "error", message, where, fix))
    return findings


def _physical_ids(
    rows: Sequence[ChipRow], from_health: dict[tuple[int, int], int | None], probe: Probe
) -> list[int]:
    """Physical ids of the rows: as npu-smi prints them, else the numbers of /dev/davinci*, else card numbers.

    910 and 910B have one device a card, and the cards of a board of 8 are numbered as the devices are. Other numbers of
    cards are no device ids, and nothing tells which device they are: NoDevices.
    """
    printed = [
        row.physical_id if row.physical_id is not None else from_health.get((row.npu_id, row.chip_id))
        for row in rows
    ]
    known = [k for k in printed if k is not None]
    if len(known) == len(rows):
        return known
    nodes = sorted(
        int(match.group(1))
        for path in probe.dev_dir.glob("davinci*")
        if (match := re.fullmatch(r"davinci([0-9]+)", path.name))
    )
    logical = sorted(row.logical_id for row in rows)
    if len(nodes) == len(rows):
        of_logical = dict(zip(logical, nodes, strict=True))
        return [of_logical[row.logical_id] for row in rows]
    if all(row.chip_id == 0 and row.npu_id < _CARDS_OF_A_BOARD for row in rows):
        return [row.npu_id for row in rows]
    cards = ", ".join(str(k) for k in sorted({row.npu_id for row in rows}))
    raise NoDevices(
        f"prints no physical ids, {probe.dev_dir} has {len(nodes)} of the {len(rows)} devices, and cards {cards} are no device ids",
        where="npu-smi info -m",
        hint="Mount the /dev/davinciN of all devices into the container, or update the driver's tools.",
    )


def _address(device_id: int, probe: Probe) -> str:
    with contextlib.suppress(NoDevices):
        address = parse_address(probe.run(probe.hccn_tool, "-i", str(device_id), "-ip", "-g"))
        if address:
            return address
    try:
        return parse_hccn_conf(probe.hccn_conf.read_text(encoding="utf-8")).get(device_id, "")
    except OSError:
        return ""


def _numa_node(bus_id: str, probe: Probe) -> int:
    try:
        return int((probe.pci_dir / bus_id / "numa_node").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return -1


def _super_pod(row: ChipRow, probe: Probe) -> tuple[str, str]:
    where = ("-i", str(row.npu_id), "-c", str(row.chip_id))
    with contextlib.suppress(NoDevices):
        return parse_super_pod(probe.run(probe.npu_smi, "info", "-t", "spod-info", *where))
    return "", ""
