"""Which chip this machine has, as its tools name it."""

from __future__ import annotations

from launcher.devices.npu import chip_named, parse_health, parse_mapping
from launcher.devices.probe import Probe
from launcher.errors import NoDevices


def chip_here(probe: Probe | None = None) -> str:
    """The chip that npu-smi names on this machine; `cpu` for one without npu-smi and /dev/davinci*.

    Raises NoDevices when npu-smi fails, and when what it prints may be several chips: that is never guessed.
    """
    probe = probe or Probe()
    if not probe.has(probe.npu_smi) and not any(probe.dev_dir.glob("davinci[0-9]*")):
        return "cpu"
    rows = parse_mapping(probe.run(probe.npu_smi, "info", "-m"))
    health = {(row.npu_id, row.chip_id): row.name for row in parse_health(probe.run(probe.npu_smi, "info"))}
    two_each = any(row.chip_id > 0 for row in rows)
    names = {row.name or health.get((row.npu_id, row.chip_id), "") for row in rows}
    chips = {chip_named(name) or ("atlas-a3" if two_each and "910" in name else "") for name in names}
    if len(chips) == 1 and (chip := chips.pop()):
        return chip
    named = ", ".join(sorted(name or "no name" for name in names)) or "no device"
    raise NoDevices(
        f"names {named}, which does not tell one chip",
        where="npu-smi info -m",
        hint="Name the chip: ascend910, ascend910b or atlas-a3.",
    )
