"""Read what `npu-smi`, `hccn_tool` and hccn.conf print. Text in, values out; nothing is started here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BUS_ID = re.compile(r"[0-9A-Fa-f]{4}:[0-9A-Fa-f]{2}:")
_CHIP_NAMES = (
    (re.compile(r"910_?93[0-9]{2}|910c", re.IGNORECASE), "atlas-a3"),
    (re.compile(r"910b[1-9]", re.IGNORECASE), "ascend910b"),
    (re.compile(r"910(a|pro|premium)", re.IGNORECASE), "ascend910"),
    (re.compile(r"310p", re.IGNORECASE), "ascend310p"),
    (re.compile(r"\b(ascend ?)?950", re.IGNORECASE), "ascend950"),
    (re.compile(r"\b(ascend ?)?850", re.IGNORECASE), "ascend850"),
    (re.compile(r"\b(ascend ?)?350", re.IGNORECASE), "ascend350"),
)


@dataclass(frozen=True, slots=True)
class ChipRow:
    """One line of `npu-smi info -m`. `physical_id` is None where this version prints no such column."""

    npu_id: int
    chip_id: int
    logical_id: int
    physical_id: int | None
    name: str


@dataclass(frozen=True, slots=True)
class HealthRow:
    """One device in the table of `npu-smi info`."""

    npu_id: int
    chip_id: int
    name: str
    health: str
    physical_id: int | None
    bus_id: str = ""


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process in the second table of `npu-smi info`."""

    npu_id: int
    chip_id: int
    pid: int
    name: str
    memory_mb: int


def parse_mapping(text: str) -> list[ChipRow]:
    """`npu-smi info -m`, with and without the column `Chip Phy-ID`. Lines of the board's own controller are left out."""
    rows: list[ChipRow] = []
    columns: list[str] = []
    for line in text.splitlines():
        if "NPU ID" in line and "Chip ID" in line:
            columns = re.split(r"\s{2,}", line.strip())
            continue
        cells = line.split()
        if not columns or len(cells) < len(columns):
            continue
        # The name comes last and may hold blanks.
        values = dict(
            zip(columns, [*cells[: len(columns) - 1], " ".join(cells[len(columns) - 1 :])], strict=True)
        )
        logical = values.get("Chip Logic ID", values.get("Chip Phy-ID", "-"))
        if not logical.isdecimal() or not values["NPU ID"].isdecimal() or not values["Chip ID"].isdecimal():
            continue
        physical = values.get("Chip Phy-ID", "-")
        rows.append(
            ChipRow(
                npu_id=int(values["NPU ID"]),
                chip_id=int(values["Chip ID"]),
                logical_id=int(logical),
                physical_id=int(physical) if physical.isdecimal() else None,
                name=values.get("Chip Name", ""),
            )
        )
    return rows


def chip_named(name: str) -> str:
    """The chip that a name of npu-smi stands for; empty for one that several chips have, as `Ascend910` and `910B`.

    >>> chip_named("Ascend 910B4-1"), chip_named("910ProA"), chip_named("Ascend910_9392")
    ('ascend910b', 'ascend910', 'atlas-a3')
    """
    return next((chip for pattern, chip in _CHIP_NAMES if pattern.search(name)), "")


def parse_health(text: str) -> list[HealthRow]:
    """The first table of `npu-smi info`: two lines a device. The second begins with numbers alone; its bus may be `NA`."""
    rows: list[HealthRow] = []
    head: list[str] | None = None
    for cells in _cells(text):
        if "Process id" in cells[1:2]:
            break
        first = cells[0].split()
        if len(cells) < 3 or not first or not first[0].isdecimal():
            continue
        if head is not None and all(word.isdecimal() for word in first):
            npu = head[0].split()
            physical = int(first[1]) if len(first) > 1 else None
            bus_id = cells[1].lower() if _BUS_ID.match(cells[1]) else ""
            rows.append(HealthRow(int(npu[0]), int(first[0]), " ".join(npu[1:]), head[1], physical, bus_id))
            head = None
        else:
            head = cells
    return rows


def parse_processes(text: str) -> list[ProcessRow]:
    """The second table of `npu-smi info`."""
    rows: list[ProcessRow] = []
    inside = False
    for cells in _cells(text):
        if len(cells) > 1 and cells[1] == "Process id":
            inside = True
            continue
        place = cells[0].split()
        if not inside or len(cells) < 4 or len(place) != 2 or not cells[1].isdecimal():
            continue
        memory = int(cells[3]) if cells[3].isdecimal() else 0
        rows.append(ProcessRow(int(place[0]), int(place[1]), int(cells[1]), cells[2], memory))
    return rows


def parse_super_pod(text: str) -> tuple[str, str]:
    """`npu-smi info -t spod-info`: the SDID and the super pod's id, each empty when it is not printed."""
    device = re.search(r"\bSDID\s*:\s*(\w+)", text)
    pod = re.search(r"\bSuper Pod ID\s*:\s*(\w+)", text)
    return (device.group(1) if device else ""), (pod.group(1) if pod else "")


def parse_address(text: str) -> str:
    """`hccn_tool -i N -ip -g`: the address, as printed (a placeholder too); empty when there is none."""
    match = re.search(r"^[ \t]*ipaddr:[ \t]*(\S+)", text, re.MULTILINE)
    return match.group(1) if match else ""


def parse_hccn_conf(text: str) -> dict[int, str]:
    """`address_<physical id>=<address>` lines of hccn.conf; `IPv6address_` ones where there is no other."""
    addresses: dict[int, str] = {}
    for kind in ("IPv6address", "address"):
        lines = re.finditer(rf"^[ \t]*{kind}_([0-9]+)[ \t]*=[ \t]*(\S+)[ \t]*$", text, re.MULTILINE)
        addresses |= {int(match.group(1)): match.group(2) for match in lines}
    return addresses


def _cells(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("|") and stripped.endswith("|"):
            yield [cell.strip() for cell in stripped[1:-1].split("|")]
