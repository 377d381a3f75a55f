"""What each chip allows: table version, device counts, device sets.

Sources: the HCCL user guide (constraints, and the rank-table page of each series).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.errors import UsageError
from launcher.findings import Finding


@dataclass(frozen=True, slots=True)
class Chip:
    """One family of devices. `versions` are the table versions it reads, the usual one first."""

    name: str
    title: str
    versions: tuple[str, ...]
    counts: tuple[int, ...]
    devices_per_server: int
    address_needed_on_one_server: bool = False


CHIPS: dict[str, Chip] = {
    chip.name: chip
    for chip in (
        Chip("cpu", "CPU", (), tuple(range(1, 257)), 256),
        Chip("ascend910", "Ascend 910 (Atlas training series)", ("1.0",), (1, 2, 4, 8), 8, True),
        Chip("ascend910b", "Ascend 910B (Atlas A2)", ("1.0",), (*range(1, 9), *range(10, 17, 2)), 16),
        Chip("atlas-a3", "Atlas A3", ("1.2", "1.0", "1.3"), (1, *range(2, 17, 2)), 16),
        Chip("ascend310p", "Ascend 310P (inference)", (), tuple(range(1, 17)), 16),
        *(
            Chip(f"ascend{number}", f"Ascend {number} (A5)", ("2.0",), tuple(range(1, 65)), 65)
            for number in (950, 850, 350)
        ),
    )
}


def chip_of(name: str) -> Chip:
    """The chip of this name. Raises UsageError with the valid names."""
    if name in CHIPS:
        return CHIPS[name]
    near = difflib.get_close_matches(name, CHIPS, 1, 0.5)
    guess = f"Did you mean {near[0]}? " if near else ""
    raise UsageError(f"unknown chip {name!r}", hint=f"{guess}Known: {', '.join(CHIPS)}.")


def legal_device_counts(chip: str) -> tuple[int, ...]:
    """How many devices of one server may take part, ascending. Raises UsageError."""
    return chip_of(chip).counts


def check_devices_per_node(chip: str, count: int, nodes: int) -> Finding | None:
    """The worst finding on `count` devices on each of `nodes` machines; None when they are fine."""
    known = chip_of(chip)
    where = f"{count} devices per node, {nodes} nodes"
    if count not in known.counts:
        message = f"{known.title} can't train on {count} devices of one machine"
        return Finding("RT007", "error", message, where, f"Use {_choices(known.counts)}.")
    if nodes < 1:
        return Finding("RT016", "error", "a run needs at least one machine", where, "Set nodes to 1 or more.")
    if chip == "ascend910b" and count > 8:
        message = "more than 8 devices exist only on servers with 16 cards"
        return Finding("RT007", "warning", message, where, "Check with `npu-smi info -l` on the machine.")
    if chip == "ascend910" and nodes & (nodes - 1):
        message = "collective operations are fastest when the number of machines is a power of two"
        return Finding("RT017", "info", message, where, "")
    return None


def device_set_problem(chip: Chip, ids: Sequence[int]) -> tuple[str, str] | None:
    """Why these physical ids of one server can't work together, and what would; None when they can."""
    if len(ids) not in chip.counts:
        return f"{len(ids)} devices on one server", f"Use {_choices(chip.counts)}."
    outside = [k for k in ids if not 0 <= k < chip.devices_per_server]
    if outside:
        last = chip.devices_per_server - 1
        return f"device {outside[0]} does not exist on {chip.title}", f"Ids run from 0 to {last}."
    if chip.name == "ascend910" and len(ids) in (2, 4) and len({k // 4 for k in ids}) > 1:
        named = ", ".join(str(k) for k in ids)
        return f"devices {named} lie in both groups 0-3 and 4-7", "Take them from one group, or take all 8."
    if chip.name == "atlas-a3" and len(ids) > 1:
        alone = sorted(k for k in ids if k ^ 1 not in ids)
        if alone:
            return f"device {alone[0]} takes part without {alone[0] ^ 1}, the other half of its card", (
                "Take whole cards: pairs 0-1, 2-3, 4-5, ..."
            )
    return None


def _choices(counts: Sequence[int]) -> str:
    if len(counts) > 4 and counts[:3] == (1, 2, 3) and counts[-1] > len(counts):
        end = next(k for k, count in enumerate(counts) if count != k + 1)
        return f"1 to {end}, {_choices(counts[end:])}"
    if len(counts) > 2 and counts == tuple(range(counts[0], counts[-1] + 1)):
        return f"{counts[0]} to {counts[-1]}"
    return f"{', '.join(str(count) for count in counts[:-1])} or {counts[-1]}"
