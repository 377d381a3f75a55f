"""Which processes use which device, from npu-smi and from open device files."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.devices.npu import (
    ChipRow,
    parse_processes,
)
from launcher.devices.probe import Probe


@dataclass(frozen=True, slots=True)
class DeviceProcess:
    """A process that uses a device. `memory_mb` is 0 and `name` empty where they are not known."""

    pid: int
    name: str = ""
    memory_mb: int = 0


def processes_of(
    table: str, rows: Sequence[ChipRow], physical: Sequence[int], probe: Probe
) -> dict[int, tuple[DeviceProcess, ...]]:
    """Physical id -> processes, from npu-smi and from open device files (npu-smi hides some in containers)."""
    device_of = {(row.npu_id, row.chip_id): k for row, k in zip(rows, physical, strict=True)}
    processes: dict[int, dict[int, DeviceProcess]] = {}
    for row in parse_processes(table):
        device_id = device_of.get((row.npu_id, row.chip_id))
        if device_id is not None:
            name = row.name or _name_of(row.pid, probe)
            processes.setdefault(device_id, {})[row.pid] = DeviceProcess(row.pid, name, row.memory_mb)
    for device_id, pid in _open_devices(probe):
        if device_id in physical:
            processes.setdefault(device_id, {}).setdefault(pid, DeviceProcess(pid, _name_of(pid, probe)))
    return {k: tuple(by_pid[pid] for pid in sorted(by_pid)) for k, by_pid in processes.items()}


def _open_devices(probe: Probe) -> list[tuple[int, int]]:
    """(physical id, pid) of every process we may look into that has a device file open."""
    pairs: list[tuple[int, int]] = []
    prefix = f"{probe.dev_dir}/davinci"
    for folder in probe.proc_dir.glob("[0-9]*"):
        numbers = {link.removeprefix(prefix) for link in _links(folder / "fd") if link.startswith(prefix)}
        pairs.extend((int(number), int(folder.name)) for number in numbers if number.isdecimal())
    return pairs


def _links(folder: Path) -> list[str]:
    links: list[str] = []
    with contextlib.suppress(OSError):  # gone, or another user's
        for link in folder.iterdir():
            with contextlib.suppress(OSError):
                links.append(str(link.readlink()))
    return links


def _name_of(pid: int, probe: Probe) -> str:
    try:
        return (probe.proc_dir / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
